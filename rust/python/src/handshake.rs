//! Both sides of the handshake.

use std::sync::Mutex;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use sideband_core::{Code, Error, handshake};

use crate::buffer::Input;
use crate::error::{Failure, not_picklable};
use crate::identity::{IdentityKeyPair, key, random_key, secret_key};
use crate::lock::{wait, with_lock};

#[pyclass(frozen, module = "sideband._native")]
pub struct EphemeralKeyPair {
    public_key: [u8; 32],
    /// Taken by its first use.
    pair: Mutex<Option<handshake::EphemeralKeyPair>>,
}

#[pymethods]
impl EphemeralKeyPair {
    #[staticmethod]
    fn generate() -> PyResult<Self> {
        Ok(Self::new(&*random_key()?))
    }

    #[staticmethod]
    fn from_private_bytes(private_key: Input<'_>) -> PyResult<Self> {
        Ok(Self::new(&*secret_key(private_key, "an ephemeral private key")?))
    }

    #[getter]
    fn public_key<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.public_key)
    }

    #[getter]
    fn consumed(&self, py: Python<'_>) -> bool {
        with_lock(py, &self.pair, |pair| pair.is_none())
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let state = if self.consumed(py) { "consumed" } else { "unused" };
        format!("<EphemeralKeyPair {state}>")
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("EphemeralKeyPair"))
    }
}

impl EphemeralKeyPair {
    fn new(scalar: &[u8; 32]) -> Self {
        let pair = handshake::EphemeralKeyPair::from_private_bytes(scalar);
        Self { public_key: pair.public_key(), pair: Mutex::new(Some(pair)) }
    }

    fn take(&self, py: Python<'_>) -> Result<handshake::EphemeralKeyPair, Failure> {
        with_lock(py, &self.pair, Option::take).ok_or_else(|| {
            let message = "this ephemeral key pair was used before; each handshake needs a new one";
            Error::new(Code::HandshakeFailed, message).into()
        })
    }
}

#[pyclass(frozen, module = "sideband._native")]
pub struct SessionKeys(Mutex<Option<handshake::SessionKeys>>);

#[pymethods]
impl SessionKeys {
    #[staticmethod]
    fn from_bytes(client_to_daemon: Input<'_>, daemon_to_client: Input<'_>) -> PyResult<Self> {
        // Both are read before either may fail, so that both copies are wiped.
        let first = secret_key(client_to_daemon, "a session key");
        let second = secret_key(daemon_to_client, "a session key");
        Ok(Self::new(handshake::SessionKeys::from_bytes(&*first?, &*second?)))
    }

    #[getter]
    fn consumed(&self, py: Python<'_>) -> bool {
        with_lock(py, &self.0, |keys| keys.is_none())
    }

    fn __eq__(&self, py: Python<'_>, other: &Bound<'_, PyAny>) -> bool {
        let Ok(other) = other.cast::<Self>() else { return false };
        let other = other.get();
        if std::ptr::eq(self, other) {
            return !self.consumed(py);
        }
        // Always in the order of their addresses, so that two threads that compare both ways round cannot deadlock.
        let (first, second) = if std::ptr::from_ref(self) < other { (self, other) } else { (other, self) };
        with_lock(py, &first.0, |one| {
            let another = wait(&second.0);
            one.is_some() && *one == *another
        })
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let state = if self.consumed(py) { "consumed" } else { "unused" };
        format!("<SessionKeys {state}>")
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(not_picklable("SessionKeys"))
    }
}

impl SessionKeys {
    fn new(keys: handshake::SessionKeys) -> Self {
        Self(Mutex::new(Some(keys)))
    }

    /// Move the keys out, for the one session they are good for.
    pub fn take(&self, py: Python<'_>) -> Result<handshake::SessionKeys, Failure> {
        with_lock(py, &self.0, Option::take).ok_or_else(|| {
            let message = "these keys already made a session; a second one would repeat nonces";
            Error::new(Code::SessionCleared, message).into()
        })
    }
}

#[pyfunction]
#[pyo3(signature = (init, daemon_id, identity, ephemeral_key_pair = None))]
pub fn process_handshake_init<'py>(
    py: Python<'py>,
    init: Input<'py>,
    daemon_id: &str,
    identity: &Bound<'py, IdentityKeyPair>,
    ephemeral_key_pair: Option<&Bound<'py, EphemeralKeyPair>>,
) -> PyResult<(Bound<'py, PyBytes>, SessionKeys)> {
    let ephemeral = match ephemeral_key_pair {
        Some(pair) => pair.get().take(py)?,
        None => handshake::EphemeralKeyPair::from_private_bytes(&*random_key()?),
    };
    let (message, keys) = handshake::accept(&init, daemon_id, &identity.get().0, ephemeral).map_err(Failure::from)?;
    Ok((PyBytes::new(py, &message), SessionKeys::new(keys)))
}

#[pyfunction]
pub fn verify_handshake_accept<'py>(
    py: Python<'py>,
    accept: Input<'py>,
    daemon_id: &str,
    client_ephemeral_public: Input<'py>,
) -> PyResult<Bound<'py, PyBytes>> {
    let client_key = key(&client_ephemeral_public, "an ephemeral public key")?;
    let identity_key = handshake::verify(&accept, daemon_id, &client_key).map_err(Failure::from)?;
    Ok(PyBytes::new(py, &identity_key))
}

#[pyfunction]
pub fn process_handshake_accept(
    py: Python<'_>,
    accept: Input<'_>,
    daemon_id: &str,
    pinned_key: Option<Input<'_>>,
    ephemeral_key_pair: &Bound<'_, EphemeralKeyPair>,
) -> PyResult<SessionKeys> {
    let ephemeral = ephemeral_key_pair.get().take(py)?;
    let keys = handshake::finish(&accept, daemon_id, pinned_key.as_deref(), ephemeral).map_err(Failure::from)?;
    Ok(SessionKeys::new(keys))
}
