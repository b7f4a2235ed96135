//! Byte streams: messages, frames, windows and the digest.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sideband_core::byte_stream::{self, Arrival, Body, Framer, Message, TOKEN_SIZE, Token};

use crate::buffer::Input;
use crate::error::{self, Failure};
use crate::lock::{with_lock, with_lock_released};
use crate::session::RELEASE_THRESHOLD;

/// What a message does, for Python: a tuple of an op's own shape.
#[derive(IntoPyObject)]
pub enum Decoded<'py> {
    Open((Bound<'py, PyBytes>, u32, String, Bound<'py, PyBytes>)),
    Number(u64),
    Bytes(Bound<'py, PyBytes>),
    Digest(Option<Bound<'py, PyBytes>>),
    Reset((u16, String)),
    Resume((Bound<'py, PyBytes>, u64)),
}

#[pyfunction]
pub fn stream_decode<'py>(py: Python<'py>, data: Input<'py>) -> PyResult<(u8, u32, u64, Decoded<'py>)> {
    let Message { stream_id, offset, body } = Message::decode(&data).map_err(Failure::from)?;
    let op = body.op() as u8;
    let bytes = |bytes: &[u8]| PyBytes::new(py, bytes);
    let decoded = match body {
        Body::Open { token, window, name, metadata } => {
            Decoded::Open((bytes(token), window, name.to_owned(), bytes(metadata)))
        }
        Body::Accept { window } => Decoded::Number(window.into()),
        Body::Data(data) => Decoded::Bytes(bytes(data)),
        Body::Window { limit } => Decoded::Number(limit),
        Body::End { digest } => Decoded::Digest(digest.map(|digest| bytes(digest))),
        Body::Reset { code, reason } => Decoded::Reset((code, String::from_utf8_lossy(reason).into_owned())),
        Body::Resume { token, limit } => Decoded::Resume((bytes(token), limit)),
        Body::Done => Decoded::Digest(None),
    };
    Ok((op, stream_id, offset, decoded))
}

#[pyfunction]
#[pyo3(signature = (stream_id, token, window, name, metadata = None), text_signature = "(stream_id, token, window, name, metadata=b'')")]
pub fn stream_encode_open<'py>(
    py: Python<'py>,
    stream_id: u32,
    token: Input<'py>,
    window: u32,
    name: &str,
    metadata: Option<Input<'py>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let metadata = metadata.as_deref().unwrap_or_default();
    encode(py, stream_id, 0, Body::Open { token: token_of(&token)?, window, name, metadata })
}

#[pyfunction]
pub fn stream_encode_accept(py: Python<'_>, stream_id: u32, window: u32) -> PyResult<Bound<'_, PyBytes>> {
    encode(py, stream_id, 0, Body::Accept { window })
}

#[pyfunction]
pub fn stream_encode_window(py: Python<'_>, stream_id: u32, offset: u64, limit: u64) -> PyResult<Bound<'_, PyBytes>> {
    encode(py, stream_id, offset, Body::Window { limit })
}

#[pyfunction]
#[pyo3(signature = (stream_id, offset, digest = None))]
pub fn stream_encode_end<'py>(
    py: Python<'py>,
    stream_id: u32,
    offset: u64,
    digest: Option<Input<'py>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let digest =
        digest.as_deref().map(|digest| digest.try_into().map_err(|_| error::length("a digest", 32, digest.len())));
    encode(py, stream_id, offset, Body::End { digest: digest.transpose()? })
}

#[pyfunction]
#[pyo3(signature = (stream_id, code, reason = ""))]
pub fn stream_encode_reset<'py>(
    py: Python<'py>,
    stream_id: u32,
    code: u16,
    reason: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let end = (0..=reason.len().min(byte_stream::MAX_REASON_SIZE)).rev().find(|end| reason.is_char_boundary(*end));
    let reason = reason.get(..end.unwrap_or_default()).unwrap_or_default();
    encode(py, stream_id, 0, Body::Reset { code, reason: reason.as_bytes() })
}

#[pyfunction]
pub fn stream_encode_resume<'py>(
    py: Python<'py>,
    stream_id: u32,
    offset: u64,
    token: Input<'py>,
    limit: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    encode(py, stream_id, offset, Body::Resume { token: token_of(&token)?, limit })
}

#[pyfunction]
pub fn stream_encode_done(py: Python<'_>, stream_id: u32, offset: u64) -> PyResult<Bound<'_, PyBytes>> {
    encode(py, stream_id, offset, Body::Done)
}

#[pyfunction]
pub fn stream_data_of(frame: Input<'_>) -> Option<(u32, u64)> {
    byte_stream::data_of_frame(&frame)
}

/// Makes the frames of one side of a session.
#[pyclass(frozen, module = "sideband._native")]
pub struct StreamFramer(Mutex<Framer>);

#[pymethods]
impl StreamFramer {
    #[new]
    fn new(random: Input<'_>) -> PyResult<Self> {
        let size = random.len();
        let random =
            random.first_chunk().filter(|_| size == 8).ok_or_else(|| error::length("random bytes", 8, size))?;
        Ok(Self(Mutex::new(Framer::new(*random))))
    }

    fn data_prefix<'py>(&self, py: Python<'py>, stream_id: u32, offset: u64) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &with_lock(py, &self.0, |framer| framer.data_prefix(stream_id, offset)))
    }

    fn frame<'py>(&self, py: Python<'py>, message: Input<'py>) -> Bound<'py, PyBytes> {
        let message: &[u8] = &message;
        PyBytes::new(py, &with_lock(py, &self.0, |framer| framer.frame(message)))
    }
}

/// The window of one direction on the side that receives.
#[pyclass(frozen, module = "sideband._native")]
pub struct StreamWindow(Mutex<byte_stream::ReceiveWindow>);

#[pymethods]
impl StreamWindow {
    #[new]
    fn new(initial: u64, largest: u64, now: f64) -> Self {
        Self(Mutex::new(byte_stream::ReceiveWindow::new(initial, largest, now)))
    }

    fn arrive(&self, py: Python<'_>, offset: u64, size: u64, now: f64) -> (u8, Option<f64>) {
        let (arrival, round_trip) = with_lock(py, &self.0, |window| window.arrive(offset, size, now));
        let arrival = match arrival {
            Arrival::Next => 0,
            Arrival::Elsewhere => 1,
            Arrival::Past => 2,
        };
        (arrival, round_trip)
    }

    #[pyo3(signature = (size, now, round_trip = None, may_grow = true))]
    fn consume(&self, py: Python<'_>, size: u64, now: f64, round_trip: Option<f64>, may_grow: bool) -> Option<u64> {
        with_lock(py, &self.0, |window| window.consume(size, now, round_trip, may_grow))
    }

    fn count(&self, py: Python<'_>, size: u64, now: f64) -> (bool, Option<f64>) {
        with_lock(py, &self.0, |window| window.count(size, now))
    }

    fn renew(&self, py: Python<'_>, now: f64) -> u64 {
        with_lock(py, &self.0, |window| window.renew(now))
    }

    fn restart(&self, py: Python<'_>, now: f64) {
        with_lock(py, &self.0, |window| window.restart(now));
    }

    #[getter]
    fn received(&self, py: Python<'_>) -> u64 {
        with_lock(py, &self.0, |window| window.received())
    }

    #[getter]
    fn consumed(&self, py: Python<'_>) -> u64 {
        with_lock(py, &self.0, |window| window.consumed())
    }

    #[getter]
    fn limit(&self, py: Python<'_>) -> u64 {
        with_lock(py, &self.0, |window| window.limit())
    }

    #[getter]
    fn size(&self, py: Python<'_>) -> u64 {
        with_lock(py, &self.0, |window| window.size())
    }
}

/// BLAKE3 with 32 bytes of output.
#[pyclass(frozen, module = "sideband._native")]
pub struct Blake3(Mutex<blake3::Hasher>);

#[pymethods]
impl Blake3 {
    #[new]
    fn new() -> Self {
        Self(Mutex::new(blake3::Hasher::new()))
    }

    fn update(&self, py: Python<'_>, data: Input<'_>) {
        let data: &[u8] = &data;
        let update = |hasher: &mut blake3::Hasher| {
            hasher.update(data);
        };
        if data.len() < RELEASE_THRESHOLD {
            with_lock(py, &self.0, update);
        } else {
            with_lock_released(py, &self.0, update);
        }
    }

    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, with_lock(py, &self.0, |hasher| hasher.finalize()).as_bytes())
    }
}

fn encode<'py>(py: Python<'py>, stream_id: u32, offset: u64, body: Body<'_>) -> PyResult<Bound<'py, PyBytes>> {
    let encoded = Message { stream_id, offset, body }.encode().map_err(Failure::from)?;
    Ok(PyBytes::new(py, &encoded))
}

fn token_of(bytes: &[u8]) -> PyResult<&Token> {
    bytes.try_into().map_err(|_| error::length("a token", TOKEN_SIZE, bytes.len()))
}
