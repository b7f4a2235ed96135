//! Sealed records from a byte stream: length (u32 BE), type 0x10, the sealed bytes (docs/protocol/sbdp.md, "Wire").

use std::ops::Range;

use super::error::NoiseError;
use super::record::{LENGTH_SIZE, Opener, RecordType, SEALED, check_size, violation};
use crate::aead::Aead;

/// Splits a byte stream into records and opens them where they lie.
///
/// It holds what was pushed and at most one unfinished record. After an error it stays failed, holding nothing.
#[derive(Debug, Default)]
pub struct RecordReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were opened and may be read by [`Self::content`] until the next push.
    taken: usize,
    failure: Option<NoiseError>,
}

impl RecordReader {
    /// A reader at a record boundary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Take bytes in any pieces, and open the records that they complete.
    ///
    /// Returns what was opened, in order, and the failure that came after it; the failure comes again with every later
    /// call. Next-key records are acted upon and not returned.
    pub fn push<A: Aead>(
        &mut self,
        data: &[u8],
        opener: &mut Opener<A>,
    ) -> (Vec<(RecordType, Range<usize>)>, Option<NoiseError>) {
        if self.failure.is_some() {
            (self.buffer, self.taken) = (Vec::new(), 0);
            return (Vec::new(), self.failure.clone());
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(data);
        let mut found = Vec::new();
        loop {
            match self.next(opener) {
                Ok(Some((RecordType::NextKey, _))) => {}
                Ok(Some(record)) => found.push(record),
                Ok(None) => return (found, None),
                Err(failure) => {
                    self.failure = Some(failure.clone());
                    opener.clear();
                    return (found, Some(failure));
                }
            }
        }
    }

    /// The content of a record that the last push opened.
    #[must_use]
    pub fn content(&self, range: &Range<usize>) -> &[u8] {
        self.buffer.get(range.clone()).unwrap_or_default()
    }

    /// Bytes held that belong to no whole record.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.taken
    }

    fn next<A: Aead>(&mut self, opener: &mut Opener<A>) -> Result<Option<(RecordType, Range<usize>)>, NoiseError> {
        let rest = self.buffer.get_mut(self.taken..).unwrap_or_default();
        let Some((length, rest)) = rest.split_first_chunk_mut::<LENGTH_SIZE>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        // Before any more is kept: a wrong length must not cost memory.
        check_size(length.saturating_sub(1), opener.max_record())?;
        let Some((kind, rest)) = rest.split_first_mut() else { return Ok(None) };
        if *kind != SEALED {
            return Err(violation(format!("a sealed record was due, a message of type {kind:#04x} came")));
        }
        let Some(sealed) = rest.get_mut(..length - 1) else { return Ok(None) };
        let found = opener.open_in_place(sealed)?;
        let begin = self.taken + LENGTH_SIZE + 2;
        self.taken += LENGTH_SIZE + length;
        Ok(Some((found.kind, begin..begin + found.size)))
    }
}
