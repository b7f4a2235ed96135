"""Everything that is read from the other side in Python: any input is what it should be, or one known error."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from typing import Any

import msgpack
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sideband.direct.candidates import may_dial
from sideband.direct.messages import decode
from sideband.direct.policy import DirectPolicy
from sideband.direct.proof import decode_proof
from sideband.direct.upgrade import Phase, Say, Upgrade
from sideband.errors import SbdpError, TransportError
from sideband.transport.tcp import host_and_port
from sideband.transport.webrtc import WebRtcOffer

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=20)
    | st.binary(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
proofs = st.fixed_dictionaries(
    {},
    optional={
        "v": st.just(1) | values,
        "name": st.text(max_size=300) | values,
        "ed25519": st.binary(min_size=32, max_size=32) | values,
        "sig": st.binary(min_size=64, max_size=64) | values,
        "caps": st.lists(st.text(max_size=70), max_size=70) | values,
        "more": values,
    },
)
upgrades = st.fixed_dictionaries(
    {
        "v": st.just(1) | values,
        "t": st.sampled_from(["ask", "offer", "answer", "use", "used", "switch", "switched", "back", "stop", "other"]),
        "id": st.just(bytes(16)) | values,
    },
    optional={
        "key": st.binary(min_size=32, max_size=32) | values,
        "c": st.lists(st.text(max_size=40), max_size=18) | values,
        "sdp": st.text(max_size=40) | values,
        "pair": st.binary(min_size=16, max_size=16) | values,
        "n": st.integers(0, 5) | values,
    },
)


@given(proofs)
def test_what_a_side_says_of_itself(fields: dict[str, Any]) -> None:
    proof = None
    with contextlib.suppress(SbdpError):
        proof = decode_proof(msgpack.packb(fields), bytes(32), bytes(32))
    if proof is None:
        return
    assert type(fields["v"]) is int
    assert fields["v"] == 1
    assert proof.name == fields["name"]
    assert 0 < len(proof.name.encode()) <= 255
    assert proof.identity_key is None  # nobody has signed
    assert len(proof.caps) <= 64


@given(st.lists(upgrades, max_size=6), st.booleans(), st.sampled_from(list(Phase)))
def test_messages_of_an_upgrade(messages: list[dict[str, Any]], client: bool, phase: Phase) -> None:
    """Whatever comes, in whatever state: nothing is raised, and nobody is told more than the protocol has."""
    state = Upgrade(client=client, phase=phase)
    for number, fields in enumerate(messages):
        for action in state.message(msgpack.packb(fields), number):
            if isinstance(action, Say):
                assert decode(action.message) is not None


hosts = st.sampled_from(["10.0.0.1", "127.0.0.1", "[::1]", "[fe80::1%1]", "[::ffff:127.0.0.1]", "0177.1", "1", "x", ""])
candidates = st.text(max_size=60) | st.builds(
    "{}://{}:{}{}".format,
    st.sampled_from(["tcp", "quic", "file", ""]),
    hosts,
    st.integers(-1, 70_000),
    st.text(max_size=4),
)


@example("tcp://[]@")
@given(candidates)
def test_candidates(candidate: str) -> None:
    if may_dial(candidate, DirectPolicy()):
        host, port = "", 0
        with contextlib.suppress(TransportError):
            host, port = host_and_port(candidate, candidate.partition("://")[0])
        if port:
            address = ipaddress.ip_address(host)
            mapped = getattr(address, "ipv4_mapped", None) or address
            assert not mapped.is_loopback
            assert not mapped.is_link_local
            assert 0 < port < 65_536


async def described() -> str:
    offer = WebRtcOffer()
    told = await offer.offer()
    await offer.close()
    return told


DESCRIPTION = asyncio.run(described())
LINES = DESCRIPTION.splitlines()
at = st.integers(0, len(LINES) - 1)


@st.composite
def descriptions(draw: st.DrawFn) -> str:
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 4))):
        where = draw(at) % len(lines)
        match draw(st.sampled_from(["drop", "repeat", "cut", "swap", "noise"])):
            case "drop":
                del lines[where]
            case "repeat":
                lines.insert(draw(at) % len(lines), lines[where])
            case "cut":
                lines[where] = lines[where][: draw(st.integers(0, len(lines[where])))]
            case "swap":
                other = draw(at) % len(lines)
                lines[where], lines[other] = lines[other], lines[where]
            case _:
                lines[where] = lines[where].partition(":")[0] + ":" + draw(st.text(max_size=12))
    return "\r\n".join(lines) + "\r\n"


@example("")
@example("v=0\r\n")
@example("\r\n".join(LINES[: next(number for number, line in enumerate(LINES) if line.startswith("m="))]) + "\r\n")
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60) | descriptions())
def test_webrtc_descriptions(description: str) -> None:
    async def run() -> None:
        answering = WebRtcOffer()
        try:
            with contextlib.suppress(TransportError):
                assert (await answering.answer(description)).startswith("v=0")
        finally:
            await answering.close()

    asyncio.run(run())
