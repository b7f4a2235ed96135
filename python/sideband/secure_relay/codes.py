"""SBRP error codes on the wire (docs/protocol/sbrp.md, "Codes")."""

from __future__ import annotations

from sideband.errors import SbrpErrorCode

__all__ = ["SbrpErrorCode", "is_terminal"]

_NOT_TERMINAL = frozenset(code.wire for code in SbrpErrorCode if code.wire is not None and not code.terminal)


def is_terminal(wire: int) -> bool:
    """Return whether a relay closes the connection after sending the code with this number; unknown codes do."""
    return wire not in _NOT_TERMINAL
