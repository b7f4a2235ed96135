//! Byte streams inside a session, capability `stream/1` (docs/protocol/streams.md): the messages and the windows.
//!
//! Which message follows which is the business of the layer above; here are bytes, offsets and credit.

mod framer;
mod message;
mod window;

pub use framer::{DATA_PREFIX_SIZE, Framer, SUBJECT, data_of_frame};
pub use message::{
    Body, HEADER_SIZE, MAX_METADATA_SIZE, MAX_NAME_SIZE, MAX_REASON_SIZE, Message, Op, TOKEN_SIZE, Token,
};
pub use window::{Arrival, ReceiveWindow};
