//! The errors of this crate. Texts say what was expected and what came; they never hold key or payload bytes.

use std::borrow::Cow;
use std::fmt;

use crate::code::Code;

/// A failure in the secure relay layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What failed.
    pub code: Code,
    /// The session a relay names when it reports the failure; 0 when it names none.
    pub session_id: u64,
    /// What was expected and what came.
    pub message: Cow<'static, str>,
}

impl Error {
    /// An error that names no session.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, session_id: 0, message: message.into() }
    }

    /// The same error, naming a session.
    #[must_use]
    pub fn with_session(self, session_id: u64) -> Self {
        Self { session_id, ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for Error {}

/// A violation of the application framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SbpError {
    /// The number of docs/protocol/sbp.md, "Error codes".
    pub code: u16,
    /// What was expected and what came.
    pub message: Cow<'static, str>,
}

impl SbpError {
    /// Code of a frame that breaks a rule or a limit.
    pub const PROTOCOL_VIOLATION: u16 = 1000;
    /// Code of a frame that cannot be decoded.
    pub const INVALID_FRAME: u16 = 1002;

    /// An error with this code.
    pub fn new(code: u16, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for SbpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for SbpError {}
