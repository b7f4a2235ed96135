//! The crate `ring`.

use std::fmt;
use std::mem::MaybeUninit;

use ::ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, Tag, UnboundKey};
use sideband_core::aead::{Aead, AeadError, KEY_SIZE, NONCE_SIZE, TAG_SIZE};
use zeroize::Zeroize;

/// A key of `ring`, which does not wipe its keys: this one does. It is boxed so that it stays where it is wiped.
pub struct Ring(Box<MaybeUninit<LessSafeKey>>);

impl Ring {
    #[allow(unsafe_code, reason = "MaybeUninit is what makes it sound to wipe the key's memory on drop")]
    fn key(&self) -> &LessSafeKey {
        // SAFETY: `new` initialises it, and only `drop` takes that back.
        unsafe { self.0.assume_init_ref() }
    }
}

impl Aead for Ring {
    #[allow(clippy::expect_used, reason = "ring refuses keys of other lengths only, and the type fixes ours")]
    fn new(key: &[u8; KEY_SIZE]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes");
        Self(Box::new(MaybeUninit::new(LessSafeKey::new(key))))
    }

    fn seal_in_place(&self, nonce: &[u8; NONCE_SIZE], buffer: &mut [u8]) -> Result<[u8; TAG_SIZE], AeadError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self.key().seal_in_place_separate_tag(nonce, Aad::empty(), buffer).map_err(|_| AeadError)?;
        tag.as_ref().try_into().map_err(|_| AeadError)
    }

    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_SIZE],
        buffer: &mut [u8],
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = Tag::from(*tag);
        let opened = self.key().open_in_place_separate_tag(nonce, Aad::empty(), tag, buffer, 0..);
        opened.map(|_| ()).map_err(|_| AeadError)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        const { assert!(!std::mem::needs_drop::<LessSafeKey>(), "nothing but memory is left behind") };
        // Of all types only MaybeUninit may hold zeros that are no key.
        self.0.zeroize();
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ring(..)")
    }
}
