//! Masking (RFC 6455, 5.3), wide enough for the compiler to use vector registers.

use std::mem::MaybeUninit;

/// Bytes of a mask's key.
pub const MASK_SIZE: usize = 4;

const WIDE: usize = 64;

/// Mask or unmask `bytes`, which are the start of a payload, in place.
pub fn apply(mask: [u8; MASK_SIZE], bytes: &mut [u8]) {
    let wide = widened(mask);
    let mut chunks = bytes.chunks_exact_mut(WIDE);
    for chunk in &mut chunks {
        for (byte, key) in chunk.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(wide) {
        *byte ^= key;
    }
}

/// Write `bytes`, masked or unmasked, to `target`, which has the same size.
pub fn write(mask: [u8; MASK_SIZE], bytes: &[u8], target: &mut [MaybeUninit<u8>]) {
    let wide = widened(mask);
    let mut targets = target.chunks_exact_mut(WIDE);
    let mut sources = bytes.chunks_exact(WIDE);
    for (target, source) in (&mut targets).zip(&mut sources) {
        for ((target, source), key) in target.iter_mut().zip(source).zip(wide) {
            target.write(source ^ key);
        }
    }
    for ((target, source), key) in targets.into_remainder().iter_mut().zip(sources.remainder()).zip(wide) {
        target.write(source ^ key);
    }
}

/// The payload that `bytes` are without their mask.
pub fn unmasked(mask: [u8; MASK_SIZE], bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    apply(mask, &mut bytes);
    bytes
}

const fn widened(mask: [u8; MASK_SIZE]) -> [u8; WIDE] {
    let [a, b, c, d] = mask;
    [
        a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a,
        b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d,
    ]
}
