//! SBRP frames (docs/protocol/sbrp.md, "Frames"): type (1) | payload length (4) | session id (8) | payload, big-endian.

use crate::code::Code;
use crate::error::Error;

/// Bytes before the payload.
pub const HEADER_SIZE: usize = 13;
/// Largest payload in bytes.
pub const MAX_PAYLOAD_SIZE: usize = 65_536;
/// Largest frame in bytes.
pub const MAX_FRAME_SIZE: usize = HEADER_SIZE + MAX_PAYLOAD_SIZE;
/// Largest payload of a ping or pong in bytes.
pub const MAX_PING_SIZE: usize = 8;
/// Size of a `HandshakeInit` payload in bytes.
pub const INIT_SIZE: usize = 32;
/// Size of a `HandshakeAccept` payload in bytes.
pub const ACCEPT_SIZE: usize = 128;
/// Smallest Data payload in bytes: a nonce and a tag around nothing.
pub const MIN_DATA_SIZE: usize = 28;
/// Size of a Signal payload in bytes.
pub const SIGNAL_SIZE: usize = 2;
/// Smallest Control payload in bytes: a code and no text.
pub const MIN_CONTROL_SIZE: usize = 2;

/// The known frame types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the protocol's own and explained in docs/protocol/sbrp.md")]
pub enum FrameType {
    HandshakeInit = 0x01,
    HandshakeAccept = 0x02,
    Data = 0x03,
    Signal = 0x04,
    Ping = 0x10,
    Pong = 0x11,
    Control = 0x20,
}

impl FrameType {
    /// The type with this number, if there is one.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0x01 => Self::HandshakeInit,
            0x02 => Self::HandshakeAccept,
            0x03 => Self::Data,
            0x04 => Self::Signal,
            0x10 => Self::Ping,
            0x11 => Self::Pong,
            0x20 => Self::Control,
            _ => return None,
        })
    }

    const fn allows_session(self, session_id: u64) -> bool {
        match self {
            Self::HandshakeInit | Self::HandshakeAccept | Self::Data | Self::Signal => session_id != 0,
            Self::Ping | Self::Pong => session_id == 0,
            Self::Control => true,
        }
    }

    const fn allows_sender(self, sender: Sender) -> bool {
        match self {
            Self::HandshakeInit => matches!(sender, Sender::Client),
            Self::HandshakeAccept | Self::Signal => matches!(sender, Sender::Daemon),
            Self::Data | Self::Ping | Self::Pong => true,
            Self::Control => false,
        }
    }

    const fn allows_size(self, size: usize) -> bool {
        match self {
            Self::HandshakeInit => size == INIT_SIZE,
            Self::HandshakeAccept => size == ACCEPT_SIZE,
            Self::Data => size >= MIN_DATA_SIZE,
            Self::Signal => size == SIGNAL_SIZE,
            Self::Ping | Self::Pong | Self::Control => true,
        }
    }

    const fn is_ping(self) -> bool {
        matches!(self, Self::Ping | Self::Pong)
    }
}

/// Who sent a frame to the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client connection.
    Client,
    /// A daemon connection.
    Daemon,
}

impl Sender {
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Daemon => "daemon",
        }
    }
}

/// A checked header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The frame's type.
    pub frame_type: FrameType,
    /// Bytes of payload that follow.
    pub payload_size: usize,
    /// The session the frame belongs to, 0 for none.
    pub session_id: u64,
}

impl Header {
    /// Check a header in the order of an endpoint: type, length, session id, length of a ping.
    ///
    /// # Errors
    /// `invalid_frame_type`, `payload_too_large`, `malformed_frame`.
    pub fn parse(bytes: &[u8; HEADER_SIZE]) -> Result<Self, Error> {
        let (type_byte, size, session_id) = split_header(bytes);
        let frame_type = known_type(type_byte)?;
        let payload_size = allowed_size(size)?;
        check_session(frame_type, session_id, Code::MalformedFrame)?;
        check_ping(frame_type, payload_size)?;
        Ok(Self { frame_type, payload_size, session_id })
    }

    /// Check the header that `data` begins with.
    ///
    /// # Errors
    /// As [`Header::parse`], and `malformed_frame` under 13 bytes.
    pub fn read(data: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (header, rest) = data.split_first_chunk().ok_or_else(|| truncated_header(data.len()))?;
        Ok((Self::parse(header)?, rest))
    }
}

/// A decoded frame that borrows its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The frame's type.
    pub frame_type: FrameType,
    /// The session the frame belongs to, 0 for none.
    pub session_id: u64,
    /// The payload.
    pub payload: &'a [u8],
}

/// Decode exactly one frame in the order of an endpoint.
///
/// # Errors
/// As [`Header::read`], and `malformed_frame` for a frame that is not whole or has bytes after it.
pub fn decode(data: &[u8]) -> Result<Frame<'_>, Error> {
    let (header, payload) = Header::read(data)?;
    check_whole(header.payload_size, payload.len())?;
    Ok(Frame { frame_type: header.frame_type, session_id: header.session_id, payload })
}

/// Check exactly one frame in the order of a relay.
///
/// # Errors
/// The first of `malformed_frame` (header), `payload_too_large`, `invalid_frame_type`, `invalid_session_id`,
/// `disallowed_sender` (names the frame's session), then `malformed_frame` for a frame that is not whole or of a wrong
/// size for its type, and `payload_too_large` for a long ping.
pub fn inspect(data: &[u8], sender: Sender) -> Result<Frame<'_>, Error> {
    let (header, payload) = data.split_first_chunk().ok_or_else(|| truncated_header(data.len()))?;
    let header = inspect_header(header, payload.len(), sender)?;
    Ok(Frame { frame_type: header.frame_type, session_id: header.session_id, payload })
}

/// Check a frame of which only the header is at hand, in the order of a relay; `payload_came` bytes came behind it.
///
/// # Errors
/// As [`inspect`].
pub fn inspect_header(header: &[u8; HEADER_SIZE], payload_came: usize, sender: Sender) -> Result<Header, Error> {
    let (type_byte, size, session_id) = split_header(header);
    let payload_size = allowed_size(size)?;
    let frame_type = known_type(type_byte)?;
    check_session(frame_type, session_id, Code::InvalidSessionId)?;
    if !frame_type.allows_sender(sender) {
        let message = format!("a {} may not send {frame_type:?} frames", sender.name());
        return Err(Error::new(Code::DisallowedSender, message).with_session(session_id));
    }
    check_whole(payload_size, payload_came)?;
    if !frame_type.allows_size(payload_size) {
        return Err(wrong_size(frame_type, payload_size));
    }
    check_ping(frame_type, payload_size)?;
    Ok(Header { frame_type, payload_size, session_id })
}

/// The header of a frame to send. The type need not be a known one.
///
/// # Errors
/// `malformed_frame` for a session id that a known type does not allow, then `payload_too_large`.
pub fn header(type_byte: u8, session_id: u64, payload_size: usize) -> Result<[u8; HEADER_SIZE], Error> {
    let known = FrameType::from_byte(type_byte);
    if let Some(frame_type) = known {
        check_session(frame_type, session_id, Code::MalformedFrame)?;
    }
    let size = u32::try_from(payload_size).unwrap_or(u32::MAX);
    allowed_size(size)?;
    if let Some(frame_type) = known {
        check_ping(frame_type, payload_size)?;
    }
    let mut bytes = [0; HEADER_SIZE];
    if let Some((first, rest)) = bytes.split_first_mut()
        && let Some((size_bytes, id_bytes)) = rest.split_first_chunk_mut::<4>()
    {
        *first = type_byte;
        *size_bytes = size.to_be_bytes();
        id_bytes.copy_from_slice(&session_id.to_be_bytes());
    }
    Ok(bytes)
}

/// The header of a frame whose type fixes the payload's size.
///
/// # Errors
/// As [`header`], and `malformed_frame` for a size that the type does not allow.
pub fn typed_header(frame_type: FrameType, session_id: u64, payload_size: usize) -> Result<[u8; HEADER_SIZE], Error> {
    if !frame_type.allows_size(payload_size) {
        return Err(wrong_size(frame_type, payload_size));
    }
    header(frame_type as u8, session_id, payload_size)
}

/// One frame. The type need not be a known one.
///
/// # Errors
/// As [`header`].
pub fn encode(type_byte: u8, session_id: u64, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let mut frame = Vec::with_capacity(HEADER_SIZE + payload.len().min(MAX_PAYLOAD_SIZE));
    frame.extend_from_slice(&header(type_byte, session_id, payload.len())?);
    frame.extend_from_slice(payload);
    Ok(frame)
}

fn split_header(bytes: &[u8; HEADER_SIZE]) -> (u8, u32, u64) {
    let [type_byte, s0, s1, s2, s3, id @ ..] = *bytes;
    (type_byte, u32::from_be_bytes([s0, s1, s2, s3]), u64::from_be_bytes(id))
}

pub(crate) fn truncated_header(size: usize) -> Error {
    Error::new(Code::MalformedFrame, format!("a frame begins with {HEADER_SIZE} header bytes, got {size}"))
}

fn known_type(type_byte: u8) -> Result<FrameType, Error> {
    FrameType::from_byte(type_byte)
        .ok_or_else(|| Error::new(Code::InvalidFrameType, format!("frame type 0x{type_byte:02x} is not known")))
}

fn allowed_size(size: u32) -> Result<usize, Error> {
    usize::try_from(size).ok().filter(|&size| size <= MAX_PAYLOAD_SIZE).ok_or_else(|| {
        Error::new(
            Code::PayloadTooLarge,
            format!("a payload has at most {MAX_PAYLOAD_SIZE} bytes, this one says {size}"),
        )
    })
}

fn check_session(frame_type: FrameType, session_id: u64, code: Code) -> Result<(), Error> {
    if frame_type.allows_session(session_id) {
        return Ok(());
    }
    let rule = if frame_type.is_ping() { "session id 0" } else { "a session id other than 0" };
    Err(Error::new(code, format!("a {frame_type:?} frame needs {rule}, got {session_id}")))
}

fn check_ping(frame_type: FrameType, payload_size: usize) -> Result<(), Error> {
    if frame_type.is_ping() && payload_size > MAX_PING_SIZE {
        let message = format!("a {frame_type:?} carries at most {MAX_PING_SIZE} bytes, got {payload_size}");
        return Err(Error::new(Code::PayloadTooLarge, message));
    }
    Ok(())
}

fn check_whole(expected: usize, got: usize) -> Result<(), Error> {
    if expected == got {
        return Ok(());
    }
    Err(Error::new(Code::MalformedFrame, format!("the header says {expected} payload bytes, {got} came")))
}

pub(crate) fn wrong_size(frame_type: FrameType, size: usize) -> Error {
    let rule = match frame_type {
        FrameType::HandshakeInit => "exactly 32 bytes",
        FrameType::HandshakeAccept => "exactly 128 bytes",
        FrameType::Data => "at least 28 bytes",
        FrameType::Signal => "exactly 2 bytes",
        FrameType::Control => "at least 2 bytes",
        FrameType::Ping | FrameType::Pong => "at most 8 bytes",
    };
    Error::new(Code::MalformedFrame, format!("a {frame_type:?} payload has {rule}, got {size}"))
}
