"""Settings of the C library's allocator for processes that move large payloads (docs/performance.md)."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["KEEP_BYTES", "VARIABLE", "tune_allocator"]

VARIABLE = "SIDEBAND_ALLOCATOR"
"""Set to `system`, it keeps `tune_allocator` from changing anything."""
KEEP_BYTES = 64 * 1024 * 1024
"""Free memory at the heap's end that a process keeps rather than giving it back."""

_LARGE_BYTES = 32 * 1024 * 1024
_PAD_BYTES = 4 * 1024 * 1024
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


def tune_allocator() -> bool:
    """Let this process keep memory that it has freed, up to 64 MiB; return whether that could be set.

    glibc gives freed memory back to the kernel early, and gets it again page by page, each cleared: for streams at line
    rate that costs more than the copying. The commands of this package call it; a library does not change a process
    that is not its own, so an application that moves much calls it itself, once, at its start. On other systems, and
    with `SIDEBAND_ALLOCATOR=system`, nothing is changed. It holds until the process ends.
    """
    if os.environ.get(VARIABLE) == "system" or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # musl has no mallopt, or one that does nothing; only glibc can tell its version.
    if mallopt is None or not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"):
        return False
    # The first setting ends glibc's own adaptation of the last one, so that all three have to be made.
    settings = ((_TRIM_THRESHOLD, KEEP_BYTES), (_TOP_PAD, _PAD_BYTES), (_MMAP_THRESHOLD, _LARGE_BYTES))
    return bool(sum(mallopt(name, value) for name, value in settings) == len(settings))
