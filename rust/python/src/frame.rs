//! SBRP frames and their typed payloads.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt};
use sideband_core::frame::{self, FrameType, Header, Sender};
use sideband_core::{Code, Error, payload};

use crate::buffer::Input;
use crate::error::Failure;
use crate::output::Output;

/// A session id as Python gives it: one that does not fit 64 bits is a malformed frame, not an overflow.
#[derive(Clone, Copy)]
pub struct SessionId(pub u64);

impl FromPyObject<'_, '_> for SessionId {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        number(&object, "a session id has 64 bits").map(Self)
    }
}

#[pyfunction]
pub fn encode_frame<'py>(
    py: Python<'py>,
    frame_type: &Bound<'py, PyAny>,
    session_id: SessionId,
    payload: Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let type_byte = frame_type
        .cast::<PyInt>()?
        .extract::<u8>()
        .map_err(|_| Failure::from(Error::new(Code::InvalidFrameType, "a frame type is a number from 0 to 255")))?;
    let header = frame::header(type_byte, session_id.0, payload.len()).map_err(Failure::from)?;
    Ok(Output::concat(py, &[&header, &payload])?.into_bytes())
}

#[pyfunction]
pub fn decode_frame<'py>(py: Python<'py>, data: Input<'py>) -> PyResult<(u8, u64, Bound<'py, PyBytes>)> {
    let frame = frame::decode(&data).map_err(Failure::from)?;
    Ok((frame.frame_type as u8, frame.session_id, PyBytes::new(py, frame.payload)))
}

#[pyfunction]
pub fn decode_frame_header(data: Input<'_>) -> PyResult<(u8, usize, u64)> {
    let (header, _) = Header::read(&data).map_err(Failure::from)?;
    Ok((header.frame_type as u8, header.payload_size, header.session_id))
}

#[pyfunction]
pub fn inspect_frame(data: Input<'_>, sender: u8) -> PyResult<(u8, u64)> {
    let sender = match sender {
        0 => Sender::Client,
        1 => Sender::Daemon,
        _ => return Err(PyValueError::new_err(format!("sender is 0 (client) or 1 (daemon), got {sender}"))),
    };
    let frame = frame::inspect(&data, sender).map_err(Failure::from)?;
    Ok((frame.frame_type as u8, frame.session_id))
}

#[pyfunction]
pub fn encode_handshake_init<'py>(
    py: Python<'py>,
    session_id: SessionId,
    public_key: Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    typed(py, FrameType::HandshakeInit, session_id, &public_key)
}

#[pyfunction]
pub fn decode_handshake_init<'py>(py: Python<'py>, payload: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, payload::decode_init(&payload).map_err(Failure::from)?))
}

#[pyfunction]
pub fn encode_handshake_accept<'py>(
    py: Python<'py>,
    session_id: SessionId,
    accept: Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    typed(py, FrameType::HandshakeAccept, session_id, &accept)
}

type AcceptParts<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

#[pyfunction]
pub fn decode_handshake_accept<'py>(py: Python<'py>, payload: Input<'py>) -> PyResult<AcceptParts<'py>> {
    let accept = payload::decode_accept(&payload).map_err(Failure::from)?;
    let part = |bytes: &[u8]| PyBytes::new(py, bytes);
    Ok((part(accept.identity_key), part(accept.ephemeral_key), part(accept.signature)))
}

#[pyfunction]
pub fn encode_data<'py>(py: Python<'py>, session_id: SessionId, payload: Input<'py>) -> PyResult<Bound<'py, PyBytes>> {
    typed(py, FrameType::Data, session_id, &payload)
}

#[pyfunction]
pub fn decode_data(payload: Input<'_>) -> PyResult<u64> {
    Ok(payload::decode_data(&payload).map_err(Failure::from)?)
}

#[pyfunction]
#[pyo3(signature = (payload = None), text_signature = "(payload=b'')")]
pub fn encode_ping<'py>(py: Python<'py>, payload: Option<Input<'py>>) -> PyResult<Bound<'py, PyBytes>> {
    typed(py, FrameType::Ping, SessionId(0), payload.as_deref().unwrap_or_default())
}

#[pyfunction]
#[pyo3(signature = (payload = None), text_signature = "(payload=b'')")]
pub fn encode_pong<'py>(py: Python<'py>, payload: Option<Input<'py>>) -> PyResult<Bound<'py, PyBytes>> {
    typed(py, FrameType::Pong, SessionId(0), payload.as_deref().unwrap_or_default())
}

#[pyfunction]
#[pyo3(signature = (session_id, wire, message = ""))]
pub fn encode_control<'py>(
    py: Python<'py>,
    session_id: SessionId,
    wire: &Bound<'py, PyAny>,
    message: &str,
) -> PyResult<Bound<'py, PyBytes>> {
    let wire: u16 = number(wire, "a control code has 16 bits")?;
    let header = frame::typed_header(FrameType::Control, session_id.0, 2 + message.len()).map_err(Failure::from)?;
    Ok(Output::concat(py, &[&header, &wire.to_be_bytes(), message.as_bytes()])?.into_bytes())
}

#[pyfunction]
pub fn decode_control(payload: Input<'_>) -> PyResult<(u16, String)> {
    let (wire, message) = payload::decode_control(&payload).map_err(Failure::from)?;
    Ok((wire, message.into_owned()))
}

#[pyfunction]
#[pyo3(signature = (session_id, signal, reason = None), text_signature = "(session_id, signal, reason=0)")]
pub fn encode_signal<'py>(
    py: Python<'py>,
    session_id: SessionId,
    signal: &Bound<'py, PyAny>,
    reason: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyBytes>> {
    let signal: u8 = number(signal, "a signal has 8 bits")?;
    let reason: u8 = reason.map_or(Ok(0), |reason| number(reason, "a signal's reason has 8 bits"))?;
    typed(py, FrameType::Signal, session_id, &[signal, reason])
}

#[pyfunction]
pub fn decode_signal(payload: Input<'_>) -> PyResult<(u8, u8)> {
    Ok(payload::decode_signal(&payload).map_err(Failure::from)?)
}

fn typed<'py>(
    py: Python<'py>,
    frame_type: FrameType,
    session_id: SessionId,
    payload: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    let header = frame::typed_header(frame_type, session_id.0, payload.len()).map_err(Failure::from)?;
    Ok(Output::concat(py, &[&header, payload])?.into_bytes())
}

/// A number of a frame; one out of range is a malformed frame, something else than a number a `TypeError`.
fn number<'a, 'py, T>(object: &'a Bound<'py, PyAny>, rule: &'static str) -> PyResult<T>
where
    T: FromPyObject<'a, 'py, Error = PyErr>,
{
    object.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(object.py()) {
            Failure::from(Error::new(Code::MalformedFrame, rule)).into()
        } else {
            error
        }
    })
}
