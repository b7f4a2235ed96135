//! What a relay does with the messages of one connection (docs/protocol/relay.md, "Connections"): each is checked as one
//! SBRP frame by its header, and those that go the same way are taken together, to be copied once.

use crate::code::Code;
use crate::frame::{self, FrameType, HEADER_SIZE, Header, MAX_FRAME_SIZE, Sender};
use crate::ws::{Message, Role, Writer, following};

/// How much may be taken at once.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Messages, at least one.
    pub messages: usize,
    /// Bytes of SBRP frames: the message that goes beyond is the last.
    pub bytes: usize,
}

/// Messages that go the same way, one behind the other in memory.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The session all of them name.
    pub session_id: u64,
    /// How many.
    pub messages: usize,
    /// Bytes of all SBRP frames, headers included.
    pub bytes: usize,
    /// Bytes of all of them as WebSocket frames to send.
    pub wire_size: usize,
    first: Message<'a>,
    behind: &'a [u8],
}

impl Run<'_> {
    /// Write the frames to send; `writer` has room for exactly `wire_size` bytes.
    pub fn write(&self, writer: &mut Writer<'_>) {
        self.first.write_frame(writer);
        let mut behind = self.behind;
        while let Some((message, size)) = following(behind, Role::Client, MAX_FRAME_SIZE) {
            message.write_frame(writer);
            behind = behind.get(size..).unwrap_or_default();
        }
    }
}

/// What a message is to a relay.
#[derive(Clone, Debug)]
pub enum Taken<'a> {
    /// Frames to forward.
    Run(Run<'a>),
    /// A ping to be answered with this payload.
    Ping(Vec<u8>),
    /// A pong, of no interest.
    Pong,
    /// A daemon's Signal.
    Signal {
        /// The session it is about.
        session_id: u64,
        /// Its code, of which not all values have a meaning.
        signal: u8,
    },
    /// A frame that breaks a rule.
    Refused {
        /// The code to answer.
        code: Code,
        /// The session it names, where the rule asks for it.
        session_id: u64,
    },
}

/// Look at a message, and take those behind it along if they can be forwarded together with it.
///
/// Returns what it is, and how many bytes of `behind` were taken.
#[must_use]
pub fn take<'a>(first: Message<'a>, behind: &'a [u8], sender: Sender, allowance: Allowance) -> (Taken<'a>, usize) {
    let header = match inspect(&first, sender) {
        Ok(header) => header,
        Err(error) => return (Taken::Refused { code: error.code, session_id: error.session_id }, 0),
    };
    match header.frame_type {
        FrameType::Ping => (Taken::Ping(payload(&first)), 0),
        FrameType::Pong | FrameType::Control => (Taken::Pong, 0),
        FrameType::Signal => {
            let signal = payload(&first).first().copied().unwrap_or_default();
            (Taken::Signal { session_id: header.session_id, signal }, 0)
        }
        FrameType::HandshakeInit | FrameType::HandshakeAccept | FrameType::Data => {
            let run = extend(first, behind, header.session_id, sender, allowance);
            (Taken::Run(run), run.behind.len())
        }
    }
}

fn extend<'a>(first: Message<'a>, behind: &'a [u8], session_id: u64, sender: Sender, allowance: Allowance) -> Run<'a> {
    let (mut messages, mut bytes, mut wire_size) = (1, first.size(), first.wire_size());
    let mut taken = 0;
    while messages < allowance.messages && bytes <= allowance.bytes {
        let rest = behind.get(taken..).unwrap_or_default();
        let Some((message, size)) = following(rest, Role::Client, MAX_FRAME_SIZE) else { break };
        match inspect(&message, sender) {
            Ok(header) if header.session_id == session_id && goes_through(header.frame_type) => {}
            Ok(_) | Err(_) => break,
        }
        messages += 1;
        bytes += message.size();
        wire_size += message.wire_size();
        taken += size;
    }
    Run { session_id, messages, bytes, wire_size, first, behind: behind.get(..taken).unwrap_or_default() }
}

const fn goes_through(frame_type: FrameType) -> bool {
    matches!(frame_type, FrameType::HandshakeInit | FrameType::HandshakeAccept | FrameType::Data)
}

fn inspect(message: &Message<'_>, sender: Sender) -> Result<Header, crate::Error> {
    let header = message.front::<HEADER_SIZE>().ok_or_else(|| frame::truncated_header(message.size()))?;
    frame::inspect_header(&header, message.size() - HEADER_SIZE, sender)
}

fn payload(message: &Message<'_>) -> Vec<u8> {
    message.to_vec().get(HEADER_SIZE..).unwrap_or_default().to_vec()
}
