//! Encrypted sessions.

use std::ops::Deref;
use std::sync::Mutex;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sideband_backend::Cipher;
use sideband_core::aead::{NONCE_SIZE, TAG_SIZE};
use sideband_core::batch::try_for_each;
use sideband_core::frame::{self, FrameType, HEADER_SIZE};
use sideband_core::replay::{DEFAULT_WINDOW, ReplayWindow};
use sideband_core::session::{self, Role, Sealed};
use sideband_core::{Code, Error};

use crate::buffer::{Input, gathered, inputs};
use crate::error::{self, Failure};
use crate::frame::SessionId;
use crate::handshake::SessionKeys;
use crate::lock::{with_lock, with_lock_released};
use crate::output::{Blank, Output};
use crate::threads::wants_helper;
use crate::ws::{MessageBatch, Payloads};

type Sealer = session::Sealer<Cipher>;
type Opener = session::Opener<Cipher>;

/// Single messages of this many bytes and more are sealed and opened with the interpreter released. Below, releasing it
/// costs more than the work that others could do meanwhile.
pub const RELEASE_THRESHOLD: usize = 16 * 1024;

/// One side of a session: the halves have their own locks, so that sending never waits for receiving.
#[pyclass(frozen, subclass, module = "sideband._native")]
pub struct Session {
    pub sealer: Mutex<Sealer>,
    opener: Mutex<Opener>,
}

#[pymethods]
impl Session {
    fn seal<'py>(&self, py: Python<'py>, plaintext: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.seal_after(py, &[], &plaintext)
    }

    fn open<'py>(&self, py: Python<'py>, payload: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.open_payload(py, &payload)
    }

    fn seal_frame<'py>(
        &self,
        py: Python<'py>,
        session_id: SessionId,
        buffer: Input<'py>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let header = data_header(session_id, buffer.len()).map_err(Failure::from)?;
        self.seal_after(py, &header, &buffer)
    }

    fn open_frame<'py>(&self, py: Python<'py>, frame: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.open_payload(py, data_payload(&frame).map_err(Failure::from)?)
    }

    fn seal_frames<'py>(
        &self,
        py: Python<'py>,
        session_id: SessionId,
        buffers: &Bound<'py, PyAny>,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let plaintexts = gathered(buffers)?;
        let headers: Result<Vec<_>, _> =
            plaintexts.iter().map(|message| data_header(session_id, message.size())).collect();
        let headers = headers.map_err(Failure::from)?;
        let payloads = Payloads::of(&plaintexts);
        let mut outputs = payloads
            .sizes()
            .map(|size| Blank::new(py, HEADER_SIZE + session::OVERHEAD + size))
            .collect::<PyResult<Vec<_>>>()?;
        let rooms: Vec<_> = outputs.iter_mut().map(Blank::room).collect();
        let helper = wants_helper(headers.len(), payloads.sizes().sum());
        let sealed = with_lock_released(py, &self.sealer, |sealer| {
            let tickets = sealer.tickets(headers.len() as u64)?;
            let items = tickets.zip(rooms).zip(headers.iter().zip(payloads.iter()));
            try_for_each(items, helper, |((ticket, room), (header, (_, parts)))| {
                let before: [&[u8]; 2] = [header, &[0; NONCE_SIZE]];
                let frame = room.write(before.into_iter().chain(parts.iter().copied()).chain([&[0; TAG_SIZE][..]]));
                ticket.seal_in_place(frame.get_mut(HEADER_SIZE..).unwrap_or_default())
            })
        });
        self.checked(py, sealed)?;
        #[allow(unsafe_code, reason = "the objects were made without contents")]
        // SAFETY: each was written: the work on none has failed.
        Ok(outputs.into_iter().map(|output| unsafe { output.into_bytes() }).collect())
    }

    #[pyo3(signature = (frames, start=0, stop=usize::MAX), text_signature = "($self, frames, start=0, stop=...)")]
    fn open_frames<'py>(
        &self,
        py: Python<'py>,
        frames: &Bound<'py, PyAny>,
        start: usize,
        stop: usize,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let inputs = if frames.is_instance_of::<MessageBatch>() { Vec::new() } else { inputs(frames)? };
        let frames: Vec<&[u8]> = match frames.cast::<MessageBatch>() {
            Ok(batch) => (start..stop.min(batch.get().len())).map(|index| batch.get().message(index)).collect(),
            Err(_) => inputs.iter().take(stop).skip(start).map(Deref::deref).collect(),
        };
        let mut sealed = Vec::with_capacity(frames.len());
        let mut failure = None;
        for frame in frames {
            match data_payload(frame).and_then(Sealed::split) {
                Ok(message) => sealed.push(message),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let mut outputs =
            sealed.iter().map(|message| Blank::new(py, message.ciphertext().len())).collect::<PyResult<Vec<_>>>()?;
        let helper = wants_helper(sealed.len(), sealed.iter().map(|message| message.ciphertext().len()).sum());
        let copies = outputs.iter_mut().map(|output| {
            let room = output.room();
            move |ciphertext: &[u8]| room.write([ciphertext])
        });
        let messages = sealed.into_iter().zip(copies).collect();
        let (opened, outcome) = with_lock_released(py, &self.opener, |opener| opener.open_batch(messages, helper));
        #[allow(unsafe_code, reason = "the objects were made without contents")]
        // SAFETY: each of the first `opened` was written: it was opened in place.
        let plaintexts = outputs.into_iter().take(opened).map(|output| unsafe { output.into_bytes() });
        match outcome.or(failure) {
            None => Ok(plaintexts.collect()),
            Some(error) => Err(error::batch(error, opened, plaintexts.map(Bound::unbind).collect())),
        }
    }

    fn check_integrity(&self, py: Python<'_>) -> bool {
        let sending = with_lock(py, &self.sealer, |sealer| !sealer.is_cleared());
        sending && with_lock(py, &self.opener, |opener| opener.is_intact())
    }

    fn clear(&self, py: Python<'_>) {
        with_lock(py, &self.sealer, Sealer::clear);
        with_lock(py, &self.opener, Opener::clear);
    }

    #[getter]
    fn send_sequence(&self, py: Python<'_>) -> u64 {
        with_lock(py, &self.sealer, |sealer| sealer.next_sequence())
    }

    #[getter]
    fn highest_received(&self, py: Python<'_>) -> Option<u64> {
        with_lock(py, &self.opener, |opener| opener.highest())
    }

    #[getter]
    fn cleared(&self, py: Python<'_>) -> bool {
        with_lock(py, &self.sealer, |sealer| sealer.is_cleared())
    }

    fn _advance_send_sequence(&self, py: Python<'_>, sequence: u64) -> PyResult<()> {
        if with_lock(py, &self.sealer, |sealer| sealer.advance(sequence)) {
            return Ok(());
        }
        Err(PyValueError::new_err("a send sequence only goes forward"))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(error::not_picklable("Session"))
    }
}

impl Session {
    fn new(py: Python<'_>, keys: &SessionKeys, role: Role, replay_window: usize) -> PyResult<Self> {
        // The window first: keys are not lost to a wrong size.
        let window = ReplayWindow::new(replay_window).map_err(Failure::from)?;
        let (sealer, opener) = session::establish_with(keys.take(py)?, role, window);
        Ok(Self { sealer: Mutex::new(sealer), opener: Mutex::new(opener) })
    }

    fn seal_after<'py>(&self, py: Python<'py>, header: &[u8], plaintext: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        session::check_plaintext_size(plaintext.len()).map_err(Failure::from)?;
        let mut output = with_room(py, header, plaintext)?;
        let message = message_of(&mut output, header.len());
        let seal = |sealer: &mut Sealer| sealer.seal_in_place(message);
        let sealed = if plaintext.len() < RELEASE_THRESHOLD {
            with_lock(py, &self.sealer, seal)
        } else {
            with_lock_released(py, &self.sealer, seal)
        };
        self.checked(py, sealed)?;
        Ok(output.into_bytes())
    }

    fn open_payload<'py>(&self, py: Python<'py>, payload: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let sealed = Sealed::split(payload).map_err(Failure::from)?;
        let mut output = Output::concat(py, &[sealed.ciphertext()])?;
        let buffer = output.as_mut_slice();
        let open = |opener: &mut Opener| opener.open_in_place(&sealed, buffer);
        let opened = if payload.len() < RELEASE_THRESHOLD {
            with_lock(py, &self.opener, open)
        } else {
            with_lock_released(py, &self.opener, open)
        };
        opened.map_err(Failure::from)?;
        Ok(output.into_bytes())
    }

    /// An exhausted sender has ended the session: the receiving key goes too.
    pub fn checked(&self, py: Python<'_>, sealed: Result<(), Error>) -> Result<(), Failure> {
        if let Err(Error { code: Code::SequenceError, .. }) = sealed {
            with_lock(py, &self.opener, Opener::clear);
        }
        sealed.map_err(Failure::from)
    }
}

/// A session as the daemon holds it.
#[pyclass(frozen, extends = Session, module = "sideband._native")]
pub struct ClientSession {
    #[pyo3(get)]
    client_id: String,
}

#[pymethods]
impl ClientSession {
    #[new]
    #[pyo3(signature = (client_id, keys, replay_window = DEFAULT_WINDOW), text_signature = "(client_id, keys, replay_window=128)")]
    fn new(
        client_id: String,
        keys: &Bound<'_, SessionKeys>,
        replay_window: usize,
    ) -> PyResult<PyClassInitializer<Self>> {
        let session = Session::new(keys.py(), keys.get(), Role::Daemon, replay_window)?;
        Ok(PyClassInitializer::from(session).add_subclass(Self { client_id }))
    }
}

/// A session as the client holds it.
#[pyclass(frozen, extends = Session, module = "sideband._native")]
pub struct DaemonSession;

#[pymethods]
impl DaemonSession {
    #[new]
    #[pyo3(signature = (keys, replay_window = DEFAULT_WINDOW), text_signature = "(keys, replay_window=128)")]
    fn new(keys: &Bound<'_, SessionKeys>, replay_window: usize) -> PyResult<PyClassInitializer<Self>> {
        let session = Session::new(keys.py(), keys.get(), Role::Client, replay_window)?;
        Ok(PyClassInitializer::from(session).add_subclass(Self))
    }
}

/// The plaintext with room before it for the header, which is filled, and the nonce, and after it for the tag.
fn with_room<'py>(py: Python<'py>, header: &[u8], plaintext: &[u8]) -> PyResult<Output<'py>> {
    Output::concat(py, &[header, &[0; NONCE_SIZE], plaintext, &[0; TAG_SIZE]])
}

fn message_of<'a>(output: &'a mut Output<'_>, header_size: usize) -> &'a mut [u8] {
    output.as_mut_slice().get_mut(header_size..).unwrap_or_default()
}

/// The header of a Data frame with a plaintext of `size` bytes.
pub fn data_header(session_id: SessionId, size: usize) -> Result<[u8; HEADER_SIZE], Error> {
    session::check_plaintext_size(size)?;
    frame::typed_header(FrameType::Data, session_id.0, size + session::OVERHEAD)
}

fn data_payload(frame: &[u8]) -> Result<&[u8], Error> {
    let frame = frame::decode(frame)?;
    if frame.frame_type == FrameType::Data {
        return Ok(frame.payload);
    }
    Err(Error::new(Code::InvalidFrameType, format!("expected a Data frame, got {:?}", frame.frame_type)))
}
