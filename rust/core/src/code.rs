//! SBRP error codes (docs/protocol/sbrp.md, "Codes").

/// What failed. Codes with a number travel in Control frames; the others are raised by endpoints only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the protocol's own and explained in docs/protocol/sbrp.md")]
pub enum Code {
    Unauthorized,
    Forbidden,
    DaemonNotFound,
    DaemonOffline,
    SessionNotFound,
    SessionExpired,
    MalformedFrame,
    PayloadTooLarge,
    InvalidFrameType,
    InvalidSessionId,
    DisallowedSender,
    InternalError,
    RateLimited,
    Backpressure,
    SessionPaused,
    SessionResumed,
    SessionEnded,
    SessionPending,
    IdentityKeyChanged,
    HandshakeFailed,
    HandshakeTimeout,
    DecryptFailed,
    SequenceError,
    SessionCleared,
}

impl Code {
    /// The code's name on every surface.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::DaemonNotFound => "daemon_not_found",
            Self::DaemonOffline => "daemon_offline",
            Self::SessionNotFound => "session_not_found",
            Self::SessionExpired => "session_expired",
            Self::MalformedFrame => "malformed_frame",
            Self::PayloadTooLarge => "payload_too_large",
            Self::InvalidFrameType => "invalid_frame_type",
            Self::InvalidSessionId => "invalid_session_id",
            Self::DisallowedSender => "disallowed_sender",
            Self::InternalError => "internal_error",
            Self::RateLimited => "rate_limited",
            Self::Backpressure => "backpressure",
            Self::SessionPaused => "session_paused",
            Self::SessionResumed => "session_resumed",
            Self::SessionEnded => "session_ended",
            Self::SessionPending => "session_pending",
            Self::IdentityKeyChanged => "identity_key_changed",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::DecryptFailed => "decrypt_failed",
            Self::SequenceError => "sequence_error",
            Self::SessionCleared => "session_cleared",
        }
    }

    /// The code a Control frame names by `number`, if there is one.
    #[must_use]
    pub const fn from_wire(number: u16) -> Option<Self> {
        Some(match number {
            0x0101 => Self::Unauthorized,
            0x0102 => Self::Forbidden,
            0x0201 => Self::DaemonNotFound,
            0x0202 => Self::DaemonOffline,
            0x0301 => Self::SessionNotFound,
            0x0302 => Self::SessionExpired,
            0x0401 => Self::MalformedFrame,
            0x0402 => Self::PayloadTooLarge,
            0x0403 => Self::InvalidFrameType,
            0x0404 => Self::InvalidSessionId,
            0x0405 => Self::DisallowedSender,
            0x0601 => Self::InternalError,
            0x0901 => Self::RateLimited,
            0x0902 => Self::Backpressure,
            0x1001 => Self::SessionPaused,
            0x1002 => Self::SessionResumed,
            0x1003 => Self::SessionEnded,
            0x1004 => Self::SessionPending,
            _ => return None,
        })
    }
}
