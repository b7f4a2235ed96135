//! Failures of direct sessions. Texts never hold key or payload bytes.

use std::borrow::Cow;
use std::fmt;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseCode {
    /// The handshake cannot go on.
    HandshakeFailed,
    /// A record was changed, replayed, reordered or sealed under another key.
    DecryptFailed,
    /// What came is not what the protocol allows here.
    ProtocolViolation,
    /// More bytes than one record holds.
    MessageTooLarge,
    /// The keys were wiped.
    SessionCleared,
}

impl NoiseCode {
    /// The code's name on every surface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HandshakeFailed => "handshake_failed",
            Self::DecryptFailed => "decrypt_failed",
            Self::ProtocolViolation => "protocol_violation",
            Self::MessageTooLarge => "message_too_large",
            Self::SessionCleared => "session_cleared",
        }
    }
}

/// A failure, and what was expected and came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoiseError {
    /// What failed.
    pub code: NoiseCode,
    /// What was expected and what came.
    pub message: Cow<'static, str>,
}

impl NoiseError {
    /// An error of this code.
    pub fn new(code: NoiseCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for NoiseError {}
