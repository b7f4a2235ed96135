"""Which implementation of the encryption runs in this process, and on how many threads (docs/adr/0060, 0062)."""

from typing import NamedTuple

from sideband import _native

__all__ = ["Backend", "backend", "batch_threads", "set_batch_threads"]


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
    return Backend(*_native.aead_backend())


def batch_threads() -> int | None:
    """Return on how many threads large batches are sealed and opened; None: 2 where the machine has 4 cores, else 1."""
    return _native.batch_threads()


def set_batch_threads(threads: int | None) -> None:
    """Seal and open batches of 256 KiB and more on so many threads, in this process and from now on.

    The second thread lives as long as one batch. What is sent is the same, byte for byte and in the same order, and so
    are the errors; only the time differs. Two pay while a core is free, as on a machine of its own; with the other side
    or a relay on the same few cores, one does.

    Args:
        threads: 1 or 2, or None for 2 where the process may use 4 cores, else 1. That is the default, unless the
            environment variable SIDEBAND_BATCH_THREADS (1, 2 or auto) says otherwise.

    Raises:
        ValueError: for another number.
    """
    _native.set_batch_threads(threads)
