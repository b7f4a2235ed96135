//! What the handshake hashes and derives (docs/protocol/sbrp.md, "Handshake").

use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::code::Code;
use crate::error::Error;

const HANDSHAKE_CONTEXT: &[u8] = b"sbrp-v1-handshake";
const TRANSCRIPT_CONTEXT: &[u8] = b"sbrp-v1-transcript";
const SESSION_KEYS_INFO: &[u8] = b"sbrp-session-keys";

/// What the daemon signs: SHA-256 of the context, the daemon id as given, and both ephemeral keys.
#[must_use]
pub fn signature_hash(daemon_id: &str, client_key: &[u8; 32], daemon_key: &[u8; 32]) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(HANDSHAKE_CONTEXT);
    hash.chain_update(daemon_id).chain_update(client_key).chain_update(daemon_key).finalize().into()
}

/// The salt of the key derivation: everything both sides saw, the signature included.
#[must_use]
pub fn transcript_hash(
    daemon_id: &str,
    client_key: &[u8; 32],
    daemon_key: &[u8; 32],
    signature: &[u8; 64],
) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(TRANSCRIPT_CONTEXT).chain_update(daemon_id);
    hash.chain_update(client_key).chain_update(daemon_key).chain_update(signature).finalize().into()
}

/// HKDF-SHA256 to 64 bytes: the first half is for client to daemon, the second for daemon to client.
///
/// # Errors
/// `internal_error` if HKDF refuses the length, which it cannot for 64 bytes.
pub fn session_keys(shared_secret: &[u8; 32], transcript: &[u8; 32]) -> Result<Zeroizing<[u8; 64]>, Error> {
    let mut keys = Zeroizing::new([0; 64]);
    Hkdf::<Sha256>::new(Some(transcript), shared_secret)
        .expand(SESSION_KEYS_INFO, keys.as_mut_slice())
        .map_err(|_| Error::new(Code::InternalError, "HKDF refused an output of 64 bytes"))?;
    Ok(keys)
}

/// `SHA256:` and the SHA-256 of an identity key as 32 uppercase hex pairs joined by colons.
#[must_use]
pub fn fingerprint(public_key: &[u8; 32]) -> String {
    let mut text = String::with_capacity(7 + 32 * 3);
    text.push_str("SHA256");
    for byte in Sha256::digest(public_key) {
        text.push(':');
        text.extend(
            [byte >> 4, byte & 15]
                .map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase()),
        );
    }
    text
}
