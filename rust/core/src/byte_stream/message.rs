//! The messages of `stream/1`: op (1) | stream id (4) | offset (8) | body by op, little-endian.

use crate::error::SbpError;

/// Bytes before a message's body.
pub const HEADER_SIZE: usize = 13;
/// Bytes of a token.
pub const TOKEN_SIZE: usize = 16;
/// Largest name of a stream in bytes.
pub const MAX_NAME_SIZE: usize = 1024;
/// Largest metadata of a stream in bytes.
pub const MAX_METADATA_SIZE: usize = 8 * 1024;
/// Largest reason of a reset in bytes; what goes beyond is cut off.
pub const MAX_REASON_SIZE: usize = 1024;

const DIGEST_SIZE: usize = 32;
const DIGEST_NONE: u8 = 0;
const DIGEST_BLAKE3: u8 = 1;

/// What names a stream to both sides for as long as it lives, across sessions. It is a secret.
pub type Token = [u8; TOKEN_SIZE];

/// What a message does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// A new stream.
    Open = 0,
    /// The other side takes it.
    Accept = 1,
    /// Bytes.
    Data = 2,
    /// Credit.
    Window = 3,
    /// The last offset of one direction.
    End = 4,
    /// Both directions are given up.
    Reset = 5,
    /// The stream goes on after a pause.
    Resume = 6,
    /// Everything arrived and was consumed.
    Done = 7,
}

/// One message; it borrows from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Which stream; 0 is the session itself.
    pub stream_id: u32,
    /// A position in the stream's bytes, as the op says.
    pub offset: u64,
    /// What it does.
    pub body: Body<'a>,
}

/// What a message does, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// [`Op::Open`].
    Open {
        /// Names the stream across sessions.
        token: &'a Token,
        /// How many bytes the opener takes at first.
        window: u32,
        /// What the stream is for.
        name: &'a str,
        /// `MessagePack`, not looked into here; empty when there is none.
        metadata: &'a [u8],
    },
    /// [`Op::Accept`].
    Accept {
        /// How many bytes the accepter takes at first.
        window: u32,
    },
    /// [`Op::Data`]: one byte or more.
    Data(&'a [u8]),
    /// [`Op::Window`]: bytes are taken up to this offset. The header's offset tells up to where they were consumed.
    Window {
        /// The absolute offset.
        limit: u64,
    },
    /// [`Op::End`].
    End {
        /// BLAKE3-256 of everything before the offset.
        digest: Option<&'a [u8; DIGEST_SIZE]>,
    },
    /// [`Op::Reset`].
    Reset {
        /// Why: below 1000 the protocol's, from 1000 the application's.
        code: u16,
        /// UTF-8 for people, not checked here.
        reason: &'a [u8],
    },
    /// [`Op::Resume`]; the header's offset tells up to where bytes were received.
    Resume {
        /// Names the stream.
        token: &'a Token,
        /// As in [`Body::Window`].
        limit: u64,
    },
    /// [`Op::Done`].
    Done,
}

impl Op {
    fn from_byte(byte: u8) -> Option<Self> {
        use Op::{Accept, Data, Done, End, Open, Reset, Resume, Window};
        [Open, Accept, Data, Window, End, Reset, Resume, Done].into_iter().find(|op| *op as u8 == byte)
    }
}

impl<'a> Message<'a> {
    /// Read a message.
    ///
    /// # Errors
    /// 1002 when it is cut short, too long, over a limit, or of an unknown op.
    pub fn decode(data: &'a [u8]) -> Result<Self, SbpError> {
        let mut reader = Reader(data);
        let op = reader.array::<1>()?[0];
        let stream_id = u32::from_le_bytes(*reader.array()?);
        let offset = u64::from_le_bytes(*reader.array()?);
        let op = Op::from_byte(op).ok_or_else(|| invalid(format!("op {op} of stream/1 does not exist")))?;
        if stream_id == 0 && op != Op::Window {
            return Err(invalid("stream 0 is the session itself, which has nothing but a window"));
        }
        let body = match op {
            Op::Open => reader.open()?,
            Op::Accept => Body::Accept { window: u32::from_le_bytes(*reader.array()?) },
            Op::Data => Body::Data(reader.rest_of(1, usize::MAX)?),
            Op::Window => Body::Window { limit: u64::from_le_bytes(*reader.array()?) },
            Op::End => reader.end()?,
            Op::Reset => Body::Reset {
                code: u16::from_le_bytes(*reader.array()?),
                reason: reader.rest_of(0, usize::MAX).map(|reason| reason.get(..MAX_REASON_SIZE).unwrap_or(reason))?,
            },
            Op::Resume => Body::Resume { token: reader.array()?, limit: u64::from_le_bytes(*reader.array()?) },
            Op::Done => Body::Done,
        };
        if !reader.0.is_empty() {
            return Err(invalid(format!("{} bytes follow a whole {op:?} message", reader.0.len())));
        }
        Ok(Self { stream_id, offset, body })
    }

    /// The message's bytes.
    ///
    /// # Errors
    /// 1002 for what [`Self::decode`] would refuse.
    pub fn encode(&self) -> Result<Vec<u8>, SbpError> {
        let mut out = Vec::with_capacity(HEADER_SIZE + self.body.size());
        out.extend_from_slice(&header(self.body.op(), self.stream_id, self.offset));
        match &self.body {
            Body::Open { token, window, name, metadata } => {
                check_open(name, metadata)?;
                let name_size = u16::try_from(name.len()).map_err(|_| invalid("the name is too long"))?;
                out.extend_from_slice(*token);
                out.extend_from_slice(&window.to_le_bytes());
                out.extend_from_slice(&name_size.to_le_bytes());
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(metadata);
            }
            Body::Accept { window } => out.extend_from_slice(&window.to_le_bytes()),
            Body::Data([]) => return Err(invalid("a data message has at least one byte")),
            Body::Data(bytes) => out.extend_from_slice(bytes),
            Body::Window { limit } => out.extend_from_slice(&limit.to_le_bytes()),
            Body::End { digest: None } => out.push(DIGEST_NONE),
            Body::End { digest: Some(digest) } => {
                out.push(DIGEST_BLAKE3);
                out.extend_from_slice(*digest);
            }
            Body::Reset { code, reason } => {
                out.extend_from_slice(&code.to_le_bytes());
                out.extend_from_slice(reason.get(..MAX_REASON_SIZE).unwrap_or(reason));
            }
            Body::Resume { token, limit } => {
                out.extend_from_slice(*token);
                out.extend_from_slice(&limit.to_le_bytes());
            }
            Body::Done => {}
        }
        Ok(out)
    }
}

impl Body<'_> {
    /// Which op it belongs to.
    #[must_use]
    pub fn op(&self) -> Op {
        match self {
            Self::Open { .. } => Op::Open,
            Self::Accept { .. } => Op::Accept,
            Self::Data(_) => Op::Data,
            Self::Window { .. } => Op::Window,
            Self::End { .. } => Op::End,
            Self::Reset { .. } => Op::Reset,
            Self::Resume { .. } => Op::Resume,
            Self::Done => Op::Done,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Open { name, metadata, .. } => TOKEN_SIZE + 6 + name.len() + metadata.len(),
            Self::Data(bytes) => bytes.len(),
            Self::Reset { reason, .. } => 2 + reason.len(),
            _ => 1 + DIGEST_SIZE,
        }
    }
}

/// The bytes before a message's body.
pub(super) fn header(op: Op, stream_id: u32, offset: u64) -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    let fields = [op as u8].into_iter().chain(stream_id.to_le_bytes()).chain(offset.to_le_bytes());
    for (target, byte) in bytes.iter_mut().zip(fields) {
        *target = byte;
    }
    bytes
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], SbpError> {
        let (head, rest) = self.0.split_first_chunk().ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(head)
    }

    fn bytes(&mut self, size: usize) -> Result<&'a [u8], SbpError> {
        let (head, rest) = self.0.split_at_checked(size).ok_or_else(cut_short)?;
        self.0 = rest;
        Ok(head)
    }

    fn rest_of(&mut self, least: usize, most: usize) -> Result<&'a [u8], SbpError> {
        if self.0.len() < least {
            return Err(cut_short());
        }
        self.bytes(self.0.len().min(most))
    }

    fn open(&mut self) -> Result<Body<'a>, SbpError> {
        let token = self.array()?;
        let window = u32::from_le_bytes(*self.array()?);
        let name_size = usize::from(u16::from_le_bytes(*self.array()?));
        let name = self.bytes(name_size)?;
        let name = str::from_utf8(name).map_err(|_| invalid("the name of a stream is UTF-8"))?;
        let metadata = self.rest_of(0, usize::MAX)?;
        check_open(name, metadata)?;
        Ok(Body::Open { token, window, name, metadata })
    }

    fn end(&mut self) -> Result<Body<'a>, SbpError> {
        let digest = match self.array::<1>()?[0] {
            DIGEST_NONE => None,
            DIGEST_BLAKE3 => Some(self.array()?),
            kind => return Err(invalid(format!("digest kind {kind} is not known"))),
        };
        Ok(Body::End { digest })
    }
}

fn check_open(name: &str, metadata: &[u8]) -> Result<(), SbpError> {
    if name.is_empty() || name.len() > MAX_NAME_SIZE {
        return Err(invalid(format!("the name of a stream has 1 to {MAX_NAME_SIZE} bytes, got {}", name.len())));
    }
    if metadata.len() > MAX_METADATA_SIZE {
        let size = metadata.len();
        return Err(invalid(format!("the metadata of a stream has at most {MAX_METADATA_SIZE} bytes, got {size}")));
    }
    Ok(())
}

fn cut_short() -> SbpError {
    invalid("a stream message ends too early")
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> SbpError {
    SbpError::new(SbpError::INVALID_FRAME, message)
}
