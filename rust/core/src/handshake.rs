//! Both sides of the handshake (docs/protocol/sbrp.md, "Handshake").

use std::fmt;

use subtle::ConstantTimeEq;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use crate::aead::KEY_SIZE;
use crate::code::Code;
use crate::error::Error;
use crate::frame::ACCEPT_SIZE;
use crate::identity::{self, IdentityKeyPair};
use crate::kdf;
use crate::payload::{self, Accept};

/// An X25519 key pair of one handshake. Using it takes it, and the private key is wiped when it is dropped.
pub struct EphemeralKeyPair {
    secret: Box<StaticSecret>,
    public: [u8; 32],
}

impl EphemeralKeyPair {
    /// The key pair of a scalar.
    #[must_use]
    pub fn from_private_bytes(scalar: &[u8; 32]) -> Self {
        let secret = Box::new(StaticSecret::from(*scalar));
        let public = PublicKey::from(&*secret).to_bytes();
        Self { secret, public }
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// The shared secret with the other side's public key; the private key is wiped.
    ///
    /// # Errors
    /// `handshake_failed` for a low-order point, which would make the secret known to everyone.
    pub fn shared_secret(self, peer: &[u8; 32]) -> Result<Zeroizing<[u8; 32]>, Error> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*peer));
        if !shared.was_contributory() {
            return Err(Error::new(Code::HandshakeFailed, "the other side's ephemeral key is a low-order point"));
        }
        Ok(Zeroizing::new(shared.to_bytes()))
    }
}

impl fmt::Debug for EphemeralKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralKeyPair(..)")
    }
}

/// The two directional keys, wiped when dropped.
pub struct SessionKeys {
    client_to_daemon: Box<[u8; KEY_SIZE]>,
    daemon_to_client: Box<[u8; KEY_SIZE]>,
}

impl SessionKeys {
    /// Keys from bytes.
    #[must_use]
    pub fn from_bytes(client_to_daemon: &[u8; KEY_SIZE], daemon_to_client: &[u8; KEY_SIZE]) -> Self {
        Self { client_to_daemon: Box::new(*client_to_daemon), daemon_to_client: Box::new(*daemon_to_client) }
    }

    pub(crate) fn client_to_daemon(&self) -> &[u8; KEY_SIZE] {
        &self.client_to_daemon
    }

    pub(crate) fn daemon_to_client(&self) -> &[u8; KEY_SIZE] {
        &self.daemon_to_client
    }

    fn derive(shared_secret: &[u8; 32], transcript: &[u8; 32]) -> Result<Self, Error> {
        let keys = kdf::session_keys(shared_secret, transcript)?;
        let mut derived = Self { client_to_daemon: Box::default(), daemon_to_client: Box::default() };
        let (first, second) = keys.split_at(KEY_SIZE);
        derived.client_to_daemon.copy_from_slice(first);
        derived.daemon_to_client.copy_from_slice(second);
        Ok(derived)
    }
}

impl PartialEq for SessionKeys {
    fn eq(&self, other: &Self) -> bool {
        let client = self.client_to_daemon.ct_eq(&*other.client_to_daemon);
        (client & self.daemon_to_client.ct_eq(&*other.daemon_to_client)).into()
    }
}

impl Drop for SessionKeys {
    fn drop(&mut self) {
        self.client_to_daemon.zeroize();
        self.daemon_to_client.zeroize();
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKeys(..)")
    }
}

/// The daemon's side: answer a `HandshakeInit` payload with a `HandshakeAccept` payload and the session keys.
///
/// # Errors
/// `handshake_failed` for an init of another length than 32 or a low-order client key.
pub fn accept(
    init: &[u8],
    daemon_id: &str,
    identity: &IdentityKeyPair,
    ephemeral: EphemeralKeyPair,
) -> Result<([u8; ACCEPT_SIZE], SessionKeys), Error> {
    let client_key = payload::decode_init(init).map_err(as_handshake_failure)?;
    let daemon_key = ephemeral.public_key();
    let shared_secret = ephemeral.shared_secret(client_key)?;
    let signature = identity.sign(&kdf::signature_hash(daemon_id, client_key, &daemon_key));
    let transcript = kdf::transcript_hash(daemon_id, client_key, &daemon_key, &signature);
    let keys = SessionKeys::derive(&shared_secret, &transcript)?;

    let mut message = [0; ACCEPT_SIZE];
    let (first, rest) = message.split_at_mut(32);
    let (second, third) = rest.split_at_mut(32);
    first.copy_from_slice(&identity.public_key());
    second.copy_from_slice(&daemon_key);
    third.copy_from_slice(&signature);
    Ok((message, keys))
}

/// Verify the signature of a `HandshakeAccept` payload and return the identity key that it proves.
///
/// # Errors
/// `handshake_failed` for a wrong length, signature or identity key.
pub fn verify(accept: &[u8], daemon_id: &str, client_key: &[u8; 32]) -> Result<[u8; 32], Error> {
    let accept = payload::decode_accept(accept).map_err(as_handshake_failure)?;
    verify_parts(&accept, daemon_id, client_key)?;
    Ok(*accept.identity_key)
}

/// The client's side: check a `HandshakeAccept` payload and derive the session keys. The pinned key is compared first,
/// then the signature, then the keys are made.
///
/// # Errors
/// `identity_key_changed` when the accept holds another key than the pinned one, else `handshake_failed`.
pub fn finish(
    accept: &[u8],
    daemon_id: &str,
    pinned_key: Option<&[u8]>,
    ephemeral: EphemeralKeyPair,
) -> Result<SessionKeys, Error> {
    let accept = payload::decode_accept(accept).map_err(as_handshake_failure)?;
    if let Some(pinned) = pinned_key
        && !bool::from(accept.identity_key.as_slice().ct_eq(pinned))
    {
        return Err(Error::new(
            Code::IdentityKeyChanged,
            format!(
                "the daemon presented {}, which is not its pinned key; if its key was replaced on purpose, remove the \
                 pin, else someone may be in between",
                kdf::fingerprint(accept.identity_key)
            ),
        ));
    }
    let client_key = ephemeral.public_key();
    verify_parts(&accept, daemon_id, &client_key)?;
    let shared_secret = ephemeral.shared_secret(accept.ephemeral_key)?;
    let transcript = kdf::transcript_hash(daemon_id, &client_key, accept.ephemeral_key, accept.signature);
    SessionKeys::derive(&shared_secret, &transcript)
}

fn verify_parts(accept: &Accept<'_>, daemon_id: &str, client_key: &[u8; 32]) -> Result<(), Error> {
    let hash = kdf::signature_hash(daemon_id, client_key, accept.ephemeral_key);
    if identity::verify(accept.identity_key, &hash, accept.signature) {
        return Ok(());
    }
    Err(Error::new(
        Code::HandshakeFailed,
        "the accept is not signed by its identity key for this daemon id and this handshake",
    ))
}

fn as_handshake_failure(error: Error) -> Error {
    Error { code: Code::HandshakeFailed, ..error }
}
