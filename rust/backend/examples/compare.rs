//! Messages a second, by backend and size: `cargo run --release -p sideband-backend --example compare [size ...]`.
//!
//! The backends take turns, and each row is the median of the rounds, so that a busy machine hurts all alike.
#![allow(clippy::expect_used, clippy::print_stdout, clippy::cast_precision_loss, reason = "a tool for developers")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use sideband_backend::{Backend, Cipher, choose};
use sideband_core::aead::Aead;

const SIZES: [usize; 7] = [16, 64, 256, 1024, 4096, 16 * 1024, 65_508];
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(40);

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|size| size.parse().expect("sizes in bytes")).collect();
    let sizes = if sizes.is_empty() { SIZES.to_vec() } else { sizes };
    let backends: Vec<_> = Backend::ALL.into_iter().filter(|backend| backend.is_available()).collect();
    println!("{:<12}{:>8}{:>14}{:>14}{:>10}", "backend", "bytes", "sealed/s", "opened/s", "GB/s");
    for size in sizes {
        let mut rates = vec![(Vec::new(), Vec::new()); backends.len()];
        for _ in 0..ROUNDS {
            for (backend, (sealed, opened)) in backends.iter().zip(&mut rates) {
                let choice = choose(Some(backend.name())).expect("it is available");
                let cipher = Cipher::with_choice(&[7; 32], choice);
                sealed.push(seal_rate(&cipher, size));
                opened.push(open_rate(&cipher, size));
            }
        }
        for (backend, (sealed, opened)) in backends.iter().zip(rates) {
            let (sealed, opened) = (median(sealed), median(opened));
            let volume = sealed * size as f64 / 1e9;
            println!("{:<12}{size:>8}{sealed:>14.0}{opened:>14.0}{volume:>10.2}", backend.name());
        }
    }
}

fn seal_rate(cipher: &Cipher, size: usize) -> f64 {
    let mut buffer = vec![3; size];
    rate(|| {
        let _ = black_box(cipher.seal_in_place(&[1; 12], &mut buffer));
    })
}

/// Opening destroys its input, so each time starts with a copy, as a session's does.
fn open_rate(cipher: &Cipher, size: usize) -> f64 {
    let mut sealed = vec![3; size];
    let tag = cipher.seal_in_place(&[1; 12], &mut sealed).expect("it fits");
    let mut buffer = sealed.clone();
    rate(|| {
        buffer.copy_from_slice(&sealed);
        cipher.open_in_place(&[1; 12], &mut buffer, &tag).expect("it is genuine");
    })
}

fn rate(mut work: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < ROUND {
        (0..16).for_each(|_| work());
        count += 16;
    }
    f64::from(count) / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or_default()
}
