"""The event `inbox.blob_stored`: who waits for blobs of an address hears of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sideband.inbox.store.base import Blob

__all__ = ["Listener", "Notices"]


class Listener(Protocol):
    """Called on the event loop; it only takes note, and does its work later."""

    def notify(self, previous: int | None, blob: Blob | None) -> None:
        """Take note.

        Args:
            previous: the cursor of this address right before the blob's, so that who has read up to it has all but
                this blob; None when that is not known.
            blob: what was stored; None when it has to be read.
        """


class Notices:
    """Listeners by address.

    Attributes:
        pushing: whether the store tells of every blob. While it does not, somebody has to call `wake_all` now and then.
    """

    __slots__ = ("_listeners", "pushing")

    def __init__(self, *, pushing: bool = True) -> None:
        self.pushing = pushing
        self._listeners: dict[str, set[Listener]] = {}

    def listen(self, address: str, listener: Listener) -> None:
        """Tell `listener` of every blob of `address` from now on."""
        self._listeners.setdefault(address, set()).add(listener)

    def unlisten(self, address: str, listener: Listener) -> None:
        """Take back a `listen`."""
        listeners = self._listeners.get(address)
        if listeners is not None:
            listeners.discard(listener)
            if not listeners:
                del self._listeners[address]

    def stored(self, address: str, previous: int | None = None, blob: Blob | None = None) -> None:
        """Tell of a blob that can be read now."""
        for listener in tuple(self._listeners.get(address, ())):
            listener.notify(previous, blob)

    def wake_all(self) -> None:
        """Make every listener look."""
        for listener in self.listeners():
            listener.notify(None, None)

    def listeners(self) -> Iterator[Listener]:
        """Yield every listener there is now."""
        for listeners in tuple(self._listeners.values()):
            yield from tuple(listeners)

    def __len__(self) -> int:
        return sum(len(listeners) for listeners in self._listeners.values())
