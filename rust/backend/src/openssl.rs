//! OpenSSL's `ChaCha20` and Poly1305 for AVX-512 with IFMA, put together as RFC 8439, section 2.8, says.
//!
//! `build.rs` assembles the two functions. What is ours is their order: a piece of the message at a time goes through
//! both while it is in the first-level cache, which OpenSSL's own AEAD leaves to its caller.
#![allow(unsafe_code, reason = "calls into assembly")]

use std::fmt;
use std::sync::LazyLock;

use sideband_core::aead::{Aead, AeadError, KEY_SIZE, NONCE_SIZE, TAG_SIZE};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of one piece: with the tables of both functions it fits a first-level cache of 32 KiB.
const PIECE_SIZE: usize = 8 * 1024;
const CHACHA_BLOCK: usize = 64;
const POLY_BLOCK: usize = 16;
/// The block counter has 32 bits, and its first value makes the key of the authenticator.
const MAX_MESSAGE_SIZE: u64 = ((1 << 32) - 1) * CHACHA_BLOCK as u64;

/// Whether this CPU, and the system that runs on it, have every register and instruction that the assembly uses.
pub fn is_supported() -> bool {
    static SUPPORTED: LazyLock<bool> = LazyLock::new(|| {
        is_x86_feature_detected!("ssse3")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512ifma")
    });
    *SUPPORTED
}

/// A key for OpenSSL's functions.
#[derive(ZeroizeOnDrop)]
pub struct OpenSsl(Box<[u32; 8]>);

impl Aead for OpenSsl {
    fn new(key: &[u8; KEY_SIZE]) -> Self {
        assert!(is_supported(), "the backend is chosen only where it runs");
        let mut words = Box::new([0; 8]);
        for (word, bytes) in words.iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self(words)
    }

    fn seal_in_place(&self, nonce: &[u8; NONCE_SIZE], buffer: &mut [u8]) -> Result<[u8; TAG_SIZE], AeadError> {
        let mut message = Message::new(&self.0, nonce, buffer.len())?;
        for piece in buffer.chunks_mut(PIECE_SIZE) {
            message.cipher.apply(piece);
            message.authenticator.update(piece);
        }
        Ok(message.authenticator.finish())
    }

    fn open_in_place(
        &self,
        nonce: &[u8; NONCE_SIZE],
        buffer: &mut [u8],
        tag: &[u8; TAG_SIZE],
    ) -> Result<(), AeadError> {
        let mut message = Message::new(&self.0, nonce, buffer.len())?;
        for piece in buffer.chunks_mut(PIECE_SIZE) {
            message.authenticator.update(piece);
            message.cipher.apply(piece);
        }
        if message.authenticator.finish().ct_eq(tag).into() {
            return Ok(());
        }
        buffer.zeroize();
        Err(AeadError)
    }
}

impl fmt::Debug for OpenSsl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenSsl(..)")
    }
}

/// What one message needs: the cipher behind the first block, and the authenticator keyed by that block.
struct Message<'a> {
    cipher: ChaCha20<'a>,
    authenticator: Poly1305,
}

impl<'a> Message<'a> {
    fn new(key: &'a [u32; 8], nonce: &[u8; NONCE_SIZE], size: usize) -> Result<Self, AeadError> {
        if size as u64 > MAX_MESSAGE_SIZE {
            return Err(AeadError);
        }
        let mut cipher = ChaCha20::new(key, nonce);
        let mut first = [0; CHACHA_BLOCK];
        cipher.apply(&mut first);
        let authenticator = Poly1305::new(&first);
        first.zeroize();
        Ok(Self { cipher, authenticator })
    }
}

/// The key stream of one message; its words are the counter and the nonce.
struct ChaCha20<'a> {
    key: &'a [u32; 8],
    counter: [u32; 4],
}

impl<'a> ChaCha20<'a> {
    fn new(key: &'a [u32; 8], nonce: &[u8; NONCE_SIZE]) -> Self {
        let mut counter = [0; 4];
        for (word, bytes) in counter.iter_mut().skip(1).zip(nonce.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { key, counter }
    }

    /// Add the next of the key stream. Every piece but the last is whole blocks.
    #[allow(clippy::cast_possible_truncation, reason = "a message has fewer than 2^32 blocks")]
    fn apply(&mut self, piece: &mut [u8]) {
        let buffer = piece.as_mut_ptr();
        // SAFETY: the function reads and writes `piece.len()` bytes of `buffer`, which may be the same memory, and
        // reads 8 and 4 words. The CPU has what it uses, as `OpenSsl::new` made sure.
        unsafe {
            sideband_ChaCha20_ctr32(buffer, buffer, piece.len(), self.key.as_ptr(), self.counter.as_ptr());
        }
        self.counter[0] = self.counter[0].wrapping_add(piece.len().div_ceil(CHACHA_BLOCK) as u32);
    }
}

type Blocks = unsafe extern "C" fn(state: *mut State, input: *const u8, size: usize, pad_bit: u32);
type Emit = unsafe extern "C" fn(state: *mut State, tag: *mut u8, pad: *const u32);

/// `opaque` of OpenSSL's `POLY1305`: 24 doubles, which the assembly lays out.
#[repr(C, align(64))]
struct State([u64; 24]);

/// The functions that the assembly picks for the CPU.
#[repr(C)]
struct Functions {
    blocks: Blocks,
    emit: Emit,
}

/// The authenticator of one message, without associated data.
struct Poly1305 {
    state: State,
    functions: Functions,
    pad: [u32; 4],
    size: u64,
}

impl Poly1305 {
    fn new(key: &[u8; CHACHA_BLOCK]) -> Self {
        let mut state = State([0; 24]);
        let mut functions = Functions { blocks: sideband_poly1305_blocks, emit: sideband_poly1305_emit };
        // SAFETY: the function reads 16 bytes of the key, writes no more than `State` holds, and stores two pointers to
        // functions of the types that `Functions` names.
        unsafe { sideband_poly1305_init(&raw mut state, key.as_ptr(), &raw mut functions) };
        let mut pad = [0; 4];
        for (word, bytes) in pad.iter_mut().zip(key.as_chunks().0.iter().skip(4)) {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { state, functions, pad, size: 0 }
    }

    /// Take the next of the ciphertext; what is no whole block is padded with zeros, so it can only come last.
    fn update(&mut self, piece: &[u8]) {
        let (blocks, rest) = piece.as_chunks::<POLY_BLOCK>();
        self.absorb(blocks.as_flattened());
        if !rest.is_empty() {
            let mut padded = [0; POLY_BLOCK];
            for (target, byte) in padded.iter_mut().zip(rest) {
                *target = *byte;
            }
            self.absorb(&padded);
        }
        self.size += piece.len() as u64;
    }

    /// The tag: over the ciphertext come the sizes of the associated data, which is none, and of the ciphertext.
    fn finish(&mut self) -> [u8; TAG_SIZE] {
        let sizes = u128::from(self.size) << 64;
        self.absorb(&sizes.to_le_bytes());
        let mut tag = [0; TAG_SIZE];
        // SAFETY: `init` chose the function for this state; it writes 16 bytes and reads 4 words.
        unsafe { (self.functions.emit)(&raw mut self.state, tag.as_mut_ptr(), self.pad.as_ptr()) };
        tag
    }

    fn absorb(&mut self, blocks: &[u8]) {
        debug_assert!(blocks.len().is_multiple_of(POLY_BLOCK));
        if !blocks.is_empty() {
            // SAFETY: `init` chose the function for this state; it reads `blocks.len()` bytes, a multiple of 16.
            unsafe { (self.functions.blocks)(&raw mut self.state, blocks.as_ptr(), blocks.len(), 1) };
        }
    }
}

impl Drop for Poly1305 {
    fn drop(&mut self) {
        self.state.0.zeroize();
        self.pad.zeroize();
    }
}

unsafe extern "C" {
    fn sideband_ChaCha20_ctr32(out: *mut u8, input: *const u8, size: usize, key: *const u32, counter: *const u32);
    fn sideband_poly1305_init(state: *mut State, key: *const u8, functions: *mut Functions) -> i32;
    fn sideband_poly1305_blocks(state: *mut State, input: *const u8, size: usize, pad_bit: u32);
    fn sideband_poly1305_emit(state: *mut State, tag: *mut u8, pad: *const u32);
}
