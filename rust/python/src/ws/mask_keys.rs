//! Keys of masks (RFC 6455, 5.3): fresh from the operating system, of which many are asked for at once.

use std::cell::RefCell;

use pyo3::PyResult;
use pyo3::exceptions::PyOSError;
use sideband_core::ws::MASK_SIZE;

/// One call of the operating system gives so many keys.
const STOCK: usize = 64;

thread_local! {
    static KEYS: RefCell<Vec<[u8; MASK_SIZE]>> = const { RefCell::new(Vec::new()) };
}

/// `count` keys that nobody can foresee.
pub fn mask_keys(count: usize) -> PyResult<Vec<[u8; MASK_SIZE]>> {
    KEYS.with_borrow_mut(|stock| {
        if stock.len() < count {
            *stock = fresh(count.max(STOCK))?;
        }
        Ok(stock.split_off(stock.len() - count))
    })
}

fn fresh(count: usize) -> PyResult<Vec<[u8; MASK_SIZE]>> {
    let mut bytes = vec![0; count * MASK_SIZE];
    getrandom::fill(&mut bytes).map_err(|error| PyOSError::new_err(format!("no random bytes: {error}")))?;
    Ok(bytes.as_chunks().0.to_vec())
}
