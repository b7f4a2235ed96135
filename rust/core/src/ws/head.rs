//! The header of a frame as it comes in (RFC 6455, 5.2).

use super::mask::MASK_SIZE;
use super::{Violation, protocol_error};

/// Largest payload of a control frame in bytes (RFC 6455, 5.5).
pub const MAX_CONTROL_SIZE: usize = 125;
/// Largest header of a frame in bytes, the key of its mask included.
pub const MAX_HEADER_SIZE: usize = 14;

/// The opcode of a text message.
pub const TEXT: u8 = 0x01;
/// The opcode of a binary message.
pub const BINARY: u8 = 0x02;
/// The opcode of a close frame.
pub const CLOSE: u8 = 0x08;
/// The opcode of a pong.
pub const PONG: u8 = 0x0a;

pub const FIN: u8 = 0x80;
pub const MASKED: u8 = 0x80;
const RESERVED: u8 = 0x70;

/// Which side of a WebSocket somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It opened the connection, and masks what it sends.
    Client,
    /// It was connected to, and masks nothing.
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub fin: bool,
    pub opcode: Opcode,
    pub mask: [u8; MASK_SIZE],
    pub size: usize,
    pub payload_size: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Head {
    /// Read a header; `Err(Ok(n))` when it has at least `n` bytes and fewer are there.
    pub fn read(data: &[u8], sender: Role) -> Result<Self, Result<usize, Violation>> {
        let [first, second, rest @ ..] = data else { return Err(Ok(2)) };
        if first & RESERVED != 0 {
            return Err(Err(protocol_error("reserved bits are set")));
        }
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return Err(Err(protocol_error("unknown opcode"))),
        };
        let mask_size = match (sender, second & MASKED != 0) {
            (Role::Client, true) => MASK_SIZE,
            (Role::Server, false) => 0,
            (Role::Client, false) => return Err(Err(protocol_error("a client's frames are masked"))),
            (Role::Server, true) => return Err(Err(protocol_error("a server's frames are not masked"))),
        };
        let fin = first & FIN != 0;
        let short = second & !MASKED;
        let is_control = matches!(opcode, Opcode::Close | Opcode::Ping | Opcode::Pong);
        if is_control && (!fin || usize::from(short) > MAX_CONTROL_SIZE) {
            return Err(Err(protocol_error("a control frame is whole and has at most 125 bytes")));
        }
        let (payload_size, rest, size) = match short {
            126 => {
                let (bytes, rest) = rest.split_first_chunk::<2>().ok_or(Ok(4 + mask_size))?;
                (u64::from(u16::from_be_bytes(*bytes)), rest, 4 + mask_size)
            }
            127 => {
                let (bytes, rest) = rest.split_first_chunk::<8>().ok_or(Ok(10 + mask_size))?;
                (u64::from_be_bytes(*bytes), rest, 10 + mask_size)
            }
            short => (u64::from(short), rest, 2 + mask_size),
        };
        let mask = if mask_size == 0 { [0; MASK_SIZE] } else { *rest.first_chunk().ok_or(Ok(size))? };
        // Only now, so that nothing is told earlier when the header comes in one piece than when it comes in several.
        if (short == 126 && payload_size < 126) || (short == 127 && payload_size < 65_536) || payload_size >> 63 != 0 {
            return Err(Err(protocol_error("a length is written in the shortest form")));
        }
        Ok(Self { fin, opcode, mask, size, payload_size: usize::try_from(payload_size).unwrap_or(usize::MAX) })
    }

    pub fn payload<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        data.get(self.size..self.size.checked_add(self.payload_size)?)
    }
}
