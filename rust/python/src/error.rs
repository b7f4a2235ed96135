//! The only mapping of failures to the classes of `sideband.errors`.

use pyo3::exceptions::{PyOSError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyBytes};
use sideband_core::replay::InvalidWindowSize;

mod classes {
    #![allow(missing_docs, reason = "names of classes that sideband.errors documents")]
    pyo3::import_exception!(sideband.errors, ConfigError);
    pyo3::import_exception!(sideband.errors, SbdpError);
    pyo3::import_exception!(sideband.errors, SbpError);
    pyo3::import_exception!(sideband.errors, SbrpBatchError);
    pyo3::import_exception!(sideband.errors, SbrpError);
}

/// A failure on its way to becoming a Python exception; made while the interpreter may be released.
pub enum Failure {
    /// Of the secure relay layer.
    Sbrp(sideband_core::Error),
    /// Of direct sessions.
    Sbdp(sideband_core::noise::NoiseError),
    /// Of the application framing.
    Sbp(sideband_core::SbpError),
    /// A replay window of a size that does not exist.
    Window(InvalidWindowSize),
    /// An environment variable that asks for what cannot be had.
    Setting {
        /// Its name.
        variable: &'static str,
        /// Why not.
        error: String,
    },
    /// The operating system gave no randomness.
    Random(getrandom::Error),
    /// Anything that Python itself raised.
    Python(PyErr),
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sbrp(error) if error.session_id == 0 => {
                classes::SbrpError::new_err((error.code.name(), error.message.into_owned()))
            }
            Failure::Sbrp(error) => Python::attach(|py| with_session(py, error).unwrap_or_else(|failed| failed)),
            Failure::Sbdp(error) => classes::SbdpError::new_err((error.code.name(), error.message.into_owned())),
            Failure::Sbp(error) => classes::SbpError::new_err((error.code, error.message.into_owned())),
            Failure::Window(error) => classes::ConfigError::new_err(error.to_string()),
            Failure::Setting { variable, error } => classes::ConfigError::new_err(format!("{variable}: {error}")),
            Failure::Random(error) => PyOSError::new_err(format!("the operating system gave no randomness: {error}")),
            Failure::Python(error) => error,
        }
    }
}

impl From<sideband_core::Error> for Failure {
    fn from(error: sideband_core::Error) -> Self {
        Self::Sbrp(error)
    }
}

impl From<sideband_core::noise::NoiseError> for Failure {
    fn from(error: sideband_core::noise::NoiseError) -> Self {
        Self::Sbdp(error)
    }
}

impl From<sideband_core::SbpError> for Failure {
    fn from(error: sideband_core::SbpError) -> Self {
        Self::Sbp(error)
    }
}

impl From<InvalidWindowSize> for Failure {
    fn from(error: InvalidWindowSize) -> Self {
        Self::Window(error)
    }
}

impl From<getrandom::Error> for Failure {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

/// The failure of a batch at `index`; `opened` are the plaintexts before it.
pub fn batch(error: sideband_core::Error, index: usize, opened: Vec<Py<PyBytes>>) -> PyErr {
    classes::SbrpBatchError::new_err((error.code.name(), error.message.into_owned(), index, opened))
}

/// Bytes of a wrong length for what they should be.
pub fn length(what: &str, expected: usize, got: usize) -> PyErr {
    PyValueError::new_err(format!("{what} has {expected} bytes, got {got}"))
}

/// The refusal to copy or pickle an object that holds keys.
pub fn not_picklable(class: &str) -> PyErr {
    PyTypeError::new_err(format!("{class} objects hold keys and cannot be copied or pickled"))
}

fn with_session(py: Python<'_>, error: sideband_core::Error) -> PyResult<PyErr> {
    let named = [("session_id", error.session_id)].into_py_dict(py)?;
    let class = py.get_type::<classes::SbrpError>();
    let exception = class.call((error.code.name(), error.message.into_owned()), Some(&named))?;
    Ok(PyErr::from_value(exception))
}
