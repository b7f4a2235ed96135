//! The replay window.

use std::sync::Mutex;

use pyo3::prelude::*;
use sideband_core::replay;

use crate::error::Failure;
use crate::lock::with_lock;

#[pyclass(frozen, module = "sideband._native")]
pub struct ReplayWindow(Mutex<replay::ReplayWindow>);

#[pymethods]
impl ReplayWindow {
    #[new]
    #[pyo3(signature = (size = replay::DEFAULT_WINDOW), text_signature = "(size=128)")]
    fn new(size: usize) -> PyResult<Self> {
        Ok(Self(Mutex::new(replay::ReplayWindow::new(size).map_err(Failure::from)?)))
    }

    fn check(&self, py: Python<'_>, sequence: u64) -> bool {
        with_lock(py, &self.0, |window| window.check(sequence))
    }

    fn mark(&self, py: Python<'_>, sequence: u64) -> bool {
        with_lock(py, &self.0, |window| window.mark(sequence))
    }

    fn reset(&self, py: Python<'_>) {
        with_lock(py, &self.0, replay::ReplayWindow::reset);
    }

    #[getter]
    fn size(&self, py: Python<'_>) -> u64 {
        with_lock(py, &self.0, |window| window.size())
    }

    #[getter]
    fn highest(&self, py: Python<'_>) -> Option<u64> {
        with_lock(py, &self.0, |window| window.highest())
    }

    #[getter]
    fn bitmap<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let bits = with_lock(py, &self.0, |window| {
            (0..window.size()).rev().map(|back| if window.seen(back) { '1' } else { '0' }).collect::<String>()
        });
        py.get_type::<pyo3::types::PyInt>().call1((bits, 2))
    }
}
