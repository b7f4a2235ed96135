"""The one rule for daemon ids: 1 to 255 bytes of UTF-8, no control characters (docs/protocol/sbrp.md, "Handshake")."""

from __future__ import annotations

import unicodedata

from sideband.errors import ConfigError

__all__ = ["MAX_DAEMON_ID_BYTES", "check_daemon_id", "is_daemon_id"]

MAX_DAEMON_ID_BYTES = 255


def is_daemon_id(value: object) -> bool:
    """Tell whether `value` is a daemon id: text of 1 to 255 UTF-8 bytes without control characters."""
    return isinstance(value, str) and _flaw(value) is None


def check_daemon_id(value: object) -> str:
    """Return `value` unchanged when it is a daemon id.

    Raises:
        ConfigError: it is empty, over 255 UTF-8 bytes, holds a control character or is not valid Unicode text.
    """
    flaw = _flaw(value) if isinstance(value, str) else f"this one is {type(value).__name__}, not text"
    if not isinstance(value, str) or flaw is not None:
        msg = f"a daemon id is 1 to {MAX_DAEMON_ID_BYTES} bytes of UTF-8 without control characters; {flaw}"
        raise ConfigError(msg)
    return value


def _flaw(value: str) -> str | None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "this one holds a lone surrogate"
    if size == 0:
        return "this one is empty"
    if size > MAX_DAEMON_ID_BYTES:
        return f"this one has {size}"
    if any(unicodedata.category(character) == "Cc" for character in value):
        return "this one holds a control character"
    return None
