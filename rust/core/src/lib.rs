//! The sans-I/O core of sideband: SBRP frames, the handshake and encrypted sessions (docs/protocol/sbrp.md), and SBP
//! frames and byte streams (docs/protocol/sbp.md, docs/protocol/streams.md).
//!
//! Nothing here does I/O, reads a clock, or draws randomness: bytes and keys come in, bytes and errors go out.

#![forbid(unsafe_code)]

pub mod aead;
pub mod batch;
pub mod byte_stream;
pub mod code;
pub mod error;
pub mod frame;
pub mod handshake;
pub mod identity;
pub mod kdf;
pub mod noise;
pub mod payload;
pub mod relay;
pub mod replay;
pub mod sbp;
pub mod session;
pub mod stream;
pub mod ws;

pub use code::Code;
pub use error::{Error, SbpError};
