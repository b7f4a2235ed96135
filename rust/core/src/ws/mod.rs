//! The WebSocket protocol (RFC 6455) without I/O and without extensions: what comes in is taken apart, what goes out is framed.
//!
//! A [`Receiver`] is given what comes in as slices and returns one [`Event`] after the other. It copies nothing but the
//! start of a frame whose rest has not come, messages in fragments, and control frames: whole messages are told as a
//! [`Message`], which lies in the slice or in the receiver. A [`Writer`] fills memory with frames.

mod close;
mod head;
mod mask;
mod message;
mod receiver;
mod sender;

pub use head::{BINARY, CLOSE, MAX_CONTROL_SIZE, MAX_HEADER_SIZE, PONG, Role, TEXT};
pub use mask::{MASK_SIZE, apply};
pub use message::{Message, following};
pub use receiver::{Content, Event, Receiver, Scan, TRUSTED_START};
pub use sender::{Writer, frame_size, write_header};

/// What is wrong with what came in; the connection has to be closed with this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The close code.
    pub close_code: u16,
    /// A few words for people.
    pub reason: &'static str,
}

const fn protocol_error(reason: &'static str) -> Violation {
    Violation { close_code: 1002, reason }
}

const NOT_UTF8: Violation = Violation { close_code: 1007, reason: "text is UTF-8" };
