//! Memory that sockets are read into and written from. Blocks are kept for reuse: memory that goes back to the kernel and
//! comes again page by page costs more than what is done with it.

use std::ptr::NonNull;
use std::sync::Mutex;

use sideband_core::frame::MAX_FRAME_SIZE;
use sideband_core::ws::MAX_HEADER_SIZE;

use crate::lock::wait;

const PAGE: usize = 4096;

/// Bytes of a block: room for ten of the largest SBRP frames, in whole pages.
pub const BLOCK_SIZE: usize = (10 * (MAX_FRAME_SIZE + MAX_HEADER_SIZE)).next_multiple_of(PAGE);
/// Most blocks that are kept while nobody uses them; about 16 MiB.
pub const POOL_BLOCKS: usize = 24;
/// What is smaller than this has memory of its own, which the allocator reuses well by itself.
const SMALL: usize = 32 * 1024;

static POOL: Mutex<Vec<Memory>> = Mutex::new(Vec::new());

struct Memory(NonNull<[u8]>);

#[allow(unsafe_code, reason = "memory that the kernel writes to is only reachable by its address")]
// SAFETY: it owns what it points to, as a box does, and has no state besides.
unsafe impl Send for Memory {}

impl Memory {
    fn new(size: usize) -> Self {
        // A box never has a null address.
        Self(NonNull::from(Box::leak(vec![0; size].into_boxed_slice())))
    }
}

impl Drop for Memory {
    #[allow(unsafe_code, reason = "as above")]
    fn drop(&mut self) {
        // SAFETY: `new` took the memory out of a box of this size, and nobody else gives it back.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// Initialised memory at a fixed address. Who may touch which part of it is up to its users.
pub struct Block(Option<Memory>);

#[allow(unsafe_code, reason = "as above")]
// SAFETY: the contents are only reachable by functions whose callers vouch for it that nobody else changes them.
unsafe impl Sync for Block {}

impl Block {
    /// A block of at least `size` bytes, which hold anything.
    pub fn new(size: usize) -> Self {
        if !(SMALL..=BLOCK_SIZE).contains(&size) {
            return Self(Some(Memory::new(size)));
        }
        let pooled = wait(&POOL).pop();
        Self(Some(pooled.unwrap_or_else(|| Memory::new(BLOCK_SIZE))))
    }

    /// Bytes it has.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |memory| memory.0.len())
    }

    /// Where it begins.
    pub fn start(&self) -> *mut u8 {
        self.0.as_ref().map_or(NonNull::dangling().as_ptr(), |memory| memory.0.as_ptr().cast())
    }

    /// A part of it.
    ///
    /// # Safety
    /// Nobody writes to this part while the result lives.
    #[allow(unsafe_code, reason = "as above")]
    pub unsafe fn part(&self, from: usize, size: usize) -> &[u8] {
        assert!(from.checked_add(size).is_some_and(|end| end <= self.size()), "a part lies within its block");
        // SAFETY: within the memory, as was checked, which lives as long as the block; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(self.start().add(from), size) }
    }

    /// A part of it, to be changed.
    ///
    /// # Safety
    /// Nobody else reads or writes this part while the result lives.
    #[allow(unsafe_code, reason = "as above")]
    #[allow(clippy::mut_from_ref, reason = "parts are changed while others are read; the caller keeps them apart")]
    pub unsafe fn part_mut(&self, from: usize, size: usize) -> &mut [u8] {
        assert!(from.checked_add(size).is_some_and(|end| end <= self.size()), "a part lies within its block");
        // SAFETY: as in `part`.
        unsafe { std::slice::from_raw_parts_mut(self.start().add(from), size) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.size() == BLOCK_SIZE {
            let mut pool = wait(&POOL);
            if pool.len() < POOL_BLOCKS {
                pool.extend(self.0.take());
            }
        }
    }
}
