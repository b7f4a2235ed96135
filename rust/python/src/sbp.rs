//! SBP frames.

use pyo3::exceptions::PyOverflowError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString};
use sideband_core::SbpError;
use sideband_core::sbp::{self, Body, DEFAULT_LIMITS, FrameId, Limits};

use crate::buffer::Input;
use crate::error::Failure;
use crate::output::Output;

#[pyclass(frozen, get_all, module = "sideband._native")]
pub struct SbpFrame {
    kind: u8,
    frame_id: Py<PyBytes>,
    timestamp: Option<i64>,
    op: Option<u8>,
    subject: Option<Py<PyString>>,
    data: Option<Py<PyBytes>>,
    ack_id: Option<Py<PyBytes>>,
    code: Option<u16>,
    message: Option<Py<PyString>>,
    details: Option<Py<PyBytes>>,
}

#[pymethods]
impl SbpFrame {
    fn __repr__(&self) -> String {
        let kind = match self.kind {
            0 => "control",
            1 => "message",
            2 => "ack",
            _ => "error",
        };
        format!("<SbpFrame {kind}>")
    }
}

/// Milliseconds since the epoch; what does not fit 64 bits cannot be framed.
pub struct Timestamp(i64);

impl FromPyObject<'_, '_> for Timestamp {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        object.extract().map(Self).map_err(|error: PyErr| {
            if error.is_instance_of::<PyOverflowError>(object.py()) {
                Failure::from(SbpError::new(SbpError::INVALID_FRAME, "a timestamp has 64 bits")).into()
            } else {
                error
            }
        })
    }
}

#[pyfunction]
#[pyo3(signature = (frame_id, subject, data, timestamp = None))]
pub fn sbp_encode_message<'py>(
    py: Python<'py>,
    frame_id: Input<'py>,
    subject: &str,
    data: Input<'py>,
    timestamp: Option<Timestamp>,
) -> PyResult<Bound<'py, PyBytes>> {
    let prefix = sbp::message_prefix(id(&frame_id)?, subject, value(timestamp)).map_err(Failure::from)?;
    Ok(Output::concat(py, &[&prefix, &data])?.into_bytes())
}

#[pyfunction]
#[pyo3(signature = (frame_id, op, data = None, timestamp = None))]
pub fn sbp_encode_control<'py>(
    py: Python<'py>,
    frame_id: Input<'py>,
    op: &Bound<'py, PyInt>,
    data: Option<Input<'py>>,
    timestamp: Option<Timestamp>,
) -> PyResult<Bound<'py, PyBytes>> {
    // An op that is no byte is as unknown as 255.
    let op = op.extract().unwrap_or(u8::MAX);
    let frame = sbp::encode_control(id(&frame_id)?, op, data.as_deref(), value(timestamp)).map_err(Failure::from)?;
    Ok(PyBytes::new(py, &frame))
}

#[pyfunction]
#[pyo3(signature = (frame_id, ack_id, timestamp = None))]
pub fn sbp_encode_ack<'py>(
    py: Python<'py>,
    frame_id: Input<'py>,
    ack_id: Input<'py>,
    timestamp: Option<Timestamp>,
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &sbp::encode_ack(id(&frame_id)?, id(&ack_id)?, value(timestamp))))
}

#[pyfunction]
#[pyo3(
    signature = (frame_id, code, message, details = None, timestamp = None),
    text_signature = "(frame_id, code, message, details=b'', timestamp=None)"
)]
pub fn sbp_encode_error<'py>(
    py: Python<'py>,
    frame_id: Input<'py>,
    code: i64,
    message: &str,
    details: Option<Input<'py>>,
    timestamp: Option<Timestamp>,
) -> PyResult<Bound<'py, PyBytes>> {
    let [low, high, ..] = code.to_le_bytes();
    let details = details.as_deref().unwrap_or_default();
    let code = u16::from_le_bytes([low, high]);
    let frame = sbp::encode_error(id(&frame_id)?, code, message, details, value(timestamp)).map_err(Failure::from)?;
    Ok(PyBytes::new(py, &frame))
}

#[pyfunction]
#[pyo3(
    signature = (
        data,
        max_frame = DEFAULT_LIMITS.frame,
        max_handshake = DEFAULT_LIMITS.handshake,
        max_subject = DEFAULT_LIMITS.subject,
    ),
    text_signature = "(data, max_frame=1048576, max_handshake=8192, max_subject=256)"
)]
pub fn sbp_decode(
    py: Python<'_>,
    data: Input<'_>,
    max_frame: usize,
    max_handshake: usize,
    max_subject: usize,
) -> PyResult<SbpFrame> {
    let limits = Limits { frame: max_frame, handshake: max_handshake, subject: max_subject };
    let frame = sbp::decode(&data, &limits).map_err(Failure::from)?;
    let bytes = |bytes: &[u8]| PyBytes::new(py, bytes).unbind();
    let empty = SbpFrame {
        kind: 0,
        frame_id: bytes(frame.id),
        timestamp: frame.timestamp,
        op: None,
        subject: None,
        data: None,
        ack_id: None,
        code: None,
        message: None,
        details: None,
    };
    Ok(match frame.body {
        Body::Control { op, data } => SbpFrame { op: Some(op), data: data.map(bytes), ..empty },
        Body::Message { subject, data } => {
            SbpFrame { kind: 1, subject: Some(subject_text(py, subject)), data: Some(bytes(data)), ..empty }
        }
        Body::Ack { frame_id } => SbpFrame { kind: 2, ack_id: Some(bytes(frame_id)), ..empty },
        Body::Error { code, message, details } => SbpFrame {
            kind: 3,
            code: Some(code),
            message: Some(PyString::new(py, &message).unbind()),
            details: details.map(bytes),
            ..empty
        },
    })
}

#[pyfunction]
#[pyo3(
    signature = (subject, max_subject = DEFAULT_LIMITS.subject),
    text_signature = "(subject, max_subject=256)"
)]
pub fn sbp_check_subject(subject: &str, max_subject: usize) -> PyResult<()> {
    Ok(sbp::check_subject(subject, max_subject).map_err(Failure::from)?)
}

#[pyfunction]
pub fn sbp_frame_id_from_hex<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, &sbp::frame_id_from_hex(text).map_err(Failure::from)?))
}

/// The fixed subjects are made once. Others come from the network, and what is interned may stay for ever.
fn subject_text(py: Python<'_>, subject: &str) -> Py<PyString> {
    match subject {
        "rpc" => intern!(py, "rpc").clone().unbind(),
        "event" => intern!(py, "event").clone().unbind(),
        "app/sb.stream.v1" => intern!(py, "app/sb.stream.v1").clone().unbind(),
        _ => PyString::new(py, subject).unbind(),
    }
}

fn id(bytes: &[u8]) -> Result<&FrameId, Failure> {
    bytes.try_into().map_err(|_| {
        let message = format!("a frame id has 16 bytes, got {}", bytes.len());
        SbpError::new(SbpError::INVALID_FRAME, message).into()
    })
}

fn value(timestamp: Option<Timestamp>) -> Option<i64> {
    timestamp.map(|Timestamp(milliseconds)| milliseconds)
}
