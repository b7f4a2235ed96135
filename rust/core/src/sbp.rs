//! SBP frames (docs/protocol/sbp.md, "Frames"): kind (1) | flags (1) | frame id (16) | timestamp (0 or 8) | body,
//! little-endian.

use std::borrow::Cow;

use crate::error::SbpError;
use crate::payload::lenient_text;

/// Bytes of a frame id.
pub const FRAME_ID_SIZE: usize = 16;
/// The limits a receiver applies unless told otherwise.
pub const DEFAULT_LIMITS: Limits = Limits { frame: 1024 * 1024, handshake: 8 * 1024, subject: 256 };

const FLAG_TIMESTAMP: u8 = 1;
const KIND_CONTROL: u8 = 0;
const KIND_MESSAGE: u8 = 1;
const KIND_ACK: u8 = 2;
const KIND_ERROR: u8 = 3;
const OP_HANDSHAKE: u8 = 0;
const OP_PING: u8 = 1;
const OP_PONG: u8 = 2;
const OP_CLOSE: u8 = 3;

/// A frame id: random, opaque, unique for its sender.
pub type FrameId = [u8; FRAME_ID_SIZE];

/// Largest sizes a receiver takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A whole frame.
    pub frame: usize,
    /// The data of a handshake frame.
    pub handshake: usize,
    /// A subject.
    pub subject: usize,
}

/// A decoded frame that borrows from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The frame's id.
    pub id: &'a FrameId,
    /// Milliseconds since the epoch, when the sender gave them.
    pub timestamp: Option<i64>,
    /// What the frame says.
    pub body: Body<'a>,
}

/// What a frame says, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// Kind 0.
    Control {
        /// 0 handshake, 1 ping, 2 pong, 3 close.
        op: u8,
        /// Never empty: a handshake has data, a ping and a pong have none, a close may have a reason.
        data: Option<&'a [u8]>,
    },
    /// Kind 1.
    Message {
        /// An allowed subject.
        subject: &'a str,
        /// The message's data.
        data: &'a [u8],
    },
    /// Kind 2.
    Ack {
        /// The frame that is confirmed.
        frame_id: &'a FrameId,
    },
    /// Kind 3.
    Error {
        /// The number of the failure.
        code: u16,
        /// Text for people.
        message: Cow<'a, str>,
        /// More about it, never empty.
        details: Option<&'a [u8]>,
    },
}

/// Decode exactly one frame.
///
/// # Errors
/// 1002 for anything malformed; 1000 over a limit or for a subject that is not allowed.
pub fn decode<'a>(data: &'a [u8], limits: &Limits) -> Result<Frame<'a>, SbpError> {
    if data.len() > limits.frame {
        return Err(over_limit("frame", limits.frame, data.len()));
    }
    let (&[kind, flags], rest) = data.split_first_chunk().ok_or_else(|| truncated("kind and flags"))?;
    let (id, rest) = rest.split_first_chunk().ok_or_else(|| truncated("frame id"))?;
    if kind > KIND_ERROR {
        return Err(invalid(format!("frame kind {kind} is not known")));
    }
    if flags & !FLAG_TIMESTAMP != 0 {
        return Err(invalid(format!("flags 0x{flags:02x} have reserved bits set")));
    }
    let (timestamp, body) = if flags & FLAG_TIMESTAMP == 0 {
        (None, rest)
    } else {
        let (timestamp, body) = rest.split_first_chunk().ok_or_else(|| truncated("timestamp"))?;
        (Some(i64::from_le_bytes(*timestamp)), body)
    };
    let body = match kind {
        KIND_CONTROL => decode_control(body, limits)?,
        KIND_MESSAGE => decode_message(body, limits)?,
        KIND_ACK => Body::Ack {
            frame_id: body
                .try_into()
                .map_err(|_| invalid(format!("an ack has a frame id of 16 bytes, got {}", body.len())))?,
        },
        _ => decode_error(body)?,
    };
    Ok(Frame { id, timestamp, body })
}

/// Check a subject: exactly `rpc`, `event` or `stream`, or beginning with `app/`; no NUL; not too long.
///
/// # Errors
/// 1000.
pub fn check_subject(subject: &str, max: usize) -> Result<(), SbpError> {
    if subject.len() > max {
        return Err(over_limit("subject", max, subject.len()));
    }
    if !matches!(subject, "rpc" | "event" | "stream") && !subject.starts_with("app/") {
        return Err(violation("a subject is rpc, event, stream, or begins with app/"));
    }
    if subject.contains('\0') {
        return Err(violation("a subject holds no NUL character"));
    }
    Ok(())
}

/// The frame id written as 32 lowercase hex digits.
///
/// # Errors
/// 1002 for anything else.
pub fn frame_id_from_hex(text: &str) -> Result<FrameId, SbpError> {
    let wrong = || invalid("a frame id is written as 32 lowercase hex digits");
    if text.len() != 2 * FRAME_ID_SIZE {
        return Err(wrong());
    }
    let mut id = FrameId::default();
    for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digits: &[u8; 2] = pair.try_into().map_err(|_| wrong())?;
        let [high, low] = digits.map(hex_digit);
        *byte = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(wrong)?;
    }
    Ok(id)
}

/// Everything of a message frame before its data. The subject is not checked: [`check_subject`] does that.
///
/// # Errors
/// 1002 when the subject's length does not fit 32 bits.
pub fn message_prefix(id: &FrameId, subject: &str, timestamp: Option<i64>) -> Result<Vec<u8>, SbpError> {
    let mut frame = prefix(KIND_MESSAGE, id, timestamp, 4 + subject.len());
    frame.extend_from_slice(&length(subject.len())?);
    frame.extend_from_slice(subject.as_bytes());
    Ok(frame)
}

/// A control frame.
///
/// # Errors
/// 1002 for an unknown op, a handshake without data, or a ping or pong with data.
pub fn encode_control(id: &FrameId, op: u8, data: Option<&[u8]>, timestamp: Option<i64>) -> Result<Vec<u8>, SbpError> {
    match (op, data) {
        (OP_HANDSHAKE, None | Some([])) => return Err(invalid("a handshake frame has data")),
        (OP_PING | OP_PONG, Some(_)) => return Err(invalid("a ping or pong has no data")),
        (OP_HANDSHAKE..=OP_CLOSE, _) => {}
        _ => return Err(unknown_op(op)),
    }
    let data = data.unwrap_or_default();
    let mut frame = prefix(KIND_CONTROL, id, timestamp, 1 + data.len());
    frame.push(op);
    frame.extend_from_slice(data);
    Ok(frame)
}

/// An ack frame.
#[must_use]
pub fn encode_ack(id: &FrameId, confirmed: &FrameId, timestamp: Option<i64>) -> Vec<u8> {
    let mut frame = prefix(KIND_ACK, id, timestamp, FRAME_ID_SIZE);
    frame.extend_from_slice(confirmed);
    frame
}

/// An error frame.
///
/// # Errors
/// 1002 when the message's length does not fit 32 bits.
pub fn encode_error(
    id: &FrameId,
    code: u16,
    message: &str,
    details: &[u8],
    timestamp: Option<i64>,
) -> Result<Vec<u8>, SbpError> {
    let mut frame = prefix(KIND_ERROR, id, timestamp, 6 + message.len() + details.len());
    frame.extend_from_slice(&code.to_le_bytes());
    frame.extend_from_slice(&length(message.len())?);
    frame.extend_from_slice(message.as_bytes());
    frame.extend_from_slice(details);
    Ok(frame)
}

fn decode_control<'a>(body: &'a [u8], limits: &Limits) -> Result<Body<'a>, SbpError> {
    let (&op, data) = body.split_first().ok_or_else(|| truncated("control op"))?;
    match (op, data) {
        (OP_HANDSHAKE, []) => return Err(invalid("a handshake frame has data")),
        (OP_HANDSHAKE, _) if data.len() > limits.handshake => {
            return Err(over_limit("handshake", limits.handshake, data.len()));
        }
        (OP_PING | OP_PONG, [_, ..]) => return Err(invalid("a ping or pong has no data")),
        (OP_HANDSHAKE..=OP_CLOSE, _) => {}
        _ => return Err(unknown_op(op)),
    }
    Ok(Body::Control { op, data: Some(data).filter(|data| !data.is_empty()) })
}

fn decode_message<'a>(body: &'a [u8], limits: &Limits) -> Result<Body<'a>, SbpError> {
    let (size, rest) = body.split_first_chunk().ok_or_else(|| truncated("subject length"))?;
    let (subject, data) = split_by_length(*size, rest, "subject")?;
    if subject.len() > limits.subject {
        return Err(over_limit("subject", limits.subject, subject.len()));
    }
    let subject = str::from_utf8(subject).map_err(|_| violation("a subject is UTF-8"))?;
    check_subject(subject, limits.subject)?;
    Ok(Body::Message { subject, data })
}

fn decode_error(body: &[u8]) -> Result<Body<'_>, SbpError> {
    let (code, rest) = body.split_first_chunk().ok_or_else(|| truncated("error code"))?;
    let (size, rest) = rest.split_first_chunk().ok_or_else(|| truncated("message length"))?;
    let (message, details) = split_by_length(*size, rest, "error message")?;
    Ok(Body::Error {
        code: u16::from_le_bytes(*code),
        message: lenient_text(message),
        details: Some(details).filter(|details| !details.is_empty()),
    })
}

fn split_by_length<'a>(size: [u8; 4], rest: &'a [u8], what: &str) -> Result<(&'a [u8], &'a [u8]), SbpError> {
    let size = u32::from_le_bytes(size);
    let split = usize::try_from(size).ok().and_then(|size| rest.split_at_checked(size));
    split.ok_or_else(|| invalid(format!("the {what} should have {size} bytes, {} are left", rest.len())))
}

fn prefix(kind: u8, id: &FrameId, timestamp: Option<i64>, body_size: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(2 + FRAME_ID_SIZE + 8 + body_size);
    frame.extend_from_slice(&[kind, if timestamp.is_some() { FLAG_TIMESTAMP } else { 0 }]);
    frame.extend_from_slice(id);
    if let Some(timestamp) = timestamp {
        frame.extend_from_slice(&timestamp.to_le_bytes());
    }
    frame
}

fn length(size: usize) -> Result<[u8; 4], SbpError> {
    let size = u32::try_from(size).map_err(|_| invalid("a text longer than 4 GiB does not fit a frame"))?;
    Ok(size.to_le_bytes())
}

const fn hex_digit(character: u8) -> Option<u8> {
    match character {
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

fn invalid(message: impl Into<Cow<'static, str>>) -> SbpError {
    SbpError::new(SbpError::INVALID_FRAME, message)
}

fn violation(message: impl Into<Cow<'static, str>>) -> SbpError {
    SbpError::new(SbpError::PROTOCOL_VIOLATION, message)
}

fn truncated(part: &str) -> SbpError {
    invalid(format!("the frame ends before its {part}"))
}

fn over_limit(part: &str, limit: usize, size: usize) -> SbpError {
    violation(format!("a {part} has at most {limit} bytes, got {size}"))
}

fn unknown_op(op: u8) -> SbpError {
    invalid(format!("control op {op} is not known"))
}
