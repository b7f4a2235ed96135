//! Identity keys.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sideband_core::{Code, Error, identity, kdf};
use zeroize::{Zeroize, Zeroizing};

use crate::buffer::Input;
use crate::error::{Failure, not_picklable};

#[pyclass(frozen, module = "sideband._native")]
pub struct IdentityKeyPair(pub identity::IdentityKeyPair);

#[pymethods]
impl IdentityKeyPair {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        Ok(Self(identity::IdentityKeyPair::from_private_bytes(&*random_key()?)))
    }

    #[staticmethod]
    fn from_private_bytes(private_key: Input<'_>) -> PyResult<Self> {
        let seed = secret_key(private_key, "an identity private key")?;
        Ok(Self(identity::IdentityKeyPair::from_private_bytes(&seed)))
    }

    fn private_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.0.private_bytes())
    }

    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.public_key())
    }

    fn __repr__(&self) -> String {
        format!("<IdentityKeyPair {}>", kdf::fingerprint(&self.0.public_key()))
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("IdentityKeyPair"))
    }
}

#[pyfunction]
pub fn compute_fingerprint(public_key: Input<'_>) -> PyResult<String> {
    Ok(kdf::fingerprint(&key(&public_key, "an identity key")?))
}

#[pyfunction]
pub fn sign<'py>(py: Python<'py>, identity: &Bound<'py, IdentityKeyPair>, message: Input<'py>) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &identity.get().0.sign(&message))
}

#[pyfunction]
pub fn verify_signature(public_key: Input<'_>, message: Input<'_>, signature: Input<'_>) -> bool {
    match ((&*public_key).try_into(), (&*signature).try_into()) {
        (Ok(public_key), Ok(signature)) => identity::verify(public_key, &message, signature),
        _ => false,
    }
}

/// The 32 bytes of a key.
pub fn key(bytes: &[u8], what: &str) -> Result<[u8; 32], Failure> {
    bytes
        .try_into()
        .map_err(|_| Error::new(Code::HandshakeFailed, format!("{what} has 32 bytes, got {}", bytes.len())).into())
}

/// The 32 bytes of a secret key; the copy that was made of a mutable argument is wiped.
pub fn secret_key(mut bytes: Input<'_>, what: &str) -> Result<Zeroizing<[u8; 32]>, Failure> {
    let secret = key(&bytes, what).map(Zeroizing::new);
    if let Input::Copied(copy) = &mut bytes {
        copy.zeroize();
    }
    secret
}

/// 32 bytes from the operating system.
pub fn random_key() -> Result<Zeroizing<[u8; 32]>, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(bytes)
}
