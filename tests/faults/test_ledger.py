"""The ledger finds what it is there to find."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.ledger import Ledger

Lines = list[dict[str, Any]]


def good() -> tuple[Lines, Lines]:
    """Two calls, two events each way, one call back."""
    who = {"client": 0, "session": 1}
    clients: Lines = []
    daemon: Lines = [{"what": "accepted", **who}]
    for number in (0, 1):
        clients += [
            {"what": "called", "client": 0, "call": number},
            {"what": "answered", "client": 0, "call": number, "value": 2 * number, "error": None},
            {"what": "emitted", "client": 0, "mark": number},
            {"what": "tick", **who, "tick": number, "whole": True},
        ]
        daemon += [
            {"what": "ran", **who, "call": number},
            {"what": "ticked", **who, "tick": number},
            {"what": "marked", **who, "mark": number, "whole": True},
        ]
    clients.append({"what": "ask", **who, "ask": 0})
    daemon.append({"what": "asked", **who, "ask": 0})
    daemon.append({"what": "told", **who, "ask": 0, "value": 0, "error": None})
    return clients, daemon


def line(lines: Lines, what: str) -> dict[str, Any]:
    """The last line of this kind."""
    return next(one for one in reversed(lines) if one["what"] == what)


def test_what_happened_once_and_in_order_passes() -> None:
    clients, daemon = good()
    Ledger(clients, [daemon]).check_lossless(sessions=1)


@pytest.mark.parametrize(
    "what", ["called", "answered", "emitted", "tick", "ran", "ticked", "marked", "ask", "asked", "told"]
)
@pytest.mark.parametrize("how", ["missing", "twice"])
def test_anything_that_is_missing_or_there_twice_is_found(what: str, how: str) -> None:
    clients, daemon = good()
    lines = clients if any(one["what"] == what for one in clients) else daemon
    if how == "twice":
        lines.append(copy.copy(line(lines, what)))
    else:
        lines.remove(line(lines, what))
    with pytest.raises(AssertionError):
        Ledger(clients, [daemon]).check_lossless(sessions=1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda clients, _daemon: line(clients, "answered").update(value=7),
        lambda clients, _daemon: line(clients, "answered").update(value=None, error="not_connected"),
        lambda _clients, daemon: line(daemon, "told").update(value=None, error="rpc_timeout"),
        lambda _clients, daemon: line(daemon, "marked").update(whole=False),
        lambda clients, _daemon: line(clients, "tick").update(whole=False),
        lambda clients, _daemon: clients.reverse(),
        lambda _clients, daemon: daemon.reverse(),
        lambda _clients, daemon: daemon.append({"what": "accepted", "client": 0, "session": 2}),
    ],
    ids=[
        "wrong",
        "failed",
        "failed there",
        "damaged",
        "damaged here",
        "order here",
        "order there",
        "session made anew",
    ],
)
def test_a_wrong_outcome_is_found(spoil: Callable[[Lines, Lines], object]) -> None:
    clients, daemon = good()
    spoil(clients, daemon)
    with pytest.raises(AssertionError):
        Ledger(clients, [daemon]).check_lossless(sessions=1)


def test_a_call_that_ran_in_two_daemons_is_found() -> None:
    clients, daemon = good()
    with pytest.raises(AssertionError):
        Ledger(clients, [daemon, [line(daemon, "ran")]]).check_once()
