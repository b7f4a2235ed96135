"""Event names and the patterns that subscribe to them (docs/protocol/sbp.md, "Event names and patterns")."""

from __future__ import annotations

import re
from typing import Final, Generic, TypeVar

from sideband.errors import PeerError

__all__ = [
    "MAX_EVENT_NAME_BYTES",
    "PLATFORM_PREFIX",
    "EventPattern",
    "SubscriptionTable",
    "check_event_name",
    "is_event_name",
]

MAX_EVENT_NAME_BYTES: Final = 255
PLATFORM_PREFIX: Final = "$sideband/"
"""What only the platform's own events and methods begin with."""

T = TypeVar("T")


def is_event_name(name: str) -> bool:
    """Whether `name` is segments of letters, digits, - and _ joined by dots, at most 255 bytes.

    The platform's own names, the same after `$sideband/`, count too.
    """
    return len(name) <= MAX_EVENT_NAME_BYTES and _NAME(name) is not None


def check_event_name(name: str) -> None:
    """Check a name that an application emits.

    Raises:
        PeerError: `invalid_pattern` when it is not a name, or begins with `$sideband/`.
    """
    if name.startswith(PLATFORM_PREFIX):
        raise PeerError("invalid_pattern", f"names beginning with {PLATFORM_PREFIX} belong to the platform")
    if not is_event_name(name):
        raise PeerError(
            "invalid_pattern",
            f"{name[:64]!r} is not an event name: segments of A-Z a-z 0-9 - _ joined by dots, "
            f"at most {MAX_EVENT_NAME_BYTES} bytes",
        )


class EventPattern:
    """A name, or a pattern in which `*` stands for one segment and a final `>` for one or more.

    Matching is case-sensitive. A pattern never matches the platform's own events, unless it is one of their names.

    Raises:
        PeerError: `invalid_pattern`, as for `**`, for `>` before the end, or for a wildcard inside a segment.
    """

    __slots__ = ("_head", "_open", "_prefix", "_segments", "is_name", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_name = is_event_name(text)
        segments = text.split(".")
        if not self.is_name:
            _check_segments(text, segments)
        self._open = segments[-1] == ">"
        self._segments = segments
        self._head = segments[:-1]
        self._prefix: str | None = None
        if self._open and "*" not in segments:
            self._prefix = text[:-1]

    def matches(self, name: str) -> bool:
        """Whether the pattern takes in `name`, which has to be a valid one."""
        if self.is_name:
            return name == self.text
        if name.startswith(PLATFORM_PREFIX):
            return False
        if self._prefix is not None:
            return name.startswith(self._prefix)
        segments = name.split(".")
        if self._open:
            head = self._head
            return len(segments) > len(head) and all(
                mine in ("*", theirs) for mine, theirs in zip(head, segments, strict=False)
            )
        return len(segments) == len(self._segments) and all(
            mine in ("*", theirs) for mine, theirs in zip(self._segments, segments, strict=True)
        )

    def __repr__(self) -> str:
        return f"EventPattern({self.text!r})"


class SubscriptionTable(Generic[T]):
    """Finds who subscribed to an event: one lookup for a name seen before.

    Args:
        cached_names: how many names' answers are remembered.
    """

    __slots__ = ("_cache", "_cached_names", "_entries", "_next")

    def __init__(self, cached_names: int = 1024) -> None:
        self._entries: dict[int, tuple[EventPattern, T]] = {}
        self._cache: dict[str, tuple[T, ...]] = {}
        self._cached_names = cached_names
        self._next = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, pattern: str, value: T) -> int:
        """Subscribe `value` to a name or pattern; return the handle that `remove` takes.

        Raises:
            PeerError: `invalid_pattern`.
        """
        compiled = EventPattern(pattern)
        handle = self._next
        self._next += 1
        self._entries[handle] = (compiled, value)
        self._cache.clear()
        return handle

    def remove(self, handle: int) -> None:
        """Unsubscribe; a handle that is gone already is ignored."""
        if self._entries.pop(handle, None) is not None:
            self._cache.clear()

    def match(self, name: str) -> tuple[T, ...]:
        """Return the values subscribed to `name`, in the order they were added."""
        found = self._cache.get(name)
        if found is None:
            found = tuple(value for pattern, value in self._entries.values() if pattern.matches(name))
            if len(self._cache) >= self._cached_names:
                self._cache.clear()
            self._cache[name] = found
        return found


_NAME = re.compile(r"(?:\$sideband/)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*").fullmatch
_SEGMENT = re.compile(r"[A-Za-z0-9_-]+|\*").fullmatch


def _check_segments(text: str, segments: list[str]) -> None:
    reason = None
    if len(text.encode("utf-8", "surrogatepass")) > MAX_EVENT_NAME_BYTES:
        reason = f"it is over {MAX_EVENT_NAME_BYTES} bytes"
    elif "**" in segments:
        reason = "** is not allowed, a final > takes one or more segments"
    elif ">" in segments[:-1]:
        reason = "> may only be the last segment"
    elif not all(_SEGMENT(segment) for segment in segments[:-1]) or not (segments[-1] == ">" or _SEGMENT(segments[-1])):
        reason = "segments are A-Z a-z 0-9 - _, or * alone, joined by dots"
    if reason is not None:
        raise PeerError("invalid_pattern", f"{text[:64]!r} is not a pattern: {reason}")
