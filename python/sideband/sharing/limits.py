"""Every bound of file sharing in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["DEFAULT_SHARING_LIMITS", "SharingLimits"]


@dataclass(frozen=True, slots=True)
class SharingLimits:
    """Bounds of what one share does for its clients.

    Attributes:
        page_entries: entries that one `$sideband/fs.list` returns; more come page by page.
        folder_entries: a folder with more is not listed at all.
        read_bytes: of one `$sideband/fs.read`.
        transfers_per_peer: files on their way at once, of one client.
        transfers: the same, of all clients.
        held_seconds: that a client which gets a file may take to say what it holds of it, and so to read what it has of
            a large one, while its session is not paused; then the transfer is over, and its place free.
    """

    page_entries: int = 1000
    folder_entries: int = 100_000
    read_bytes: int = 1024 * 1024
    transfers_per_peer: int = 64
    transfers: int = 256
    held_seconds: float = 600.0


DEFAULT_SHARING_LIMITS: Final = SharingLimits()
