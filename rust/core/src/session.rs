//! Encrypted sessions (docs/protocol/sbrp.md, "Data"): payload = nonce (12) | ciphertext | tag (16).
//!
//! A session is two halves that share nothing, so that each can have its own lock: a [`Sealer`] for what is sent and an
//! [`Opener`] for what is received.

use std::fmt;

use zeroize::Zeroize;

use crate::aead::{Aead, NONCE_SIZE, RustCrypto, TAG_SIZE};
use crate::batch::for_each;
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
        let rooms = Rooms::split(message)?;
        self.reserve(1)?;
        let cipher = self.cipher.as_ref().ok_or_else(cleared)?;
        let nonce = nonce(self.direction, self.next);
        // Spent before it is used: whatever happens below, no other message gets this nonce.
        self.next += 1;
        rooms.seal(cipher, nonce)
    }

    /// Spend `count` sequence numbers, in order, on messages that may then be sealed in any order and on any thread.
    ///
    /// # Errors
    /// As [`Self::reserve`].
    pub fn tickets(&mut self, count: u64) -> Result<impl Iterator<Item = Ticket<'_, A>> + Send + use<'_, A>, Error> {
        self.reserve(count)?;
        let first = self.next;
        self.next += count;
        let cipher = self.cipher.as_ref().ok_or_else(cleared)?;
        let direction = self.direction;
        Ok((first..self.next).map(move |number| Ticket { cipher, nonce: nonce(direction, number) }))
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

/// The right to seal one message under one sequence number, which is spent whether it is used or not.
pub struct Ticket<'a, A: Aead = RustCrypto> {
    cipher: &'a A,
    nonce: [u8; NONCE_SIZE],
}

impl<A: Aead> Ticket<'_, A> {
    /// As [`Sealer::seal_in_place`].
    ///
    /// # Errors
    /// `payload_too_large`.
    pub fn seal_in_place(self, message: &mut [u8]) -> Result<(), Error> {
        Rooms::split(message)?.seal(self.cipher, self.nonce)
    }
}

impl<A: Aead> fmt::Debug for Ticket<'_, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket(..)")
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
        let sequence = self.acceptable(sealed)?;
        cipher.open_in_place(sealed.nonce, buffer, sealed.tag).map_err(|_| forged())?;
        self.window.mark(sequence);
        Ok(())
    }

    /// Open messages in order until one fails: as [`Self::open_in_place`] on each, in what the function beside it makes
    /// of the ciphertext, which is a copy. With `helper` a second thread copies and decrypts too; which messages are
    /// accepted, and what the error is, stays the same. Returns how many were opened, and why the next one was not; no
    /// plaintext of that one or a later one is left.
    pub fn open_batch<'a, C>(&mut self, messages: Vec<(Sealed<'_>, C)>, helper: bool) -> (usize, Option<Error>)
    where
        C: FnOnce(&[u8]) -> &'a mut [u8] + Send,
    {
        if !helper {
            let count = messages.len();
            for (index, (sealed, copy)) in messages.into_iter().enumerate() {
                if let Err(error) = self.open_in_place(&sealed, copy(sealed.ciphertext)) {
                    return (index, Some(error));
                }
            }
            return (count, None);
        }
        let Some(cipher) = &self.cipher else { return (0, (!messages.is_empty()).then(cleared)) };
        let numbered: Vec<Sealed<'_>> = messages.iter().map(|(sealed, _)| *sealed).collect();
        let mut genuine: Vec<Option<&mut [u8]>> = numbered.iter().map(|_| None).collect();
        for_each(messages.into_iter().zip(&mut genuine), true, |((sealed, copy), genuine)| {
            let buffer = copy(sealed.ciphertext);
            if cipher.open_in_place(sealed.nonce, buffer, sealed.tag).is_ok() {
                *genuine = Some(buffer);
            }
        });
        for (index, (sealed, plaintext)) in numbered.iter().zip(&genuine).enumerate() {
            let accepted =
                self.acceptable(sealed).and_then(|number| plaintext.is_some().then_some(number).ok_or_else(forged));
            match accepted {
                Ok(number) => {
                    self.window.mark(number);
                }
                Err(error) => {
                    genuine.iter_mut().skip(index).flatten().for_each(|plaintext| plaintext.zeroize());
                    return (index, Some(error));
                }
            }
        }
        (numbered.len(), None)
    }

    /// The sequence number of a message that goes the right way and was not seen before.
    fn acceptable(&self, sealed: &Sealed<'_>) -> Result<u64, Error> {
        let [d0, d1, d2, d3, sequence @ ..] = *sealed.nonce;
        if u32::from_be_bytes([d0, d1, d2, d3]) != self.direction as u32 {
            return Err(Error::new(Code::DecryptFailed, "the message was sealed for the other direction"));
        }
        let sequence = u64::from_be_bytes(sequence);
        if !self.window.check(sequence) {
            let message = format!("sequence {sequence} was seen before or is older than the replay window");
            return Err(Error::new(Code::SequenceError, message));
        }
        Ok(sequence)
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

/// A message that is to be sealed in place, split.
struct Rooms<'a> {
    nonce: &'a mut [u8; NONCE_SIZE],
    plaintext: &'a mut [u8],
    tag: &'a mut [u8; TAG_SIZE],
}

impl<'a> Rooms<'a> {
    fn split(message: &'a mut [u8]) -> Result<Self, Error> {
        let size = message.len();
        let no_room = || Error::new(Code::InternalError, format!("{size} bytes have no room for nonce and tag"));
        let (nonce, rest) = message.split_first_chunk_mut().ok_or_else(no_room)?;
        let (plaintext, tag) = rest.split_last_chunk_mut().ok_or_else(no_room)?;
        check_plaintext_size(plaintext.len())?;
        Ok(Self { nonce, plaintext, tag })
    }

    fn seal<A: Aead>(self, cipher: &A, nonce: [u8; NONCE_SIZE]) -> Result<(), Error> {
        *self.nonce = nonce;
        *self.tag = cipher
            .seal_in_place(&nonce, self.plaintext)
            .map_err(|_| Error::new(Code::InternalError, "the cipher refused the message"))?;
        Ok(())
    }
}

fn nonce(direction: Direction, sequence: u64) -> [u8; NONCE_SIZE] {
    let [d0, d1, d2, d3] = (direction as u32).to_be_bytes();
    let [s0, s1, s2, s3, s4, s5, s6, s7] = sequence.to_be_bytes();
    [d0, d1, d2, d3, s0, s1, s2, s3, s4, s5, s6, s7]
}

fn forged() -> Error {
    Error::new(Code::DecryptFailed, "the message was changed, or sealed with another key")
}

fn cleared() -> Error {
    Error::new(Code::SessionCleared, "this session was cleared; do the handshake again")
}
