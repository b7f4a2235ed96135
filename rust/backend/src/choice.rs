//! Which implementation is used for which size.

use std::fmt;
use std::str::FromStr;

/// An implementation of ChaCha20-Poly1305.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The crate `chacha20poly1305`: portable Rust, with AVX2 and NEON where the CPU has them.
    RustCrypto,
    /// The crate `ring`: assembly for x86-64 and `AArch64`, C elsewhere.
    Ring,
    /// OpenSSL's assembly for AVX-512 with IFMA.
    OpenSsl,
}

impl Backend {
    /// Every one that this program knows, built in or not.
    pub const ALL: [Self; 3] = [Self::RustCrypto, Self::Ring, Self::OpenSsl];

    /// The name under which it is forced and reported.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RustCrypto => "rustcrypto",
            Self::Ring => "ring",
            Self::OpenSsl => "openssl",
        }
    }

    /// Whether it was built in and runs on this CPU.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::RustCrypto => true,
            Self::Ring => cfg!(feature = "fast"),
            #[cfg(has_openssl)]
            Self::OpenSsl => crate::openssl::is_supported(),
            #[cfg(not(has_openssl))]
            Self::OpenSsl => false,
        }
    }
}

impl FromStr for Backend {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|backend| backend.name() == name).ok_or(())
    }
}

/// What seals and opens messages in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// For messages of fewer than `bulk_from` bytes.
    pub small: Backend,
    /// For messages of `bulk_from` bytes and more.
    pub bulk: Backend,
    /// The size in bytes from which a message counts as bulk.
    pub bulk_from: usize,
    /// Whether it was asked for by name.
    pub forced: bool,
}

/// A backend was asked for that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoiceError {
    wanted: String,
}

impl fmt::Display for ChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = match self.wanted.parse::<Backend>() {
            Err(()) => "is not the name of a backend",
            Ok(Backend::OpenSsl) => "was not built in, or this CPU has no AVX-512 with IFMA",
            Ok(_) => "was not built in",
        };
        write!(f, "{:?} {reason}; here can be used: {AUTO}", self.wanted)?;
        for backend in Backend::ALL.into_iter().filter(|backend| backend.is_available()) {
            write!(f, ", {}", backend.name())?;
        }
        Ok(())
    }
}

impl std::error::Error for ChoiceError {}

/// What is best for this CPU.
#[must_use]
pub fn automatic() -> Choice {
    if Backend::OpenSsl.is_available() {
        return Choice { small: Backend::Ring, bulk: Backend::OpenSsl, bulk_from: AVX512_BULK_FROM, forced: false };
    }
    uniform(if Backend::Ring.is_available() { Backend::Ring } else { Backend::RustCrypto }, false)
}

/// Choose for this CPU, or take what `wanted` names: one of [`Backend::name`], or `auto`, which is as good as nothing.
///
/// # Errors
/// When `wanted` names no backend, or one that was not built in or does not run here.
pub fn choose(wanted: Option<&str>) -> Result<Choice, ChoiceError> {
    let Some(wanted) = wanted.filter(|name| *name != AUTO) else { return Ok(automatic()) };
    match wanted.parse::<Backend>() {
        Ok(backend) if backend.is_available() => Ok(uniform(backend, true)),
        _ => Err(ChoiceError { wanted: wanted.to_owned() }),
    }
}

const AUTO: &str = "auto";

/// From this size on the wider registers of AVX-512 outweigh what it takes to set them up.
const AVX512_BULK_FROM: usize = 896;

fn uniform(backend: Backend, forced: bool) -> Choice {
    Choice { small: backend, bulk: backend, bulk_from: 0, forced }
}
