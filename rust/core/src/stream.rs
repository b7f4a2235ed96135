//! Frames from a byte stream (docs/protocol/sbrp.md, "Frames").

use crate::error::Error;
use crate::frame::{Frame, HEADER_SIZE, Header};

/// Splits a byte stream into frames.
///
/// It holds at most one header and one payload, and after an error it stays failed, holding nothing, until reset.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    failure: Option<Error>,
}

impl FrameDecoder {
    /// A decoder at a frame boundary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Take bytes in any pieces; `deliver` is called for each frame that they complete, in order.
    ///
    /// # Errors
    /// The first bad header's error, after the frames before it were delivered; the same again until [`Self::reset`].
    pub fn push(&mut self, mut data: &[u8], mut deliver: impl FnMut(Frame<'_>)) -> Result<(), Error> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let outcome = self.take(&mut data, &mut deliver);
        if let Err(failure) = &outcome {
            self.buffer = Vec::new();
            self.failure = Some(failure.clone());
        }
        outcome
    }

    /// Bytes of an unfinished frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Forget everything buffered and any failure.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    fn take(&mut self, data: &mut &[u8], deliver: &mut impl FnMut(Frame<'_>)) -> Result<(), Error> {
        if !self.buffer.is_empty() && !self.finish_buffered(data, deliver)? {
            return Ok(());
        }
        while data.len() >= HEADER_SIZE {
            let (header, rest) = Header::read(data)?;
            let Some((payload, after)) = rest.split_at_checked(header.payload_size) else { break };
            deliver(Frame { frame_type: header.frame_type, session_id: header.session_id, payload });
            *data = after;
        }
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    /// Complete the frame that an earlier push began; false when more bytes are needed.
    fn finish_buffered(&mut self, data: &mut &[u8], deliver: &mut impl FnMut(Frame<'_>)) -> Result<bool, Error> {
        self.fill(data, HEADER_SIZE);
        if self.buffer.len() < HEADER_SIZE {
            return Ok(false);
        }
        let (header, _) = Header::read(&self.buffer)?;
        self.fill(data, HEADER_SIZE + header.payload_size);
        let (_, payload) = Header::read(&self.buffer)?;
        if payload.len() < header.payload_size {
            return Ok(false);
        }
        deliver(Frame { frame_type: header.frame_type, session_id: header.session_id, payload });
        self.buffer.clear();
        Ok(true)
    }

    fn fill(&mut self, data: &mut &[u8], target: usize) {
        let missing = target.saturating_sub(self.buffer.len()).min(data.len());
        let (head, rest) = data.split_at(missing);
        self.buffer.extend_from_slice(head);
        *data = rest;
    }
}
