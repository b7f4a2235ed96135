"""What became of every call and every event, by number, from the logs of all processes."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Ledger:
    """The logs of one test.

    Attributes:
        clients: lines of the clients' process.
        daemons: lines of each daemon process, in the order they were started.
    """

    clients: Sequence[Line]
    daemons: Sequence[Sequence[Line]]

    @classmethod
    def read(cls, clients: Path, daemons: Iterable[Path]) -> Ledger:
        """Read the logs."""
        return cls(_lines(clients), [_lines(path) for path in daemons])

    @property
    def daemon(self) -> list[Line]:
        """What all daemon processes logged, one process after the other."""
        return [line for lines in self.daemons for line in lines]

    def check_lossless(self, sessions: int) -> None:
        """Every call of both ends was answered right; every event arrived; each once and in order.

        Args:
            sessions: how many there were in all, as a proof that none was made anew.
        """
        assert len(_all(self.daemon, "accepted")) == sessions
        self.check_once()
        assert failures(self.clients, "answered") == failures(self.daemon, "told") == {}
        assert _numbers(self.daemon, "marked", "mark", "client") == _numbers(self.clients, "emitted", "mark", "client")
        ticks = _numbers(self.clients, "tick", "tick", "client", "session")
        assert ticks == _numbers(self.daemon, "ticked", "tick", "client", "session")

    def check_once(self) -> None:
        """Every call has exactly one outcome, none ran twice; no event was delivered twice or out of order."""
        called, answered = _count(self.clients, "called", "call"), _count(self.clients, "answered", "call")
        assert called
        assert answered == called
        assert set(answered.values()) == {1}
        ran = _count(self.daemon, "ran", "call")
        assert {call: times for call, times in ran.items() if times != 1} == {}
        assert set(ran) <= set(called)
        for line in _all(self.clients, "answered"):
            if line["error"] is None:
                assert (line["client"], line["call"]) in ran
                assert line["value"] == 2 * line["call"]
        assert [line for line in _all(self.daemon, "marked") + _all(self.clients, "tick") if not line["whole"]] == []
        self._check_asks()
        _check_rising(_numbers(self.daemon, "marked", "mark", "client"))
        _check_rising(_numbers(self.clients, "tick", "tick", "client", "session"))

    def _check_asks(self) -> None:
        key = ("client", "session")
        ran = _count(self.clients, "ask", "ask", *key)
        assert {ask: times for ask, times in ran.items() if times != 1} == {}
        for lines in self.daemons[-1:]:
            # The others were killed, maybe before they could log how their last calls ended.
            asked, told = _count(lines, "asked", "ask", *key), _count(lines, "told", "ask", *key)
            assert asked == told
        for line in _all(self.daemon, "told"):
            if line["error"] is None:
                assert ran[line["client"], line["session"], line["ask"]] == 1
                assert line["value"] == 3 * line["ask"]


def failures(lines: Iterable[Line], what: str) -> Counter[str]:
    """Why calls failed, and how many."""
    return Counter(line["error"] for line in _all(lines, what) if line["error"] is not None)


def _lines(path: Path) -> list[Line]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _all(lines: Iterable[Line], what: str) -> list[Line]:
    return [line for line in lines if line["what"] == what]


def _count(lines: Iterable[Line], what: str, number: str, *key: str) -> Counter[tuple[int, ...]]:
    names = (*(key or ("client",)), number)
    return Counter(tuple(line[name] for name in names) for line in _all(lines, what))


def _numbers(lines: Iterable[Line], what: str, number: str, *key: str) -> dict[tuple[int, ...], list[int]]:
    found: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for line in _all(lines, what):
        found[tuple(line[name] for name in key)].append(line[number])
    return dict(found)


def _check_rising(found: Mapping[tuple[int, ...], list[int]]) -> None:
    for key, numbers in found.items():
        wrong = [(one, next_one) for one, next_one in pairwise(numbers) if next_one <= one]
        assert wrong == [], f"{key}: repeated or out of order"
