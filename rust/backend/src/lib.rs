//! The implementations of ChaCha20-Poly1305 behind [`sideband_core::aead::Aead`], and the choice among them.
//!
//! Which one is best depends on the CPU and on the size of the message (docs/adr/0060), so [`Cipher`] holds one for
//! small messages and one for bulk, as [`choose`] found for the CPU that runs this.

#![deny(unsafe_code)]

mod choice;
mod cipher;
#[cfg(has_openssl)]
mod openssl;
#[cfg(feature = "fast")]
mod ring;

pub use choice::{Backend, Choice, ChoiceError, automatic, choose};
pub use cipher::Cipher;
