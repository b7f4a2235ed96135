//! Work on the messages of a batch, shared with a second thread where that pays.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Do `work` on each item until one fails; with `helper`, on a second thread as well.
///
/// Each thread takes the next item when it is done with one, so a helper that starts late, or finds no core, costs
/// little. With a helper items begin in order but end in any; those that began when one fails are still done.
///
/// # Errors
/// The first that `work` returned.
pub fn try_for_each<T: Send, E: Send>(
    items: impl Iterator<Item = T> + Send,
    helper: bool,
    work: impl Fn(T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let mut items = items;
    if !helper {
        return items.try_for_each(work);
    }
    let shared = Mutex::new((items, None));
    let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
    let run = || {
        loop {
            let next = {
                let (items, failure) = &mut *lock();
                if failure.is_some() { None } else { items.next() }
            };
            let Some(item) = next else { return };
            if let Err(error) = work(item) {
                lock().1.get_or_insert(error);
            }
        }
    };
    thread::scope(|scope| {
        // Where no thread can be had, this one does it all.
        let _helper = thread::Builder::new().name("sideband-batch".into()).spawn_scoped(scope, run);
        run();
    });
    shared.into_inner().unwrap_or_else(PoisonError::into_inner).1.map_or(Ok(()), Err)
}

/// As [`try_for_each`], for work that cannot fail.
pub fn for_each<T: Send>(items: impl Iterator<Item = T> + Send, helper: bool, work: impl Fn(T) + Sync) {
    let Ok(()) = try_for_each(items, helper, |item| {
        work(item);
        Ok::<_, Infallible>(())
    });
}
