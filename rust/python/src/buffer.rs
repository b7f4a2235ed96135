//! Bytes-like arguments.

use std::ops::Deref;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyTuple};

/// The bytes of any C-contiguous bytes-like object.
///
/// Memory that cannot change is borrowed: `bytes`, and a `memoryview` over `bytes`. All else is copied while the
/// interpreter is held, so a later change of it from another thread is harmless.
pub enum Input<'py> {
    /// Immutable: borrowed.
    Bytes(Bound<'py, PyBytes>),
    /// A view over immutable `bytes`: borrowed. The view keeps them alive.
    View(View<'py>),
    /// Anything else: copied.
    Copied(Vec<u8>),
}

impl Deref for Input<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::View(view) => view.contents(),
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
        let view = View::of(&object)?;
        if is_view_of_bytes(&object)? {
            return Ok(Self::View(view));
        }
        Ok(Self::Copied(view.contents().to_vec()))
    }
}

/// A message: one bytes-like object, or a tuple of them that are sent one after the other as one message.
pub enum Gathered<'py> {
    /// The usual case.
    One(Input<'py>),
    /// In order.
    Parts(Vec<Input<'py>>),
}

impl Gathered<'_> {
    /// The parts in order.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        match self {
            Self::One(input) => std::slice::from_ref(input),
            Self::Parts(inputs) => inputs,
        }
        .iter()
        .map(Deref::deref)
    }

    /// Bytes of the whole.
    pub fn size(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }
}

impl<'py> FromPyObject<'_, 'py> for Gathered<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PyTuple>() {
            Ok(parts) => parts.iter().map(|part| part.extract()).collect::<PyResult<_>>().map(Self::Parts),
            Err(_) => object.extract().map(Self::One),
        }
    }
}

/// The arguments of a batch of messages.
pub fn gathered<'py>(messages: &Bound<'py, PyAny>) -> PyResult<Vec<Gathered<'py>>> {
    messages.try_iter()?.map(|item| item?.extract()).collect()
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

/// The exported memory of an object, C-contiguous; given back when dropped.
pub struct View<'py> {
    // Boxed, because exporters may let the description point into itself.
    raw: Box<ffi::Py_buffer>,
    // What gives the memory back needs the interpreter, so a view cannot outlive it.
    _attached: Python<'py>,
}

impl<'py> View<'py> {
    #[allow(unsafe_code, reason = "PyO3's own buffer type refuses exporters without strides, such as ctypes")]
    fn of(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut raw = Box::new(ffi::Py_buffer::new());
        // SAFETY: `raw` is a description to be filled in, and the object is alive. On failure nothing was exported.
        let status = unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), &raw mut *raw, ffi::PyBUF_SIMPLE) };
        if status == 0 { Ok(Self { raw, _attached: object.py() }) } else { Err(PyErr::fetch(object.py())) }
    }

    #[allow(unsafe_code, reason = "a buffer's memory is only reachable by its pointer")]
    fn contents(&self) -> &[u8] {
        match usize::try_from(self.raw.len) {
            Ok(0) | Err(_) => &[],
            // SAFETY: a simple buffer is `len` contiguous bytes from `buf`, which the export keeps in place while this
            // view lives. Nobody writes to them meanwhile: either they belong to a `bytes` object, or they are copied at
            // once with the interpreter held, as `bytes(object)` does.
            Ok(size) => unsafe { std::slice::from_raw_parts(self.raw.buf.cast::<u8>(), size) },
        }
    }
}

impl Drop for View<'_> {
    #[allow(unsafe_code, reason = "buffers are given back by a C call")]
    fn drop(&mut self) {
        // SAFETY: `raw` was filled by `PyObject_GetBuffer` and is released once, with the interpreter held.
        unsafe { ffi::PyBuffer_Release(&raw mut *self.raw) };
    }
}
