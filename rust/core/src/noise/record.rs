//! Sealed records (docs/protocol/sbdp.md, "Records").

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::{NoiseCode, NoiseError};
use crate::aead::{Aead, KEY_SIZE, NONCE_SIZE, RustCrypto, TAG_SIZE};

/// The type byte of a sealed record on the wire.
pub const SEALED: u8 = 0x10;
/// Bytes of the length before each message on a byte stream.
pub const LENGTH_SIZE: usize = 4;
/// Bytes that sealing adds: the record's type and the tag.
pub const RECORD_OVERHEAD: usize = 1 + TAG_SIZE;
/// Bytes that a record takes besides its content, on a message transport.
pub const WIRE_OVERHEAD: usize = 1 + RECORD_OVERHEAD;
/// Largest sealed record in bytes, the type byte of the wire not counted.
pub const MAX_RECORD: usize = 1024 * 1024 + RECORD_OVERHEAD;

const MAX_RECORDS_PER_KEY: u64 = 1 << 32;
const MAX_BYTES_PER_KEY: u64 = 64 << 30;
const NEXT_KEY_INFO: &[u8] = b"sbdp-1-next";

/// Which way a record goes; the first four bytes of its nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Direction {
    /// From the side that sent the first handshake message.
    FromInitiator = 1,
    /// From the other one.
    FromResponder = 2,
}

/// The first plaintext byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordType {
    /// One SBP frame.
    Data = 0,
    /// To be answered by a pong with the same content.
    Ping = 1,
    /// The answer.
    Pong = 2,
    /// The last record: u16 code and a reason.
    Close = 3,
    /// The sender's next record is under the next key.
    NextKey = 4,
}

impl RecordType {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Data,
            1 => Self::Ping,
            2 => Self::Pong,
            3 => Self::Close,
            4 => Self::NextKey,
            _ => return None,
        })
    }
}

/// When a sender goes on to its next key.
#[derive(Clone, Copy, Debug)]
pub struct RekeyAfter {
    /// Records under one key, the next-key record among them; at least 2.
    pub records: u64,
    /// Plaintext bytes under one key.
    pub bytes: u64,
}

impl Default for RekeyAfter {
    fn default() -> Self {
        Self { records: MAX_RECORDS_PER_KEY, bytes: MAX_BYTES_PER_KEY }
    }
}

impl RekeyAfter {
    /// Both, held within what the protocol allows.
    #[must_use]
    pub fn new(records: u64, bytes: u64) -> Self {
        Self { records: records.clamp(2, MAX_RECORDS_PER_KEY), bytes: bytes.clamp(1, MAX_BYTES_PER_KEY) }
    }
}

/// A cipher, its key for deriving the next one, and the next sequence number.
struct Keyed<A> {
    cipher: A,
    key: Box<Zeroizing<[u8; KEY_SIZE]>>,
    direction: Direction,
    next: u64,
    epoch: u64,
}

impl<A: Aead> Keyed<A> {
    fn new(key: &[u8; KEY_SIZE], direction: Direction) -> Self {
        Self { cipher: A::new(key), key: Box::new(Zeroizing::new(*key)), direction, next: 0, epoch: 0 }
    }

    fn nonce(&self) -> [u8; NONCE_SIZE] {
        let [d0, d1, d2, d3] = (self.direction as u32).to_be_bytes();
        let [s0, s1, s2, s3, s4, s5, s6, s7] = self.next.to_be_bytes();
        [d0, d1, d2, d3, s0, s1, s2, s3, s4, s5, s6, s7]
    }

    fn ratchet(&mut self) -> Result<(), NoiseError> {
        let mut next = Zeroizing::new([0; KEY_SIZE]);
        Hkdf::<Sha256>::new(None, self.key.as_slice())
            .expand(NEXT_KEY_INFO, next.as_mut_slice())
            .map_err(|_| NoiseError::new(NoiseCode::SessionCleared, "the next key cannot be derived"))?;
        self.cipher = A::new(&next);
        **self.key = *next;
        self.next = 0;
        self.epoch += 1;
        Ok(())
    }
}

/// The sending half.
pub struct Sealer<A: Aead = RustCrypto> {
    keyed: Option<Keyed<A>>,
    max_record: usize,
    rekey: RekeyAfter,
    bytes: u64,
}

impl<A: Aead> Sealer<A> {
    pub(super) fn new(key: &[u8; KEY_SIZE], direction: Direction, max_record: usize, rekey: RekeyAfter) -> Self {
        let rekey = RekeyAfter::new(rekey.records, rekey.bytes);
        Self { keyed: Some(Keyed::new(key, direction)), max_record: max_record.min(MAX_RECORD), rekey, bytes: 0 }
    }

    /// How many keys came before the present one, and the sequence number of the next record.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        self.keyed.as_ref().map_or((0, 0), |keyed| (keyed.epoch, keyed.next))
    }

    /// Tell for contents of these sizes, sealed one after the other, before which a next-key record has to go.
    ///
    /// # Errors
    /// `message_too_large`; `session_cleared`.
    pub fn plan(&self, sizes: impl Iterator<Item = usize>) -> Result<Vec<bool>, NoiseError> {
        let (mut records, mut bytes) = (self.keyed.as_ref().ok_or_else(cleared)?.next, self.bytes);
        sizes
            .map(|size| {
                if size + RECORD_OVERHEAD > self.max_record {
                    return Err(too_large(size, self.max_record));
                }
                let rekey = self.is_due(records, bytes, size);
                if rekey {
                    (records, bytes) = (0, 0);
                }
                records += 1;
                bytes += size as u64 + 1;
                Ok(rekey)
            })
            .collect()
    }

    /// Seal in place: `record` has one byte of room, the content, and 16 bytes of room.
    ///
    /// # Errors
    /// `message_too_large` with no sequence number spent; `session_cleared`; `protocol_violation` when a next-key
    /// record is due first, which [`Self::plan`] tells.
    pub fn seal_in_place(&mut self, kind: RecordType, record: &mut [u8]) -> Result<(), NoiseError> {
        let keyed = self.keyed.as_mut().ok_or_else(cleared)?;
        let size = record.len();
        let no_room = || NoiseError::new(NoiseCode::ProtocolViolation, "the record has no room for its type and tag");
        let (plaintext, tag) = record.split_last_chunk_mut::<TAG_SIZE>().ok_or_else(no_room)?;
        let first = plaintext.first_mut().ok_or_else(no_room)?;
        if size > self.max_record {
            return Err(too_large(size - RECORD_OVERHEAD, self.max_record));
        }
        if keyed.next >= self.rekey.records {
            return Err(NoiseError::new(NoiseCode::ProtocolViolation, "this key has sealed all it may"));
        }
        *first = kind as u8;
        let nonce = keyed.nonce();
        // Spent before it is used: whatever happens below, no other record gets this nonce.
        keyed.next += 1;
        self.bytes += plaintext.len() as u64;
        *tag = keyed.cipher.seal_in_place(&nonce, plaintext).map_err(|_| cleared())?;
        Ok(())
    }

    /// Seal a next-key record, and go on with the next key.
    ///
    /// # Errors
    /// `session_cleared`.
    pub fn seal_next_key(&mut self, record: &mut [u8; RECORD_OVERHEAD]) -> Result<(), NoiseError> {
        self.seal_in_place(RecordType::NextKey, record)?;
        self.bytes = 0;
        self.keyed.as_mut().ok_or_else(cleared)?.ratchet()
    }

    /// Wipe the keys.
    pub fn clear(&mut self) {
        self.keyed = None;
    }

    /// Whether the keys were wiped.
    #[must_use]
    pub fn is_cleared(&self) -> bool {
        self.keyed.is_none()
    }

    fn is_due(&self, records: u64, bytes: u64, size: usize) -> bool {
        // One number is kept for the next-key record itself.
        records + 1 >= self.rekey.records || (records > 0 && bytes + size as u64 + 1 > self.rekey.bytes)
    }
}

impl<A: Aead> fmt::Debug for Sealer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({:?}, cleared: {})", self.position(), self.is_cleared())
    }
}

/// A record that was opened in place: its type, and where its content begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What it is.
    pub kind: RecordType,
    /// Bytes of its content, which follow the first byte of the buffer.
    pub size: usize,
}

/// The receiving half. The first failure ends it: the transport below delivers in order, so nothing can be skipped.
pub struct Opener<A: Aead = RustCrypto> {
    keyed: Option<Keyed<A>>,
    max_record: usize,
}

impl<A: Aead> Opener<A> {
    pub(super) fn new(key: &[u8; KEY_SIZE], direction: Direction, max_record: usize) -> Self {
        Self { keyed: Some(Keyed::new(key, direction)), max_record: max_record.min(MAX_RECORD) }
    }

    /// Largest record taken.
    #[must_use]
    pub fn max_record(&self) -> usize {
        self.max_record
    }

    /// How many keys came before the present one, and the sequence number that is awaited.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        self.keyed.as_ref().map_or((0, 0), |keyed| (keyed.epoch, keyed.next))
    }

    /// Open a sealed record in place. A next-key record is acted upon here.
    ///
    /// # Errors
    /// `protocol_violation` for a wrong length or type, `decrypt_failed`, and `session_cleared` ever after.
    pub fn open_in_place(&mut self, record: &mut [u8]) -> Result<Opened, NoiseError> {
        let outcome = self.open(record);
        if outcome.is_err() {
            self.keyed = None;
        }
        outcome
    }

    /// Wipe the keys.
    pub fn clear(&mut self) {
        self.keyed = None;
    }

    /// Whether the keys were wiped.
    #[must_use]
    pub fn is_cleared(&self) -> bool {
        self.keyed.is_none()
    }

    fn open(&mut self, record: &mut [u8]) -> Result<Opened, NoiseError> {
        let keyed = self.keyed.as_mut().ok_or_else(cleared)?;
        check_size(record.len(), self.max_record)?;
        let (plaintext, tag) = record.split_last_chunk_mut::<TAG_SIZE>().ok_or_else(cleared)?;
        if keyed.next >= MAX_RECORDS_PER_KEY {
            return Err(violation("more records came under one key than the protocol allows".to_owned()));
        }
        let nonce = keyed.nonce();
        keyed.cipher.open_in_place(&nonce, plaintext, tag).map_err(|_| {
            NoiseError::new(NoiseCode::DecryptFailed, "the record was changed, repeated, reordered or sealed elsewhere")
        })?;
        keyed.next += 1;
        let size = plaintext.len() - 1;
        let byte = plaintext.first().copied().unwrap_or(u8::MAX);
        let kind = RecordType::from_byte(byte).ok_or_else(|| violation(format!("{byte} is no type of a record")))?;
        let fits = match kind {
            RecordType::Data => true,
            RecordType::Ping | RecordType::Pong => size <= 32,
            RecordType::Close => (2..=125).contains(&size),
            RecordType::NextKey => size == 0,
        };
        if !fits {
            return Err(violation(format!("a {kind:?} record does not hold {size} bytes")));
        }
        if kind == RecordType::NextKey {
            keyed.ratchet()?;
        }
        Ok(Opened { kind, size })
    }
}

impl<A: Aead> fmt::Debug for Opener<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({:?}, cleared: {})", self.position(), self.is_cleared())
    }
}

/// Check the size of a sealed record before any of it is kept.
///
/// # Errors
/// `protocol_violation`.
pub(super) fn check_size(size: usize, max_record: usize) -> Result<(), NoiseError> {
    if (RECORD_OVERHEAD..=max_record).contains(&size) {
        return Ok(());
    }
    Err(violation(format!("a sealed record has {RECORD_OVERHEAD} to {max_record} bytes, got {size}")))
}

pub(super) fn violation(message: String) -> NoiseError {
    NoiseError::new(NoiseCode::ProtocolViolation, message)
}

fn too_large(size: usize, max_record: usize) -> NoiseError {
    let most = max_record.saturating_sub(RECORD_OVERHEAD);
    NoiseError::new(NoiseCode::MessageTooLarge, format!("a record here holds at most {most} bytes, got {size}"))
}

fn cleared() -> NoiseError {
    NoiseError::new(NoiseCode::SessionCleared, "this session has ended; connect again")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn halves() -> (Sealer, Opener) {
        let sealer = Sealer::new(&[7; KEY_SIZE], Direction::FromInitiator, MAX_RECORD, RekeyAfter::default());
        (sealer, Opener::new(&[7; KEY_SIZE], Direction::FromInitiator, MAX_RECORD))
    }

    #[test]
    fn no_key_seals_or_opens_more_than_2_to_the_32_records() {
        let (mut sealer, mut opener) = halves();
        sealer.keyed.as_mut().unwrap().next = MAX_RECORDS_PER_KEY - 2;
        opener.keyed.as_mut().unwrap().next = MAX_RECORDS_PER_KEY - 2;
        assert_eq!(sealer.plan([1, 1].into_iter()).unwrap(), [false, true]);
        let mut record = [0; RECORD_OVERHEAD];
        for _ in 0..2 {
            sealer.seal_in_place(RecordType::Data, &mut record).unwrap();
            opener.open_in_place(&mut record).unwrap();
        }
        assert_eq!(sealer.seal_in_place(RecordType::Data, &mut record).unwrap_err().code, NoiseCode::ProtocolViolation);
        // A sender that goes on all the same is not followed.
        sealer.rekey.records = u64::MAX;
        sealer.seal_in_place(RecordType::Data, &mut record).unwrap();
        assert_eq!(opener.open_in_place(&mut record).unwrap_err().code, NoiseCode::ProtocolViolation);
        assert!(opener.is_cleared());
    }

    #[test]
    fn the_next_key_is_due_at_64_gib_of_plaintext() {
        let (mut sealer, _) = halves();
        sealer.bytes = MAX_BYTES_PER_KEY - 10;
        sealer.keyed.as_mut().unwrap().next = 1;
        assert_eq!(sealer.plan([9, 0].into_iter()).unwrap(), [false, true]);
        assert_eq!(sealer.plan([10].into_iter()).unwrap(), [true]);
    }

    #[test]
    fn keys_are_not_shown() {
        let (sealer, opener) = halves();
        assert_eq!(format!("{sealer:?} {opener:?}"), "Sealer((0, 0), cleared: false) Opener((0, 0), cleared: false)");
    }
}
