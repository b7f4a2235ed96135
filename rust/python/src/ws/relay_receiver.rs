//! The receiving half of a WebSocket server, and a relay's look at what it receives.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyString};
use sideband_core::frame::{MAX_FRAME_SIZE, Sender};
use sideband_core::relay::{Allowance, Taken, take};
use sideband_core::ws::{Content, Event, Receiver, Role, Violation};

use crate::output::Output;

/// What an event tuple is about: its first member.
#[derive(Clone, Copy)]
enum Kind {
    Frames = 0,
    Ping = 1,
    Pong = 2,
    Signal = 3,
    Refused = 4,
    WebSocketPing = 5,
    Close = 6,
    Violation = 7,
    Message = 8,
}

/// Kind, a number that depends on it, messages, bytes, and what depends on it.
type Told<'py> = (u8, u64, usize, usize, Option<Bound<'py, PyAny>>);

#[pyclass(module = "sideband._native")]
pub struct WebSocketReceiver {
    receiver: Receiver,
    sender: Option<Sender>,
    taken: usize,
}

#[pymethods]
impl WebSocketReceiver {
    #[new]
    #[pyo3(signature = (sender=None, max_message=MAX_FRAME_SIZE))]
    fn new(sender: Option<u8>, max_message: usize) -> PyResult<Self> {
        let sender = match sender {
            None => None,
            Some(0) => Some(Sender::Client),
            Some(1) => Some(Sender::Daemon),
            Some(other) => {
                return Err(PyValueError::new_err(format!("sender is 0 (client) or 1 (daemon), got {other}")));
            }
        };
        let (content, max_message) = match sender {
            None => (Content::Any, max_message),
            Some(_) => (Content::Binary, MAX_FRAME_SIZE),
        };
        Ok(Self { receiver: Receiver::new(Role::Client, content, max_message), sender, taken: 0 })
    }

    /// See `_native.pyi`.
    #[pyo3(signature = (buffer, size, max_messages=usize::MAX, max_bytes=usize::MAX))]
    fn next<'py>(
        &mut self,
        buffer: &Bound<'py, PyByteArray>,
        size: usize,
        max_messages: usize,
        max_bytes: usize,
    ) -> PyResult<Option<Told<'py>>> {
        let py = buffer.py();
        let allowance = Allowance { messages: max_messages, bytes: max_bytes };
        let sender = self.sender;
        let whole = contents(buffer, size)?;
        let mut input = whole.get(self.taken..).unwrap_or_default();
        let told = self.receiver.next(&mut input, &mut |event, behind| tell(py, event, behind, sender, allowance));
        self.taken = if told.is_some() { whole.len() - input.len() } else { 0 };
        told.transpose()
    }

    fn keep(&mut self, buffer: &Bound<'_, PyByteArray>, size: usize) -> PyResult<()> {
        self.receiver.keep(contents(buffer, size)?.get(self.taken..).unwrap_or_default());
        self.taken = 0;
        Ok(())
    }

    fn close(&mut self) {
        self.receiver.close();
    }

    #[getter]
    fn held_bytes(&self) -> usize {
        self.receiver.held()
    }
}

#[allow(unsafe_code, reason = "the memory of a bytearray is only reachable without a check of who else changes it")]
fn contents<'a>(buffer: &'a Bound<'_, PyByteArray>, size: usize) -> PyResult<&'a [u8]> {
    // SAFETY: the interpreter is held until the caller returns, and no Python code runs before all that is wanted of the
    // contents has been copied: only `bytes` and `str` objects are made, whose making runs none. The stub asks for a
    // buffer that no other thread uses.
    unsafe { buffer.as_bytes() }
        .get(..size)
        .ok_or_else(|| PyValueError::new_err(format!("the buffer has {} bytes, not {size}", buffer.len())))
}

fn tell<'py>(
    py: Python<'py>,
    event: Event<'_>,
    behind: &[u8],
    sender: Option<Sender>,
    allowance: Allowance,
) -> (usize, PyResult<Told<'py>>) {
    let bytes = |data: &[u8]| Some(PyBytes::new(py, data).into_any());
    let text = |text: &str| Some(PyString::new(py, text).into_any());
    let told: Told<'py> = match event {
        Event::Ping(payload) => (Kind::WebSocketPing as u8, 0, 0, 0, bytes(&payload)),
        Event::Close(code, _) => (Kind::Close as u8, code.map_or(0, u64::from), 0, 0, None),
        Event::Violation(Violation { close_code, reason }) => {
            (Kind::Violation as u8, u64::from(close_code), 0, 0, text(reason))
        }
        Event::Message(message) => {
            let size = message.size();
            let Some(sender) = sender else {
                return (0, Ok((Kind::Message as u8, u64::from(message.is_text), 1, size, bytes(&message.to_vec()))));
            };
            match take(message, behind, sender, allowance) {
                (Taken::Run(run), taken) => {
                    let wire = Output::fill(py, run.wire_size, |writer| run.write(writer));
                    let told = wire.map(|wire| {
                        let wire = Some(wire.into_bytes().into_any());
                        (Kind::Frames as u8, run.session_id, run.messages, run.bytes, wire)
                    });
                    return (taken, told);
                }
                (Taken::Ping(payload), _) => (Kind::Ping as u8, 0, 1, size, bytes(&payload)),
                (Taken::Pong, _) => (Kind::Pong as u8, 0, 1, size, None),
                (Taken::Signal { session_id, signal }, _) => {
                    (Kind::Signal as u8, session_id, 1, size, bytes(&[signal]))
                }
                (Taken::Refused { code, session_id }, _) => {
                    (Kind::Refused as u8, session_id, 1, size, text(code.name()))
                }
            }
        }
    };
    (0, Ok(told))
}
