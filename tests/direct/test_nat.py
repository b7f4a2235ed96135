"""Which NATs let peers reach each other: real ones, in network namespaces, with a real STUN and TURN server."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests.direct.nat_table import PAGE, WAYS, Pair, made_net, measure, table, written
from tests.support.nat import NAT_KINDS, SERVER_ADDRESSES

pytestmark = pytest.mark.servers

SPOKEN, SAME_ADDRESS, ELSEWHERE = [SERVER_ADDRESSES[0], 7001], [SERVER_ADDRESSES[0], 7002], [SERVER_ADDRESSES[1], 7001]

# Who gets through to a socket that has only spoken to the first, and how many addresses three of them see.
BEHAVIOUR = {
    "open": ([SAME_ADDRESS, ELSEWHERE, SPOKEN], 1),
    "full cone": ([SAME_ADDRESS, ELSEWHERE, SPOKEN], 1),
    "restricted": ([SAME_ADDRESS, SPOKEN], 1),
    "port-restricted": ([SPOKEN], 1),
    "symmetric": ([SPOKEN], 3),
}


async def test_the_nats_are_what_they_are_called(tmp_path: Path) -> None:
    async with made_net(tmp_path) as net:
        seen = {}
        for kind in NAT_KINDS:
            home = await net.at_home(kind, kind)
            home.order("ask", addresses=[SPOKEN, SAME_ADDRESS, ELSEWHERE])
            asked = await home.expect("asked")
            seen[kind] = (asked["through"], asked["mappings"])
    assert seen == BEHAVIOUR
    page = PAGE.read_text(encoding="utf-8")
    assert "".join(f"| {kind} | {meaning} |\n" for kind, meaning in NAT_KINDS.items()) in page


async def test_the_guide_tells_which_nats_reach_each_other(tmp_path: Path) -> None:
    measured = await measure(tmp_path)
    servers = {path for pair, path in measured.items() if pair.way != "none"}
    assert servers == {"direct:webrtc", "relay"}
    for less, more in pairwise(WAYS):
        met = [pair for pair, path in measured.items() if pair.way == less and path != "relay"]
        assert [pair for pair in met if measured[Pair(pair.client, pair.daemon, more)] == "relay"] == []
    found = table(measured)
    assert written() == found, f"as root, python -m tests.direct.nat_table writes it anew:\n\n{found}"
