//! Encrypted sessions (docs/protocol/sbrp.md, "Data"): payload = nonce (12) | ciphertext | tag (16).
//!
//! A session is two halves that share nothing, so that each can have its own lock: a [`Sealer`] for what is sent and an
//! [`Opener`] for what is received.

use std::fmt;

use crate::aead::{Aead, NONCE_SIZE, RustCrypto, TAG_SIZE};
use crate::code::Code;
use crate::error::Error;
use crate::frame::{MAX_PAYLOAD_SIZE, MIN_DATA_SIZE};
use crate::handshake::SessionKeys;
use crate::replay::ReplayWindow;

/// Bytes that sealing adds to a plaintext.
pub const OVERHEAD: usize = NONCE_SIZE + TAG_SIZE;
/// Largest plaintext of one message in bytes.
pub const MAX_PLAINTEXT_SIZE: usize = MAX_PAYLOAD_SIZE - OVERHEAD;

/// The sequence number that is never sent: a sender that has used the one before it stops.
const EXHAUSTED: u64 = u64::MAX;

/// Which way a message goes; the first four bytes of its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Direction {
    /// From the client to the daemon.
    ClientToDaemon = 1,
    /// From the daemon to the client.
    DaemonToClient = 2,
}

/// Which side of the session the keys are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The client, who seals client to daemon.
    Client,
    /// The daemon, who seals daemon to client.
    Daemon,
}

/// Make the two halves of a session. The keys are taken, so that no second session can repeat their nonces.
#[must_use]
pub fn establish(keys: SessionKeys, role: Role, window: ReplayWindow) -> (Sealer, Opener) {
    establish_with(keys, role, window)
}

/// As [`establish`], encrypting with `A`.
#[must_use]
#[allow(clippy::needless_pass_by_value, reason = "taking the keys is what makes a second session impossible")]
pub fn establish_with<A: Aead>(keys: SessionKeys, role: Role, window: ReplayWindow) -> (Sealer<A>, Opener<A>) {
    let up = Direction::ClientToDaemon;
    let down = Direction::DaemonToClient;
    match role {
        Role::Client => (Sealer::new(keys.client_to_daemon(), up), Opener::new(keys.daemon_to_client(), down, window)),
        Role::Daemon => (Sealer::new(keys.daemon_to_client(), down), Opener::new(keys.client_to_daemon(), up, window)),
    }
}

/// Check the size of a plaintext, which must happen before a sequence number is spent on it.
///
/// # Errors
/// `payload_too_large` over 65,508 bytes.
pub fn check_plaintext_size(size: usize) -> Result<(), Error> {
    if size <= MAX_PLAINTEXT_SIZE {
        return Ok(());
    }
    Err(Error::new(
        Code::PayloadTooLarge,
        format!("a message holds at most {MAX_PLAINTEXT_SIZE} plaintext bytes, got {size}"),
    ))
}

/// A received payload, split.
#[derive(Clone, Copy, Debug)]
pub struct Sealed<'a> {
    nonce: &'a [u8; NONCE_SIZE],
    ciphertext: &'a [u8],
    tag: &'a [u8; TAG_SIZE],
}

impl<'a> Sealed<'a> {
    /// Split a payload.
    ///
    /// # Errors
    /// `decrypt_failed` under 28 or over 65,536 bytes.
    pub fn split(payload: &'a [u8]) -> Result<Self, Error> {
        let wrong = || {
            let range = format!("{MIN_DATA_SIZE} to {MAX_PAYLOAD_SIZE}");
            Error::new(Code::DecryptFailed, format!("a sealed message has {range} bytes, got {}", payload.len()))
        };
        if payload.len() > MAX_PAYLOAD_SIZE {
            return Err(wrong());
        }
        let (nonce, rest) = payload.split_first_chunk().ok_or_else(wrong)?;
        let (ciphertext, tag) = rest.split_last_chunk().ok_or_else(wrong)?;
        Ok(Self { nonce, ciphertext, tag })
    }

    /// The encrypted bytes, as many as the plaintext has.
    #[must_use]
    pub fn ciphertext(&self) -> &'a [u8] {
        self.ciphertext
    }
}

/// The sending half of a session.
pub struct Sealer<A: Aead = RustCrypto> {
    cipher: Option<A>,
    direction: Direction,
    next: u64,
}

impl<A: Aead> Sealer<A> {
    fn new(key: &[u8; 32], direction: Direction) -> Self {
        Self { cipher: Some(A::new(key)), direction, next: 0 }
    }

    /// The sequence number of the next message.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Make sure that `count` messages can be sealed.
    ///
    /// # Errors
    /// `session_cleared`; or `sequence_error` when there are not so many sequence numbers left: the session has then
    /// ended, its key is wiped, and the caller clears the other half.
    pub fn reserve(&mut self, count: u64) -> Result<(), Error> {
        if self.cipher.is_none() {
            return Err(cleared());
        }
        if EXHAUSTED - self.next < count {
            self.clear();
            return Err(Error::new(
                Code::SequenceError,
                "this session has used all its sequence numbers and has ended; open a new one",
            ));
        }
        Ok(())
    }

    /// Seal a message in place: `message` has 12 bytes of room, the plaintext, and 16 bytes of room.
    ///
    /// # Errors
    /// `payload_too_large` with no sequence number spent; then as [`Self::reserve`].
    pub fn seal_in_place(&mut self, message: &mut [u8]) -> Result<(), Error> {
        let size = message.len();
        let no_room = || Error::new(Code::InternalError, format!("{size} bytes have no room for nonce and tag"));
        let (nonce_room, rest) = message.split_first_chunk_mut().ok_or_else(no_room)?;
        let (buffer, tag_room) = rest.split_last_chunk_mut().ok_or_else(no_room)?;
        check_plaintext_size(buffer.len())?;
        self.reserve(1)?;
        let cipher = self.cipher.as_ref().ok_or_else(cleared)?;
        let nonce = nonce(self.direction, self.next);
        // Spent before it is used: whatever happens below, no other message gets this nonce.
        self.next += 1;
        *nonce_room = nonce;
        *tag_room = cipher
            .seal_in_place(&nonce, buffer)
            .map_err(|_| Error::new(Code::InternalError, "the cipher refused the message"))?;
        Ok(())
    }

    /// Skip to a later sequence number; false, with nothing changed, for an earlier one, which would repeat nonces.
    pub fn advance(&mut self, sequence: u64) -> bool {
        let forward = sequence >= self.next;
        if forward {
            self.next = sequence;
        }
        forward
    }

    /// Wipe the key.
    pub fn clear(&mut self) {
        self.cipher = None;
    }

    /// Whether the key was wiped.
    #[must_use]
    pub fn is_cleared(&self) -> bool {
        self.cipher.is_none()
    }
}

impl<A: Aead> fmt::Debug for Sealer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({:?}, next: {}, cleared: {})", self.direction, self.next, self.is_cleared())
    }
}

/// The receiving half of a session.
pub struct Opener<A: Aead = RustCrypto> {
    cipher: Option<A>,
    direction: Direction,
    window: ReplayWindow,
}

impl<A: Aead> Opener<A> {
    fn new(key: &[u8; 32], direction: Direction, window: ReplayWindow) -> Self {
        Self { cipher: Some(A::new(key)), direction, window }
    }

    /// Open a message in place: `buffer` holds its ciphertext and then its plaintext. In this order: direction, window,
    /// decryption, and only then is the number marked, so that a forged message never moves the window.
    ///
    /// # Errors
    /// `session_cleared`, `decrypt_failed`, `sequence_error`.
    pub fn open_in_place(&mut self, sealed: &Sealed<'_>, buffer: &mut [u8]) -> Result<(), Error> {
        let cipher = self.cipher.as_ref().ok_or_else(cleared)?;
        let [d0, d1, d2, d3, sequence @ ..] = *sealed.nonce;
        if u32::from_be_bytes([d0, d1, d2, d3]) != self.direction as u32 {
            return Err(Error::new(Code::DecryptFailed, "the message was sealed for the other direction"));
        }
        let sequence = u64::from_be_bytes(sequence);
        if !self.window.check(sequence) {
            let message = format!("sequence {sequence} was seen before or is older than the replay window");
            return Err(Error::new(Code::SequenceError, message));
        }
        cipher
            .open_in_place(sealed.nonce, buffer, sealed.tag)
            .map_err(|_| Error::new(Code::DecryptFailed, "the message was changed, or sealed with another key"))?;
        self.window.mark(sequence);
        Ok(())
    }

    /// The highest sequence number opened.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.window.highest()
    }

    /// Wipe the key and forget the window.
    pub fn clear(&mut self) {
        self.cipher = None;
        self.window.reset();
    }

    /// Whether this half can be resumed: it has its key, and its window is consistent.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.cipher.is_some() && self.window.is_consistent()
    }
}

impl<A: Aead> fmt::Debug for Opener<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({:?}, highest: {:?})", self.direction, self.window.highest())
    }
}

fn nonce(direction: Direction, sequence: u64) -> [u8; NONCE_SIZE] {
    let [d0, d1, d2, d3] = (direction as u32).to_be_bytes();
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sequence.to_be_bytes();
    [d0, d1, d2, d3, s0, s1, s2, s3, s4, s5, s6, s7]
}

fn cleared() -> Error {
    Error::new(Code::SessionCleared, "this session was cleared; do the handshake again")
}
