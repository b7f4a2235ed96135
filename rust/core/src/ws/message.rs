//! A whole message that came in.

use super::head::{Head, Opcode, Role};
use super::mask::{MASK_SIZE, unmasked};
use super::sender::{Writer, frame_size};

/// A whole message as it lies in memory: masked, or assembled from fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Text, which is checked to be UTF-8, or binary.
    pub is_text: bool,
    /// What the bytes are masked with; zeros where they are not.
    pub mask: [u8; MASK_SIZE],
    /// The payload, masked.
    pub masked: &'a [u8],
}

impl Message<'_> {
    /// Bytes of the payload.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.masked.len()
    }

    /// Unmask the first bytes, as many as `front` has, and return it; `None` when the message is shorter.
    #[must_use]
    pub fn front<const N: usize>(&self) -> Option<[u8; N]> {
        let mut front = *self.masked.first_chunk::<N>()?;
        for (byte, key) in front.iter_mut().zip(self.mask.iter().cycle()) {
            *byte ^= key;
        }
        Some(front)
    }

    /// The payload in a buffer of its own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        unmasked(self.mask, self.masked)
    }

    /// Bytes of this message as a server's frame.
    #[must_use]
    pub const fn wire_size(&self) -> usize {
        frame_size(self.masked.len(), Role::Server)
    }

    /// Write this message as an unmasked binary frame.
    pub fn write_frame(&self, writer: &mut Writer<'_>) {
        writer.put_header(self.masked.len());
        writer.put_unmasked(self.mask, self.masked);
    }
}

/// Take another whole, unfragmented binary message off the front of `behind`, if the receiver's rules let one follow.
///
/// For callers that want several messages at once: it neither reads nor changes a receiver, so it may only be used behind
/// an unfragmented message that came in one frame, with the receiver's own limit and sender.
#[must_use]
pub fn following(behind: &[u8], sender: Role, max_message: usize) -> Option<(Message<'_>, usize)> {
    let head = Head::read(behind, sender).ok()?;
    if head.opcode != Opcode::Binary || !head.fin || head.payload_size > max_message {
        return None;
    }
    let masked = head.payload(behind)?;
    Some((Message { is_text: false, mask: head.mask, masked }, head.size + masked.len()))
}
