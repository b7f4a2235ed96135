//! The typed payloads of SBRP frames (docs/protocol/sbrp.md, "Frames").

use std::borrow::Cow;

use crate::code::Code;
use crate::error::Error;
use crate::frame::{self, FrameType};

/// The parts of a `HandshakeAccept` payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accept<'a> {
    /// The daemon's Ed25519 identity key.
    pub identity_key: &'a [u8; 32],
    /// The daemon's X25519 ephemeral key.
    pub ephemeral_key: &'a [u8; 32],
    /// The signature over both ephemeral keys and the daemon id.
    pub signature: &'a [u8; 64],
}

/// The client's ephemeral key in a `HandshakeInit` payload.
///
/// # Errors
/// `malformed_frame` for another length than 32.
pub fn decode_init(payload: &[u8]) -> Result<&[u8; 32], Error> {
    payload.try_into().map_err(|_| frame::wrong_size(FrameType::HandshakeInit, payload.len()))
}

/// The parts of a `HandshakeAccept` payload.
///
/// # Errors
/// `malformed_frame` for another length than 128.
pub fn decode_accept(payload: &[u8]) -> Result<Accept<'_>, Error> {
    let wrong = || frame::wrong_size(FrameType::HandshakeAccept, payload.len());
    let (identity_key, rest) = payload.split_first_chunk().ok_or_else(wrong)?;
    let (ephemeral_key, rest) = rest.split_first_chunk().ok_or_else(wrong)?;
    let signature = rest.try_into().map_err(|_| wrong())?;
    Ok(Accept { identity_key, ephemeral_key, signature })
}

/// The sequence number that the nonce of a Data payload claims; nothing is verified.
///
/// # Errors
/// `malformed_frame` under 28 bytes.
pub fn decode_data(payload: &[u8]) -> Result<u64, Error> {
    let wrong = || frame::wrong_size(FrameType::Data, payload.len());
    if payload.len() < frame::MIN_DATA_SIZE {
        return Err(wrong());
    }
    let sequence = payload.get(4..).and_then(|rest| rest.first_chunk()).ok_or_else(wrong)?;
    Ok(u64::from_be_bytes(*sequence))
}

/// Number and text of a Control payload. Bad UTF-8 becomes U+FFFD, and a leading byte-order mark is dropped.
///
/// # Errors
/// `malformed_frame` under 2 bytes or for an unknown code.
pub fn decode_control(payload: &[u8]) -> Result<(u16, Cow<'_, str>), Error> {
    let (number, text) =
        payload.split_first_chunk().ok_or_else(|| frame::wrong_size(FrameType::Control, payload.len()))?;
    let number = u16::from_be_bytes(*number);
    if Code::from_wire(number).is_none() {
        return Err(Error::new(Code::MalformedFrame, format!("control code 0x{number:04x} is not known")));
    }
    Ok((number, lenient_text(text)))
}

/// A Control payload. The number need not be a known code.
#[must_use]
pub fn control(number: u16, text: &str) -> Vec<u8> {
    let mut payload = Vec::with_capacity(2 + text.len());
    payload.extend_from_slice(&number.to_be_bytes());
    payload.extend_from_slice(text.as_bytes());
    payload
}

/// Signal and reason of a Signal payload.
///
/// # Errors
/// `malformed_frame` for another length than 2, a signal over 1 or a reason over 4.
pub fn decode_signal(payload: &[u8]) -> Result<(u8, u8), Error> {
    let [signal, reason] = *payload else {
        return Err(frame::wrong_size(FrameType::Signal, payload.len()));
    };
    if signal > 1 {
        return Err(Error::new(Code::MalformedFrame, format!("signal {signal} is not known")));
    }
    if reason > 4 {
        return Err(Error::new(Code::MalformedFrame, format!("signal reason {reason} is not known")));
    }
    Ok((signal, reason))
}

/// Text for people: bad UTF-8 becomes U+FFFD, and a leading byte-order mark is dropped.
pub(crate) fn lenient_text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes))
}
