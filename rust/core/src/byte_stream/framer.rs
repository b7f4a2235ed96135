//! Whole SBP frames of stream messages, made and recognised without another pass over the bytes they carry.

use super::message::{HEADER_SIZE, Op, header};
use crate::sbp::FRAME_ID_SIZE;

/// The subject of stream messages.
pub const SUBJECT: &str = "app/sb.stream.v1";

const SUBJECT_AT: usize = 2 + FRAME_ID_SIZE;
const MESSAGE_AT: usize = SUBJECT_AT + 4 + SUBJECT.len();
/// Bytes of a whole SBP frame before the bytes of a data message.
pub const DATA_PREFIX_SIZE: usize = MESSAGE_AT + HEADER_SIZE;

const KIND_MESSAGE: u8 = 1;
const FLAGS: u8 = 0;

/// Makes the frames of one side of a session. Their ids are eight random bytes and a counter, so each is used once.
#[derive(Debug)]
pub struct Framer {
    random: [u8; 8],
    next: u64,
}

impl Framer {
    /// A framer for ids that begin with these bytes, which nothing else in the session may use.
    #[must_use]
    pub fn new(random: [u8; 8]) -> Self {
        Self { random, next: 0 }
    }

    /// What stands before the bytes of a data message, in a frame of its own.
    pub fn data_prefix(&mut self, stream_id: u32, offset: u64) -> [u8; DATA_PREFIX_SIZE] {
        let mut prefix = [0; DATA_PREFIX_SIZE];
        let bytes = self.frame_header().into_iter().chain(header(Op::Data, stream_id, offset));
        for (target, byte) in prefix.iter_mut().zip(bytes) {
            *target = byte;
        }
        prefix
    }

    /// A frame with a whole stream message.
    pub fn frame(&mut self, message: &[u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(MESSAGE_AT + message.len());
        frame.extend_from_slice(&self.frame_header());
        frame.extend_from_slice(message);
        frame
    }

    fn frame_header(&mut self) -> [u8; MESSAGE_AT] {
        let mut bytes = [0; MESSAGE_AT];
        #[allow(clippy::cast_possible_truncation, reason = "the subject has 16 bytes")]
        let subject_size = (SUBJECT.len() as u32).to_le_bytes();
        let fields = [KIND_MESSAGE, FLAGS].into_iter().chain(self.random).chain(self.next.to_le_bytes());
        for (target, byte) in bytes.iter_mut().zip(fields.chain(subject_size).chain(SUBJECT.bytes())) {
            *target = byte;
        }
        self.next = self.next.wrapping_add(1);
        bytes
    }
}

/// (stream id, offset) of a whole SBP frame that is a data message and nothing special; its bytes begin at
/// [`DATA_PREFIX_SIZE`]. None for every other frame, also for a broken one: those go the long way.
#[must_use]
pub fn data_of_frame(frame: &[u8]) -> Option<(u32, u64)> {
    let (prefix, bytes) = frame.split_first_chunk::<DATA_PREFIX_SIZE>()?;
    let (start, rest) = prefix.split_first_chunk::<SUBJECT_AT>()?;
    let (subject_size, rest) = rest.split_first_chunk()?;
    let (subject, rest) = rest.split_at_checked(SUBJECT.len())?;
    let (op, rest) = rest.split_first()?;
    let (stream_id, offset) = rest.split_first_chunk()?;
    let plain = start.starts_with(&[KIND_MESSAGE, FLAGS])
        && u32::from_le_bytes(*subject_size) as usize == SUBJECT.len()
        && subject == SUBJECT.as_bytes()
        && *op == Op::Data as u8
        && !bytes.is_empty();
    let stream_id = u32::from_le_bytes(*stream_id);
    (plain && stream_id != 0).then_some((stream_id, u64::from_le_bytes(*offset.first_chunk()?)))
}
