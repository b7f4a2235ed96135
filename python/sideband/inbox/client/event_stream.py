"""Reading server-sent events (the HTML standard, section 9.2.6), as far as the bridge uses them."""

from __future__ import annotations

from dataclasses import dataclass

from sideband.errors import BridgeError

__all__ = ["MAX_EVENT_BYTES", "EventStreamDecoder", "ServerSentEvent"]

MAX_EVENT_BYTES = 2 * 1024 * 1024
"""One event may have so many bytes; the largest message, 1 MiB, is 1.4 MiB as base64."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """An event: its name (`message` unless said), its data, and the last id that the stream gave."""

    event: str
    data: str
    id: str | None


class EventStreamDecoder:
    """Makes events of bytes that arrive in any pieces. Lines end with LF, CR LF or CR; comments are dropped.

    Args:
        max_event_bytes: a longer event is refused; 2 MiB.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._line = bytearray()
        self._size = 0
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None
        self._after_cr = False
        self._first = True

    def push(self, piece: bytes) -> list[ServerSentEvent]:
        """Take the next bytes and return the events that they complete.

        Raises:
            BridgeError: an event is too long (kind `protocol`).
        """
        if self._after_cr and piece:
            self._after_cr = False
            piece = piece.removeprefix(b"\n")
        events = []
        # bytes.splitlines splits at LF, CR LF and CR alone, which is what the standard says.
        for line in piece.splitlines(keepends=True):
            ended = line[-1:] in b"\r\n"
            self._size += len(line)
            if self._size > self._max:
                raise BridgeError("protocol", f"the server sent an event of more than {self._max} bytes")
            self._line += line.rstrip(b"\r\n") if ended else line
            if ended:
                event = self._take_line()
                if event is not None:
                    events.append(event)
        self._after_cr = piece.endswith(b"\r")
        return events

    def _take_line(self) -> ServerSentEvent | None:
        size = len(self._line)
        line = self._line.decode(errors="replace")
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix("\ufeff")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif not name:
            # A comment: it keeps the connection alive and is no part of an event that could grow too long.
            self._size -= min(self._size, size + len(b"\r\n"))
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        data, event = self._data, self._event or "message"
        self._data, self._event, self._size = [], "", 0
        return ServerSentEvent(event, "\n".join(data), self._id) if data else None
