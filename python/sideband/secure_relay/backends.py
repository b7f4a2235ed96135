"""Which implementation of the encryption runs in this process (docs/adr/0060)."""

from typing import NamedTuple

from sideband._native import aead_backend

__all__ = ["Backend", "backend"]


class Backend(NamedTuple):
    """What seals and opens Data messages. The bytes are the same whichever it is; only the speed differs."""

    small: str
    """The implementation for plaintexts of fewer than `bulk_from` bytes: `rustcrypto`, `ring` or `openssl`."""
    bulk: str
    """The implementation for all others."""
    bulk_from: int
    """The border in bytes; 0 where one implementation serves every size."""
    forced: bool
    """Whether the environment variable SIDEBAND_BACKEND named it."""
    available: tuple[str, ...]
    """What was built in and runs on this CPU: each may be given as SIDEBAND_BACKEND."""


def backend() -> Backend:
    """Tell which implementation of ChaCha20-Poly1305 is in use.

    It is chosen when the native module is loaded: the fastest for the CPU, or the one that SIDEBAND_BACKEND names
    (`auto`, or empty, is the same as none). A name that cannot be had fails the import with `ConfigError`.
    """
    return Backend(*aead_backend())
