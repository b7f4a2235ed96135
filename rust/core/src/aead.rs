//! The one place where Data messages are encrypted, behind a trait so that a faster implementation can sit beside it.

use std::fmt;

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};

/// Bytes of a key.
pub const KEY_SIZE: usize = 32;
/// Bytes of a nonce.
pub const NONCE_SIZE: usize = 12;
/// Bytes of a tag.
pub const TAG_SIZE: usize = 16;

/// The tag did not match, or the message was too long for the cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AeadError;

impl fmt::Display for AeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("authentication failed")
    }
}

impl std::error::Error for AeadError {}

/// ChaCha20-Poly1305 (RFC 8439) without associated data, in place and with the tag apart.
///
/// An implementation wipes its key when dropped, and leaves no plaintext of a message whose tag did not verify.
pub trait Aead: Send + Sync + Sized {
    /// A cipher with its own copy of the key.
    fn new(key: &[u8; KEY_SIZE]) -> Self;

    /// Encrypt `buffer` in place and return its tag.
    ///
    /// # Errors
    /// When the cipher cannot take a message of this length.
    fn seal_in_place(&self, nonce: &[u8; NONCE_SIZE], buffer: &mut [u8]) -> Result<[u8; TAG_SIZE], AeadError>;

    /// Verify `tag` and decrypt `buffer` in place.
    ///
    /// # Errors
    /// When the tag does not match; `buffer` then holds the ciphertext, or zeros.
    fn open_in_place(&self, nonce: &[u8; NONCE_SIZE], buffer: &mut [u8], tag: &[u8; TAG_SIZE])
    -> Result<(), AeadError>;
}

/// The implementation of the crate `chacha20poly1305`.
pub struct RustCrypto(Box<ChaCha20Poly1305>);

impl Aead for RustCrypto {
    fn new(key: &[u8; KEY_SIZE]) -> Self {
        Self(Box::new(ChaCha20Poly1305::new(key.into())))
    }

    fn seal_in_place(&self, nonce: &[u8; NONCE_SIZE], buffer: &mut [u8]) -> Result<[u8; TAG_SIZE], AeadError> {
        let sealed = self.0.encrypt_inout_detached(nonce.into(), b"", InOutBuf::from(buffer));
        sealed.map(Into::into).map_err(|_| AeadError)
    }

    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_SIZE],
        buffer: &mut [u8],
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        let opened = self.0.decrypt_inout_detached(nonce.into(), b"", InOutBuf::from(buffer), tag.into());
        opened.map_err(|_| AeadError)
    }
}

impl fmt::Debug for RustCrypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RustCrypto(..)")
    }
}
