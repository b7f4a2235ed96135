"""Which kicks were carried out, so that one that is given again does nothing (docs/protocol/internal.md)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

__all__ = ["REMEMBER_SECONDS", "CarriedOut"]

REMEMBER_SECONDS = 3600.0
"""How long a kick is remembered: the control plane gives one for ten minutes."""


class CarriedOut:
    """Ids of kicks that were carried out.

    A control plane that was started anew gives the kicks of its last minutes again, and a daemon that was kicked and
    came back since would be cut a second time.

    Args:
        clock: seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def is_new(self, kick_id: str) -> bool:
        """Take a kick; False when it was carried out before."""
        now = self._clock()
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if kick_id in self._until:
            return False
        self._until[kick_id] = now + REMEMBER_SECONDS
        return True
