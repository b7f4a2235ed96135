//! The replay window against a plain set.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use sideband_core::replay::ReplayWindow;

fuzz_target!(|input: (u8, Vec<i64>)| {
    let (words, jumps) = input;
    let size = (usize::from(words) + 1) * 64;
    let mut window = ReplayWindow::new(size).expect("a multiple of 64 up to 16,384");
    let mut seen = BTreeSet::new();
    let mut at = 0_u64;
    for jump in jumps {
        at = at.saturating_add_signed(jump);
        let highest = seen.last().copied();
        let fresh = !seen.contains(&at) && highest.is_none_or(|top: u64| at > top || top - at < size as u64);
        assert_eq!(window.mark(at), fresh);
        if fresh {
            seen.insert(at);
        }
        assert!(window.is_consistent());
    }
});
