//! Frames to send.

use std::mem::{MaybeUninit, take};

use super::head::{BINARY, FIN, MASKED, MAX_CONTROL_SIZE, MAX_HEADER_SIZE, Role};
use super::mask::{MASK_SIZE, write};

/// Bytes of a frame with a payload of so many bytes.
#[must_use]
pub const fn frame_size(payload_size: usize, sender: Role) -> usize {
    let mask_size = match sender {
        Role::Client => MASK_SIZE,
        Role::Server => 0,
    };
    let header_size = match payload_size {
        0..=MAX_CONTROL_SIZE => 2,
        126..=65_535 => 4,
        _ => 10,
    };
    header_size + mask_size + payload_size
}

/// Write the header of a frame that is a whole message and return its size; with a key it is a client's, which masks its
/// payload with that.
pub fn write_header(
    opcode: u8,
    payload_size: usize,
    mask: Option<[u8; MASK_SIZE]>,
    header: &mut [u8; MAX_HEADER_SIZE],
) -> usize {
    let [first, second, long @ ..] = header;
    let length: &mut [u8] = long;
    *first = FIN | opcode;
    let length_size = if payload_size <= MAX_CONTROL_SIZE {
        *second = u8::try_from(payload_size).unwrap_or_default();
        0
    } else if let Ok(medium) = u16::try_from(payload_size) {
        *second = 126;
        put(length, 0, &medium.to_be_bytes())
    } else {
        *second = 127;
        put(length, 0, &(payload_size as u64).to_be_bytes())
    };
    let Some(mask) = mask else { return 2 + length_size };
    *second |= MASKED;
    2 + put(length, length_size, &mask)
}

fn put(target: &mut [u8], from: usize, bytes: &[u8]) -> usize {
    if let Some(room) = target.get_mut(from..from + bytes.len()) {
        room.copy_from_slice(bytes);
    }
    from + bytes.len()
}

/// Fills memory front to back.
#[derive(Debug)]
pub struct Writer<'a> {
    rest: &'a mut [MaybeUninit<u8>],
}

impl<'a> Writer<'a> {
    /// A writer of exactly this memory.
    pub const fn new(memory: &'a mut [MaybeUninit<u8>]) -> Self {
        Self { rest: memory }
    }

    /// Whether every byte has been written.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.rest.is_empty()
    }

    /// Write bytes as they are.
    pub fn put(&mut self, bytes: &[u8]) {
        let rest = take(&mut self.rest);
        // What does not fit is not written, and the memory then never counts as full.
        let Some((target, rest)) = rest.split_at_mut_checked(bytes.len()) else { return };
        self.rest = rest;
        for (target, source) in target.iter_mut().zip(bytes) {
            target.write(*source);
        }
    }

    pub(super) fn put_header(&mut self, size: usize) {
        let mut header = [0; MAX_HEADER_SIZE];
        let used = write_header(BINARY, size, None, &mut header);
        self.put(header.get(..used).unwrap_or_default());
    }

    pub(super) fn put_unmasked(&mut self, mask: [u8; MASK_SIZE], bytes: &[u8]) {
        let rest = take(&mut self.rest);
        let Some((target, rest)) = rest.split_at_mut_checked(bytes.len()) else { return };
        self.rest = rest;
        write(mask, bytes, target);
    }
}
