//! Bytes-like arguments.

use std::ops::Deref;

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyBufferError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView};

/// The bytes of any C-contiguous bytes-like object.
///
/// Memory that cannot change is borrowed: `bytes`, and a `memoryview` over `bytes`. All else is copied while the
/// interpreter is held, so a later change of it from another thread is harmless.
pub enum Input<'py> {
    /// Immutable: borrowed.
    Bytes(Bound<'py, PyBytes>),
    /// A view over immutable `bytes`: borrowed. The view keeps them alive.
    View(PyUntypedBuffer),
    /// Anything else: copied.
    Copied(Vec<u8>),
}

impl Deref for Input<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::View(view) => contents(view),
            Self::Copied(bytes) => bytes,
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Input<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self::Bytes(bytes.to_owned()));
        }
        let view = PyUntypedBuffer::get(&object)?;
        if !view.is_c_contiguous() {
            return Err(PyBufferError::new_err("the buffer must be C-contiguous; pass bytes(view) instead"));
        }
        if is_view_of_bytes(&object)? {
            return Ok(Self::View(view));
        }
        let copy = contents(&view).to_vec();
        view.release(object.py());
        Ok(Self::Copied(copy))
    }
}

/// The arguments of a batch.
pub fn inputs<'py>(buffers: &Bound<'py, PyAny>) -> PyResult<Vec<Input<'py>>> {
    buffers.try_iter()?.map(|item| item?.extract()).collect()
}

fn is_view_of_bytes(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    if !object.is_exact_instance_of::<PyMemoryView>() {
        return Ok(false);
    }
    Ok(object.getattr(intern!(object.py(), "obj"))?.is_exact_instance_of::<PyBytes>())
}

#[allow(unsafe_code, reason = "a buffer's memory is only reachable by its pointer")]
fn contents(view: &PyUntypedBuffer) -> &[u8] {
    if view.len_bytes() == 0 {
        return &[];
    }
    // SAFETY: the buffer is C-contiguous (checked above), so `len_bytes` bytes begin at `buf_ptr`, and the export keeps
    // them in place while `view` lives. Nobody writes to them meanwhile: either they belong to a `bytes` object, or they
    // are copied at once with the interpreter held, as `bytes(object)` does.
    unsafe { std::slice::from_raw_parts(view.buf_ptr().cast::<u8>(), view.len_bytes()) }
}
