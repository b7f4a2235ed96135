//! SBDP: the Noise XX handshake and the sealed records of direct sessions (docs/protocol/sbdp.md).
//!
//! Nothing here does I/O or draws randomness: the scalar of the ephemeral key is passed in.

mod error;
mod handshake;
mod reader;
mod record;
mod resolver;

pub use error::{NoiseCode, NoiseError};
pub use handshake::{
    Handshake, KeyPair, MAX_HANDSHAKE_MESSAGE, MAX_PAYLOAD, PROTOCOL, RawKeys, Role, establish, establish_with,
};
pub use reader::RecordReader;
pub use record::{
    Direction, LENGTH_SIZE, MAX_RECORD, Opened, Opener, RECORD_OVERHEAD, RecordType, RekeyAfter, SEALED, Sealer,
    WIRE_OVERHEAD,
};
