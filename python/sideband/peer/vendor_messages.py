"""Messages of applications on subjects of their own (docs/protocol/sbp.md, "Subjects")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sideband.errors import SbpError

__all__ = ["VendorMessages"]


class VendorMessages:
    """The functions that take vendor messages, by subject.

    Args:
        report: told what a function raised.
    """

    def __init__(self, report: Callable[[BaseException], None]) -> None:
        self._report = report
        self._functions: dict[str, list[Callable[[bytes], Any]]] = {}

    def add(self, subject: str, function: Callable[[bytes], Any]) -> Callable[[], None]:
        """See `Peer.on_message`."""
        if not subject.startswith("app/") or subject.startswith("app/sb."):
            raise SbpError(1000, f"a vendor subject begins with app/ and not with app/sb., got {subject[:64]!r}")
        functions = self._functions.setdefault(subject, [])
        functions.append(function)

        def remove() -> None:
            if function in functions:
                functions.remove(function)

        return remove

    def received(self, subject: str, data: bytes) -> None:
        """Hand a message to everyone who asked for its subject."""
        for function in tuple(self._functions.get(subject, ())):
            try:
                function(data)
            except Exception as error:  # noqa: BLE001  (whatever a handler raises is reported, and the others still run)
                self._report(error)
