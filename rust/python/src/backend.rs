//! Which implementation of the encryption this process uses.

use std::env;

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use sideband_backend::{Backend, Choice, Cipher, choose};

use crate::error::Failure;

/// Forces a backend by name; read once, when the module is loaded.
const VARIABLE: &str = "SIDEBAND_BACKEND";

/// Fix the backends of this process, by the environment or else for the CPU.
///
/// # Errors
/// When the environment names a backend that cannot be had.
pub fn fix() -> PyResult<()> {
    let wanted = env::var_os(VARIABLE).filter(|value| !value.is_empty());
    let wanted = wanted.map(|value| value.to_string_lossy().into_owned());
    let choice =
        choose(wanted.as_deref()).map_err(|error| Failure::Setting { variable: VARIABLE, error: error.to_string() })?;
    // A second interpreter in the process loads the module again; the first one's choice stands.
    Cipher::set_process_choice(choice);
    Ok(())
}

/// (small, bulk, `bulk_from`, forced, available): names by size class, the border in bytes, and what could be forced.
#[pyfunction]
pub fn aead_backend(py: Python<'_>) -> PyResult<(&'static str, &'static str, usize, bool, Bound<'_, PyTuple>)> {
    let Choice { small, bulk, bulk_from, forced } = Cipher::process_choice();
    let available = Backend::ALL.into_iter().filter(|backend| backend.is_available()).map(Backend::name);
    let available = PyTuple::new(py, available.collect::<Vec<_>>())?;
    Ok((small.name(), bulk.name(), bulk_from, forced, available))
}
