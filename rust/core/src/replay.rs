//! The replay window (docs/protocol/sbrp.md, "Data"): which of the newest `size` sequence numbers were seen.
//!
//! A ring of 64-bit words with one word more than the window, after RFC 6479: a jump clears at most the ring, so memory
//! and time are constant whatever the numbers are.

use std::fmt;

/// Window size when none is chosen.
pub const DEFAULT_WINDOW: usize = 128;
/// Smallest window.
pub const MIN_WINDOW: usize = 64;
/// Largest window.
pub const MAX_WINDOW: usize = 65_536;

const WORD_BITS: u64 = 64;

/// A window size that is not a multiple of 64 from 64 to 65,536.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidWindowSize(pub usize);

impl fmt::Display for InvalidWindowSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a replay window is a multiple of 64 from {MIN_WINDOW} to {MAX_WINDOW}, got {}", self.0)
    }
}

impl std::error::Error for InvalidWindowSize {}

/// Remembers which of the newest sequence numbers were seen.
#[derive(Debug)]
pub struct ReplayWindow {
    words: Box<[u64]>,
    size: u64,
    highest: Option<u64>,
}

impl ReplayWindow {
    /// An empty window over `size` sequence numbers.
    ///
    /// # Errors
    /// When `size` is not a multiple of 64 from 64 to 65,536.
    pub fn new(size: usize) -> Result<Self, InvalidWindowSize> {
        if !(MIN_WINDOW..=MAX_WINDOW).contains(&size) || !size.is_multiple_of(64) {
            return Err(InvalidWindowSize(size));
        }
        Ok(Self { words: vec![0; size / 64 + 1].into_boxed_slice(), size: size as u64, highest: None })
    }

    /// How many sequence numbers the window covers.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The highest sequence number seen.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether `sequence` is new and not too old. Any first number is fine.
    #[must_use]
    pub fn check(&self, sequence: u64) -> bool {
        match self.highest {
            Some(highest) if sequence <= highest => highest - sequence < self.size && !self.bit(sequence),
            _ => true,
        }
    }

    /// Record `sequence` as seen; false, with nothing changed, when [`Self::check`] refuses it.
    pub fn mark(&mut self, sequence: u64) -> bool {
        if !self.check(sequence) {
            return false;
        }
        match self.highest {
            Some(highest) if sequence <= highest => {}
            Some(highest) => {
                self.clear_words_between(highest / WORD_BITS, sequence / WORD_BITS);
                self.highest = Some(sequence);
            }
            None => self.highest = Some(sequence),
        }
        let (slot, mask) = self.position(sequence);
        if let Some(word) = self.words.get_mut(slot) {
            *word |= mask;
        }
        true
    }

    /// Forget everything seen.
    pub fn reset(&mut self) {
        self.words.fill(0);
        self.highest = None;
    }

    /// Whether `highest - back` was seen.
    #[must_use]
    pub fn seen(&self, back: u64) -> bool {
        match self.highest {
            Some(highest) if back <= highest && back < self.size => self.bit(highest - back),
            _ => false,
        }
    }

    /// Whether size, highest number and bitmap agree with each other.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        if self.words.len() as u64 != self.size / WORD_BITS + 1 {
            return false;
        }
        let Some(highest) = self.highest else {
            return self.words.iter().all(|&word| word == 0);
        };
        let above = u64::MAX.checked_shl(u32::try_from(highest % WORD_BITS + 1).unwrap_or(u32::MAX)).unwrap_or(0);
        let newest = self.words.get(self.position(highest).0).copied().unwrap_or(0);
        // Words that no number from 0 to highest falls into were never written.
        let unused = (highest / WORD_BITS + 1..self.words.len() as u64)
            .all(|slot| usize::try_from(slot).ok().and_then(|slot| self.words.get(slot)) == Some(&0));
        self.bit(highest) && newest & above == 0 && unused
    }

    fn clear_words_between(&mut self, from: u64, to: u64) {
        let count = (to - from).min(self.words.len() as u64);
        for block in to - count + 1..=to {
            let slot = self.slot(block);
            if let Some(word) = self.words.get_mut(slot) {
                *word = 0;
            }
        }
    }

    fn bit(&self, sequence: u64) -> bool {
        let (slot, mask) = self.position(sequence);
        self.words.get(slot).is_some_and(|word| word & mask != 0)
    }

    fn position(&self, sequence: u64) -> (usize, u64) {
        (self.slot(sequence / WORD_BITS), 1 << (sequence % WORD_BITS))
    }

    #[allow(clippy::cast_possible_truncation, reason = "a remainder of the ring's length, at most 1,025")]
    fn slot(&self, block: u64) -> usize {
        (block % self.words.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

    use super::*;

    fn marked(size: usize, sequences: impl IntoIterator<Item = u64>) -> ReplayWindow {
        let mut window = ReplayWindow::new(size).unwrap();
        for sequence in sequences {
            assert!(window.mark(sequence));
        }
        window
    }

    #[test]
    fn a_sound_window_is_consistent() {
        for size in [64, 128, 65_536] {
            assert!(marked(size, []).is_consistent());
            assert!(marked(size, [0]).is_consistent());
            assert!(marked(size, [63, 64, 65]).is_consistent());
            assert!(marked(size, [u64::MAX]).is_consistent());
            assert!(marked(size, 0..300).is_consistent());
        }
        let mut window = marked(128, [1_000_000]);
        window.reset();
        assert!(window.is_consistent());
    }

    #[test]
    fn a_damaged_window_is_not_consistent() {
        type Damage = fn(&mut ReplayWindow);
        let damages: [(&str, Damage); 6] = [
            ("bits without a highest number", |window| window.highest = None),
            ("a highest number that was never marked", |window| window.highest = Some(7)),
            ("a bit above the highest number", |window| window.words[0] |= 1 << 9),
            ("a bit in a word not reached yet", |window| window.words[1] |= 1),
            ("a window of another size than its bitmap", |window| window.size = 256),
            ("a bitmap of another size than its window", |window| window.words = vec![1 << 8].into()),
        ];
        for (name, damage) in damages {
            let mut window = marked(128, [3, 8]);
            assert!(window.is_consistent());
            damage(&mut window);
            assert!(!window.is_consistent(), "{name}");
        }
    }

    #[test]
    fn only_multiples_of_64_in_range_are_sizes() {
        for size in [0, 1, 63, 65, 100, 65_537, 65_600, usize::MAX] {
            assert_eq!(ReplayWindow::new(size).unwrap_err(), InvalidWindowSize(size));
        }
    }
}
