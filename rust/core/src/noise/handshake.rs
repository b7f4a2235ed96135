//! The Noise XX handshake (docs/protocol/sbdp.md, "Handshake"; Noise Protocol Framework, revision 34).

use std::fmt;

use snow::{Builder, HandshakeState};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use super::error::{NoiseCode, NoiseError};
use super::record::{Direction, Opener, RekeyAfter, Sealer};
use super::resolver::Primitives;
use crate::aead::{Aead, KEY_SIZE, RustCrypto};

/// The one suite; there is no negotiation.
pub const PROTOCOL: &str = "Noise_XX_25519_ChaChaPoly_SHA256";
/// Largest handshake message in bytes, its type byte not counted.
pub const MAX_HANDSHAKE_MESSAGE: usize = 4096;
/// Largest payload of messages 2 and 3: what is left beside two public keys and two tags.
pub const MAX_PAYLOAD: usize = MAX_HANDSHAKE_MESSAGE - 96;

const MESSAGES: u8 = 3;

/// Who began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends messages 1 and 3.
    Initiator,
    /// Sends message 2.
    Responder,
}

/// A static X25519 key pair. The private key is wiped when dropped.
pub struct KeyPair {
    private: Box<Zeroizing<[u8; 32]>>,
    public: [u8; 32],
}

impl KeyPair {
    /// The key pair of a scalar.
    #[must_use]
    pub fn from_private_bytes(scalar: &[u8; 32]) -> Self {
        let public = PublicKey::from(&StaticSecret::from(*scalar)).to_bytes();
        Self { private: Box::new(Zeroizing::new(*scalar)), public }
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// The private key, for storing it.
    #[must_use]
    pub fn private_bytes(&self) -> &[u8; 32] {
        &self.private
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair(..)")
    }
}

/// The two keys of a finished handshake, wiped when dropped.
pub struct RawKeys {
    from_initiator: Zeroizing<[u8; KEY_SIZE]>,
    from_responder: Zeroizing<[u8; KEY_SIZE]>,
}

impl RawKeys {
    /// Keys from bytes.
    #[must_use]
    pub fn from_bytes(from_initiator: &[u8; KEY_SIZE], from_responder: &[u8; KEY_SIZE]) -> Self {
        Self { from_initiator: Zeroizing::new(*from_initiator), from_responder: Zeroizing::new(*from_responder) }
    }
}

impl fmt::Debug for RawKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawKeys(..)")
    }
}

/// Make the two halves of a session. The keys are taken, so that no second session can repeat their nonces.
#[must_use]
pub fn establish(keys: RawKeys, role: Role, max_record: usize, rekey: RekeyAfter) -> (Sealer, Opener) {
    establish_with::<RustCrypto>(keys, role, max_record, rekey)
}

/// As [`establish`], encrypting with `A`.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "taking the keys is what makes a second session impossible")]
pub fn establish_with<A: Aead>(
    keys: RawKeys,
    role: Role,
    max_record: usize,
    rekey: RekeyAfter,
) -> (Sealer<A>, Opener<A>) {
    let up = (&keys.from_initiator, Direction::FromInitiator);
    let down = (&keys.from_responder, Direction::FromResponder);
    let (send, receive) = match role {
        Role::Initiator => (up, down),
        Role::Responder => (down, up),
    };
    (Sealer::new(send.0, send.1, max_record, rekey), Opener::new(receive.0, receive.1, max_record))
}

/// One side of a handshake. After a failure it stays failed.
pub struct Handshake {
    state: Option<HandshakeState>,
    role: Role,
    done: u8,
    hash: [u8; 32],
}

impl Handshake {
    /// A handshake that has not begun.
    ///
    /// `ephemeral` is a random scalar that is never used again.
    ///
    /// # Errors
    /// `handshake_failed` if the state machine refuses the keys, which it cannot.
    pub fn new(role: Role, key: &KeyPair, prologue: &[u8], ephemeral: &[u8; 32]) -> Result<Self, NoiseError> {
        let build = || {
            let params = PROTOCOL.parse()?;
            let builder = Builder::with_resolver(params, Box::new(Primitives::new(ephemeral)))
                .local_private_key(key.private_bytes())?
                .prologue(prologue)?;
            match role {
                Role::Initiator => builder.build_initiator(),
                Role::Responder => builder.build_responder(),
            }
        };
        let state = build().map_err(|_| failed("the handshake could not be set up"))?;
        let mut handshake = Self { state: Some(state), role, done: 0, hash: [0; 32] };
        handshake.note_hash();
        Ok(handshake)
    }

    /// Make the next message, with a payload that is encrypted in messages 2 and 3; message 1 carries none.
    ///
    /// # Errors
    /// `message_too_large` for the payload, with nothing changed; `handshake_failed` out of turn or after a failure.
    pub fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let most = if self.done == 0 { 0 } else { MAX_PAYLOAD };
        if payload.len() > most {
            let message = format!("this handshake message carries at most {most} bytes, got {}", payload.len());
            return Err(NoiseError::new(NoiseCode::MessageTooLarge, message));
        }
        let mut message = vec![0; MAX_HANDSHAKE_MESSAGE];
        let size = self.step(|state| state.write_message(payload, &mut message))?;
        message.truncate(size);
        Ok(message)
    }

    /// Take the other side's next message and return its payload.
    ///
    /// # Errors
    /// `handshake_failed` for a message that is too long, out of turn, changed, or bound to another prologue.
    pub fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let mut payload = vec![0; MAX_HANDSHAKE_MESSAGE];
        let first = self.done == 0;
        let size = self.step(|state| {
            // Message 1 is a bare ephemeral key: whatever came with it would not be protected.
            if message.len() > MAX_HANDSHAKE_MESSAGE || (first && message.len() != 32) {
                return Err(snow::Error::Input);
            }
            state.read_message(message, &mut payload)
        })?;
        payload.truncate(size);
        Ok(payload)
    }

    /// The hash of all that was exchanged so far, the prologue included.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The other side's static key, once it has come.
    #[must_use]
    pub fn remote_key(&self) -> Option<[u8; 32]> {
        self.state.as_ref()?.get_remote_static()?.try_into().ok()
    }

    /// Whether all three messages were exchanged.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state.is_some() && self.done == MESSAGES
    }

    /// Which side this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The keys of both directions; they can be taken once.
    ///
    /// # Errors
    /// `handshake_failed` before the end, and the second time.
    pub fn take_keys(&mut self) -> Result<RawKeys, NoiseError> {
        if !self.is_finished() {
            return Err(failed("the handshake is not finished, or its keys were taken"));
        }
        let mut state = self.state.take().ok_or_else(|| failed("the handshake has failed"))?;
        let split = Zeroizing::new(state.dangerously_get_raw_split());
        Ok(RawKeys::from_bytes(&split.0, &split.1))
    }

    fn step(
        &mut self,
        work: impl FnOnce(&mut HandshakeState) -> Result<usize, snow::Error>,
    ) -> Result<usize, NoiseError> {
        let state = self.state.as_mut().ok_or_else(|| failed("the handshake has failed"))?;
        match work(state) {
            Ok(size) => {
                self.done += 1;
                self.note_hash();
                Ok(size)
            }
            Err(error) => {
                self.state = None;
                Err(failed(match error {
                    snow::Error::Decrypt => "the message was changed, or belongs to another handshake",
                    snow::Error::Dh => "the other side's key is a low-order point",
                    snow::Error::State(_) => "the message came out of turn",
                    _ => "the message has a wrong length",
                }))
            }
        }
    }

    fn note_hash(&mut self) {
        if let Some(hash) = self.state.as_ref().and_then(|state| state.get_handshake_hash().first_chunk()) {
            self.hash = *hash;
        }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handshake({:?}, messages: {}, failed: {})", self.role, self.done, self.state.is_none())
    }
}

fn failed(message: &'static str) -> NoiseError {
    NoiseError::new(NoiseCode::HandshakeFailed, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use serde_json::Value;

    use super::super::resolver::noise_nonce;
    use super::*;

    fn hex(value: &Value) -> Vec<u8> {
        let text = value.as_str().unwrap();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn key(value: &Value) -> [u8; 32] {
        hex(value).try_into().unwrap()
    }

    #[test]
    fn public_vectors_give_the_same_messages_hash_and_keys() {
        let text = include_str!("../../../../tests/vectors/noise-xx.json");
        let vectors: Value = serde_json::from_str(text).unwrap();
        for case in vectors["vectors"].as_array().unwrap() {
            let begin = |role, name: &str| {
                let pair = KeyPair::from_private_bytes(&key(&case[format!("{name}_static")]));
                let prologue = hex(&case[format!("{name}_prologue")]);
                let ephemeral = key(&case[format!("{name}_ephemeral")]);
                Handshake::new(role, &pair, &prologue, &ephemeral).unwrap()
            };
            let mut sides = [begin(Role::Initiator, "init"), begin(Role::Responder, "resp")];
            let messages = case["messages"].as_array().unwrap();
            for (at, message) in messages[..3].iter().enumerate() {
                // Ours carries no payload in message 1, the vectors do: there the state machine itself is asked.
                let payload = hex(&message["payload"]);
                let mut sealed = vec![0; 256];
                let size = sides[at % 2].step(|state| state.write_message(&payload, &mut sealed)).unwrap();
                assert_eq!(sealed[..size], hex(&message["ciphertext"]));
                let mut opened = vec![0; 256];
                let read = sides[1 - at % 2].step(|state| state.read_message(&sealed[..size], &mut opened)).unwrap();
                assert_eq!(opened[..read], payload);
            }
            if let Some(hash) = case.get("handshake_hash") {
                assert_eq!(sides[0].hash().to_vec(), hex(hash));
            }
            assert_eq!(sides[0].hash(), sides[1].hash());
            let keys = sides[0].take_keys().unwrap();
            let other = sides[1].take_keys().unwrap();
            assert_eq!(*keys.from_initiator, *other.from_initiator);
            assert_eq!(*keys.from_responder, *other.from_responder);
            for (at, message) in messages.iter().enumerate().skip(3) {
                let key = if at % 2 == 0 { &keys.from_initiator } else { &keys.from_responder };
                let mut sealed = hex(&message["payload"]);
                let tag = RustCrypto::new(key).seal_in_place(&noise_nonce((at as u64 - 3) / 2), &mut sealed).unwrap();
                sealed.extend(tag);
                assert_eq!(sealed, hex(&message["ciphertext"]));
            }
        }
    }
}
