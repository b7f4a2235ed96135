//! Whether a second thread takes part in sealing and opening a batch.

use std::env;
use std::num::NonZero;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::available_parallelism;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::error::Failure;

/// How many threads work on a batch; read once, when the module is loaded.
const VARIABLE: &str = "SIDEBAND_BATCH_THREADS";
/// Smallest batch, in bytes, that is worth a thread: starting one takes as long as sealing 64 KiB or so.
pub const HELPER_FROM: usize = 256 * 1024;
/// A machine with fewer cores has none free while the other side, or a relay, runs on it too.
const MIN_CORES: usize = 4;

const AUTOMATIC: u8 = 0;
static THREADS: AtomicU8 = AtomicU8::new(AUTOMATIC);
static MANY_CORES: LazyLock<bool> = LazyLock::new(|| available_parallelism().map_or(1, NonZero::get) >= MIN_CORES);

/// Fix the number by the environment.
///
/// # Errors
/// When the environment asks for something else than 1, 2 or `auto`.
pub fn fix() -> PyResult<()> {
    let wanted = env::var_os(VARIABLE).unwrap_or_default();
    let threads = match &*wanted.to_string_lossy() {
        "" | "auto" => AUTOMATIC,
        "1" => 1,
        "2" => 2,
        other => {
            return Err(Failure::Setting { variable: VARIABLE, error: format!("{other:?} is not 1, 2 or auto") }.into());
        }
    };
    THREADS.store(threads, Ordering::Relaxed);
    Ok(())
}

/// Whether a batch of so many messages and bytes gets a second thread.
pub fn wants_helper(messages: usize, bytes: usize) -> bool {
    if messages < 2 || bytes < HELPER_FROM {
        return false;
    }
    match THREADS.load(Ordering::Relaxed) {
        AUTOMATIC => *MANY_CORES,
        threads => threads > 1,
    }
}

/// How many threads were asked for; None for as many as pay.
#[pyfunction]
pub fn batch_threads() -> Option<u8> {
    let threads = THREADS.load(Ordering::Relaxed);
    (threads != AUTOMATIC).then_some(threads)
}

/// See `_native.pyi`.
#[pyfunction]
#[pyo3(signature = (threads), text_signature = "(threads)")]
pub fn set_batch_threads(threads: Option<u8>) -> PyResult<()> {
    match threads {
        None => THREADS.store(AUTOMATIC, Ordering::Relaxed),
        Some(threads @ 1..=2) => THREADS.store(threads, Ordering::Relaxed),
        Some(other) => {
            return Err(PyValueError::new_err(format!("a batch is worked on by 1 or 2 threads, not {other}")));
        }
    }
    Ok(())
}
