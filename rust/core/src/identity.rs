//! Identity keys: Ed25519 (RFC 8032), verified strictly.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::kdf;

/// A daemon's long-lived key pair. The private half is wiped when dropped and never shown.
pub struct IdentityKeyPair(Box<SigningKey>);

impl IdentityKeyPair {
    /// The key pair of a seed.
    #[must_use]
    pub fn from_private_bytes(seed: &[u8; 32]) -> Self {
        Self(Box::new(SigningKey::from_bytes(seed)))
    }

    /// The seed, for storing it.
    #[must_use]
    pub fn private_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The signature of `message`.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for IdentityKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKeyPair({})", kdf::fingerprint(&self.public_key()))
    }
}

/// Whether a signature is valid, strictly: the key is the canonical encoding of a point that is not of small order, S is
/// reduced, and R is canonical and not of small order. A permissive verifier would accept keys that sign anything.
#[must_use]
pub fn verify(public_key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(public_key) else { return false };
    let canonical = key.to_edwards().compress().to_bytes() == *public_key;
    canonical && !key.is_weak() && key.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
}
