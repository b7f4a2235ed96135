"""Direct sessions as an application sees them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sideband import direct
from sideband.direct.binding import binding_of
from sideband.errors import ConfigError, IdentityRefusedError, PeerError, SbdpError, SidebandError, TransportError
from sideband.identity import (
    IdentityTrust,
    MemoryIdentityKeyStore,
    NoiseKeyPair,
    compute_fingerprint,
    generate_identity_key_pair,
)
from sideband.peer import RetryPolicy
from sideband.transport import MemoryTransport
from tests.direct.conftest import Sides

ENDPOINTS = ["tcp://127.0.0.1:0", "quic://127.0.0.1:0", "ws://127.0.0.1:0/", "memory://studio"]


def network(endpoint: str) -> dict[str, Any]:
    return {"transport": MemoryTransport(max_message_bytes=2 << 20)} if endpoint.startswith("memory") else {}


async def send_all(stream: Any, data: bytes) -> None:
    await stream.write(data)
    await stream.end()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_calls_events_and_streams_run_over_every_transport(sides: Sides, endpoint: str) -> None:
    more = network(endpoint)

    async def upper(stream: Any) -> None:
        async for chunk in stream:
            await stream.write(bytes(chunk).upper())

    async with (
        await sides.listen(endpoint, lambda peer: peer.stream_handler("upper", upper), **more) as server,
        sides.dial(server, **more) as peer,
    ):
        assert await peer.rpc.call("echo", {"a": [1, "x" * 300_000]}) == {"a": [1, "x" * 300_000]}
        stream = await peer.open_stream("upper")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send_all(stream, b"abc" * 500_000))
            assert b"".join([bytes(chunk) async for chunk in stream]) == b"ABC" * 500_000
        assert peer.path == f"direct:{endpoint.partition(':')[0]}"
        assert (peer.remote_name, peer.fingerprint) == ("studio", compute_fingerprint(sides.studio.public_key))
        (other,) = sides.peers
        assert (other.remote_name, other.identity_key) == ("laptop", sides.laptop.public_key)


async def test_another_key_than_the_pinned_one_is_fatal_for_the_side_that_dials(sides: Sides) -> None:
    sides.laptop_pins = MemoryIdentityKeyStore({"studio": NoiseKeyPair.generate().public_key})
    async with await sides.listen() as server:
        peer = sides.dial(server, retry=RetryPolicy(mode="on-error"))
        with pytest.raises(IdentityRefusedError) as refused:
            await peer.connect()
        assert refused.value.code == "identity_key_changed"
        assert peer.closed
        assert not sides.peers
        await peer.disconnect()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_another_key_than_the_pinned_one_is_fatal_for_both_when_the_listener_refuses(
    sides: Sides, endpoint: str
) -> None:
    more = network(endpoint)
    sides.laptop = NoiseKeyPair.generate()
    async with await sides.listen(endpoint, **more) as server:
        peer = sides.dial(server, retry=RetryPolicy(mode="on-error"), **more)
        with pytest.raises(SbdpError, match="session_closed") as refused:
            await peer.connect()
        assert "refused" in str(refused.value)
        assert peer.closed
        assert not sides.peers
        await peer.disconnect()


async def test_whoever_is_not_pinned_is_refused_unless_the_policy_says_otherwise(sides: Sides) -> None:
    sides.studio_pins = MemoryIdentityKeyStore()
    async with await sides.listen() as server:
        with pytest.raises(SbdpError):
            await sides.dial(server).connect()
    async with await sides.listen(trust_policy="accept-new") as server:
        async with sides.dial(server) as peer:
            assert await peer.rpc.call("echo", 1) == 1
        assert await sides.studio_pins.get("laptop") == sides.laptop.public_key


async def test_a_side_that_answers_under_another_name_is_refused_before_anything_is_pinned(sides: Sides) -> None:
    pins = MemoryIdentityKeyStore()
    async with await sides.listen(name="office") as server:
        with pytest.raises(IdentityRefusedError, match="office"):
            await sides.dial(server, identity_key_store=pins).connect()
        assert await pins.entries() == {}


async def test_an_expected_signature_is_demanded(sides: Sides) -> None:
    identity, other = generate_identity_key_pair(), generate_identity_key_pair()
    async with await sides.listen(identity=identity) as server:
        async with sides.dial(server, remote_identity_key=identity.public_key) as peer:
            assert await peer.rpc.call("echo", 1) == 1
        with pytest.raises(IdentityRefusedError):
            await sides.dial(server, remote_identity_key=other.public_key).connect()
    async with await sides.listen() as server:
        with pytest.raises(IdentityRefusedError):
            await sides.dial(server, remote_identity_key=identity.public_key).connect()


async def test_an_exact_key_needs_no_pins(sides: Sides) -> None:
    known: dict[str, Any] = {"identity_key_store": None, "remote_name": None}
    async with await sides.listen() as server:
        async with sides.dial(server, remote_key=sides.studio.public_key, **known) as peer:
            assert await peer.rpc.call("echo", 1) == 1
        with pytest.raises(IdentityRefusedError):
            await sides.dial(server, remote_key=bytes(range(32)), **known).connect()


async def test_a_clean_end_is_told_as_one(sides: Sides) -> None:
    async with await sides.listen() as server:
        peer = sides.dial(server)
        await peer.connect()
        gone: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        peer.on("disconnected", gone.set_result)
        await sides.peers[0].disconnect()
        error = await gone
        assert isinstance(error, PeerError)
        assert error.code == "peer_closed"
        await peer.disconnect()


async def test_nobody_there_is_a_refused_connection(sides: Sides) -> None:
    server = await sides.listen()
    address = server.address
    await server.close()
    with pytest.raises(TransportError, match="connection_refused"):
        await sides.dial(address).connect()


@pytest.mark.parametrize(
    "wrong",
    [
        {"remote_name": None},
        {"identity_key_store": None},
        {"remote_key": b"short", "identity_key_store": None},
        {"name": ""},
        {"remote_identity_key": b"short"},
        {"remote_key": bytes(32)},
        {"trust": IdentityTrust(MemoryIdentityKeyStore(), "auto")},
        {"remote_name": ""},
        {"remote_name": "x" * 256},
        {"name": "x" * 256},
        {"trust_policy": "prompt"},
        {"trust_policy": "none such"},
    ],
)
def test_what_cannot_be_decided_is_refused_at_once(sides: Sides, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        sides.dial("tcp://127.0.0.1:1", **wrong)


@pytest.mark.parametrize(
    "wrong", [{"tls_certificate": b"aa:bb"}, {"identity_key_store": None}, {"max_half_open": 0}, {"name": "a\nb"}]
)
async def test_a_listener_that_nobody_could_reach_is_refused_at_once(sides: Sides, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        await sides.listen(**wrong)


def test_only_transports_with_a_name_in_the_prologue_carry_direct_sessions() -> None:
    class Other:
        transport_name = None

    with pytest.raises(ConfigError, match="Other"):
        binding_of(Other(), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("endpoint", ["udp://127.0.0.1:1", "127.0.0.1:1", ""])
def test_an_unknown_scheme_says_which_there_are(sides: Sides, endpoint: str) -> None:
    with pytest.raises(ConfigError, match="tcp://"):
        sides.dial(endpoint)


@pytest.mark.parametrize(
    "endpoint", ["tcp://127.0.0.1", "tcp://127.0.0.1:1/path", "tcp://:80", "tcp://127.0.0.1:99999"]
)
async def test_an_endpoint_that_is_none_is_refused(sides: Sides, endpoint: str) -> None:
    with pytest.raises(SidebandError):
        await sides.dial(endpoint).connect()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("rekey", [direct.Rekey(records=5), direct.Rekey(bytes=200)], ids=["records", "bytes"])
async def test_the_next_key_is_taken_while_data_flows(sides: Sides, endpoint: str, rekey: direct.Rekey) -> None:
    """Each direction by itself: this side's limit says nothing about the other's."""
    more = network(endpoint)
    for dialling, listening in ((rekey, None), (None, rekey)):
        sides.peers.clear()
        async with (
            await sides.listen(endpoint, rekey=listening, **more) as server,
            sides.dial(server, rekey=dialling, **more) as peer,
        ):
            for number in range(40):
                assert await peer.rpc.call("echo", [number, "x" * 100]) == [number, "x" * 100]
            (link,) = server._negotiator._links.values()  # type: ignore[attr-defined]
            keys = link.session.received[0], link.session.sent[0]
            assert keys[listening is not None] >= 8
            assert keys[listening is None] == 0


@pytest.mark.parametrize("wrong", [{"records": 1}, {"records": 2**32 + 1}, {"bytes": 0}, {"bytes": 2**36 + 1}])
def test_a_limit_of_a_key_that_the_protocol_does_not_allow_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"2\^32 records"):
        direct.Rekey(**wrong)


def test_identities_do_not_show_their_keys() -> None:
    from sideband.direct.handshake import DirectIdentity

    pair, signer = NoiseKeyPair.generate(), generate_identity_key_pair()
    shown = repr(DirectIdentity("studio", pair, signer))
    for secret in (pair.private_bytes(), signer.private_bytes()):
        assert secret.hex() not in shown.lower()
        assert repr(secret)[2:-1] not in shown
