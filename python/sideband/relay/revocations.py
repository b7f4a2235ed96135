"""API keys whose tokens are refused although they have not expired (docs/protocol/internal.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["RevokedKeys"]


class RevokedKeys:
    """Ids of revoked keys: those the control plane listed last, and those named by kicks.

    Args:
        remember_seconds: how long a kick's key is kept: the longest life of a token.
        clock: Unix time.
    """

    def __init__(self, remember_seconds: float, clock: Callable[[], float]) -> None:
        self._remember_seconds = remember_seconds
        self._clock = clock
        self._listed: frozenset[str] = frozenset()
        self._kicked: dict[str, float] = {}

    def add(self, key_id: str) -> None:
        """Refuse a key from now on."""
        now = self._clock()
        for old in [key for key, until in self._kicked.items() if until <= now]:
            del self._kicked[old]
        self._kicked[key_id] = now + self._remember_seconds

    def replace_listed(self, key_ids: Iterable[str]) -> None:
        """Take the control plane's list in place of its last one."""
        self._listed = frozenset(key_ids)

    def __contains__(self, key_id: object) -> bool:
        if key_id in self._listed:
            return True
        until = self._kicked.get(key_id) if isinstance(key_id, str) else None
        return until is not None and until > self._clock()
