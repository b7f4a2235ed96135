//! Locks of objects that several threads may use.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use pyo3::prelude::*;

/// Run `work` with `mutex` locked.
///
/// A thread that holds the interpreter never waits for a lock: the owner might be waiting for the interpreter. So it
/// takes the lock if it is free, and else releases the interpreter and waits. `work` must not touch Python.
pub fn with_lock<T: Send, R: Send>(py: Python<'_>, mutex: &Mutex<T>, work: impl FnOnce(&mut T) -> R + Send) -> R {
    let guard = match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    };
    match guard {
        Some(mut guard) => work(&mut guard),
        None => py.detach(|| work(&mut wait(mutex))),
    }
}

/// Run `work` with the interpreter released and `mutex` locked.
pub fn with_lock_released<T: Send, R: Send>(
    py: Python<'_>,
    mutex: &Mutex<T>,
    work: impl FnOnce(&mut T) -> R + Send,
) -> R {
    py.detach(|| work(&mut wait(mutex)))
}

/// Wait for a lock whose owners never wait for the interpreter.
///
/// A panic while the lock was held poisons it. What the locks guard stays usable then: a sequence number is spent before
/// it is used, and a replay window is marked in one step.
pub fn wait<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
