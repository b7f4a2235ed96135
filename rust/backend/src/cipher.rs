//! The cipher that sessions use.

use std::sync::OnceLock;

use sideband_core::aead::{Aead, AeadError, KEY_SIZE, NONCE_SIZE, RustCrypto, TAG_SIZE};

use crate::choice::{Backend, Choice, automatic};
#[cfg(has_openssl)]
use crate::openssl::OpenSsl;
#[cfg(feature = "fast")]
use crate::ring::Ring;

/// One key, ready for the backends of a [`Choice`].
#[derive(Debug)]
pub struct Cipher {
    small: Keyed,
    /// None where one backend serves every size.
    bulk: Option<Keyed>,
    bulk_from: usize,
}

#[derive(Debug)]
enum Keyed {
    RustCrypto(RustCrypto),
    #[cfg(feature = "fast")]
    Ring(Ring),
    #[cfg(has_openssl)]
    OpenSsl(OpenSsl),
}

static PROCESS_CHOICE: OnceLock<Choice> = OnceLock::new();

impl Cipher {
    /// A cipher with its own copy of the key, made for `choice`, which [`crate::choose`] gave.
    ///
    /// # Panics
    /// When `choice` names a backend that is not available.
    #[must_use]
    pub fn with_choice(key: &[u8; KEY_SIZE], choice: Choice) -> Self {
        let bulk = (choice.bulk != choice.small).then(|| Keyed::new(key, choice.bulk));
        Self { small: Keyed::new(key, choice.small), bulk, bulk_from: choice.bulk_from }
    }

    /// Fix what [`Aead::new`] uses in this process; false when that was fixed before, which then holds.
    pub fn set_process_choice(choice: Choice) -> bool {
        PROCESS_CHOICE.set(choice).is_ok()
    }

    /// What [`Aead::new`] uses in this process: what was set, else what is best for the CPU.
    pub fn process_choice() -> Choice {
        *PROCESS_CHOICE.get_or_init(automatic)
    }

    fn for_size(&self, size: usize) -> &Keyed {
        match &self.bulk {
            Some(bulk) if size >= self.bulk_from => bulk,
            _ => &self.small,
        }
    }
}

impl Aead for Cipher {
    fn new(key: &[u8; KEY_SIZE]) -> Self {
        Self::with_choice(key, Self::process_choice())
    }

    fn seal_in_place(&self, nonce: &[u8; NONCE_SIZE], buffer: &mut [u8]) -> Result<[u8; TAG_SIZE], AeadError> {
        match self.for_size(buffer.len()) {
            Keyed::RustCrypto(cipher) => cipher.seal_in_place(nonce, buffer),
            #[cfg(feature = "fast")]
            Keyed::Ring(cipher) => cipher.seal_in_place(nonce, buffer),
            #[cfg(has_openssl)]
            Keyed::OpenSsl(cipher) => cipher.seal_in_place(nonce, buffer),
        }
    }

    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_SIZE],
        buffer: &mut [u8],
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        match self.for_size(buffer.len()) {
            Keyed::RustCrypto(cipher) => cipher.open_in_place(nonce, buffer, tag),
            #[cfg(feature = "fast")]
            Keyed::Ring(cipher) => cipher.open_in_place(nonce, buffer, tag),
            #[cfg(has_openssl)]
            Keyed::OpenSsl(cipher) => cipher.open_in_place(nonce, buffer, tag),
        }
    }
}

impl Keyed {
    #[allow(clippy::panic, reason = "a choice only names what can be used here")]
    fn new(key: &[u8; KEY_SIZE], backend: Backend) -> Self {
        match backend {
            Backend::RustCrypto => Self::RustCrypto(RustCrypto::new(key)),
            #[cfg(feature = "fast")]
            Backend::Ring => Self::Ring(Ring::new(key)),
            #[cfg(has_openssl)]
            Backend::OpenSsl => Self::OpenSsl(OpenSsl::new(key)),
            #[allow(unreachable_patterns, reason = "which are left depends on what is built in")]
            _ => panic!("{} is not available here", backend.name()),
        }
    }
}
