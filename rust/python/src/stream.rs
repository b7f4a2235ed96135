//! Frames from a byte stream.

use std::sync::{Mutex, MutexGuard, TryLockError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sideband_core::stream;

use crate::buffer::Input;
use crate::error::Failure;

#[pyclass(frozen, module = "sideband._native")]
pub struct FrameDecoder(Mutex<stream::FrameDecoder>);

type Decoded<'py> = (u8, u64, Bound<'py, PyBytes>);

#[pymethods]
impl FrameDecoder {
    #[new]
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn push<'py>(&self, py: Python<'py>, data: Input<'py>) -> PyResult<Vec<Decoded<'py>>> {
        let mut frames = Vec::new();
        let outcome = self.exclusive()?.push(&data, |frame| {
            frames.push((frame.frame_type as u8, frame.session_id, PyBytes::new(py, frame.payload)));
        });
        match outcome {
            Err(error) if frames.is_empty() => Err(Failure::from(error).into()),
            // The frames before a bad one are delivered; the failure stays, so the next call raises it.
            _ => Ok(frames),
        }
    }

    fn reset(&self) -> PyResult<()> {
        self.exclusive()?.reset();
        Ok(())
    }

    #[getter]
    fn buffered_bytes(&self) -> PyResult<usize> {
        Ok(self.exclusive()?.buffered())
    }
}

impl FrameDecoder {
    /// A byte stream has one reader; two threads that push at once would mix it up, so the second is refused.
    fn exclusive(&self) -> PyResult<MutexGuard<'_, stream::FrameDecoder>> {
        match self.0.try_lock() {
            Ok(guard) => Ok(guard),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => {
                Err(PyRuntimeError::new_err("this decoder is in use by another thread; give each stream its own"))
            }
        }
    }
}
