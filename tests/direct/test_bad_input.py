"""What strangers, middle-men and broken peers send: each is refused, and costs nobody else anything."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband._native import NOISE_MAX_RECORD, NoiseHandshake, NoiseKeyPair
from sideband.direct import DirectPolicy
from sideband.direct.binding import prologue
from sideband.direct.candidates import may_dial
from sideband.direct.channels import MAX_INBOUND, Channels
from sideband.direct.handshake import DirectIdentity, SideHandshake
from sideband.direct.messages import MAX_CANDIDATES, Offer, decode, encode
from sideband.direct.proof import SIGNATURE_CONTEXT, decode_proof, encode_proof
from sideband.direct.upgrade import Phase, Upgrade
from sideband.errors import ConfigError, SbdpError
from sideband.identity import generate_identity_key_pair
from sideband.peer.clock import LoopClock
from sideband.transport import TcpTransport
from tests.direct.conftest import Sides

KEY, HASH = bytes(range(32)), bytes(range(32, 64))
TCP = prologue("tcp", b"")


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


class Stranger:
    """A socket that speaks the handshake by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> bytes:
        return await self.reader.readexactly(int.from_bytes(await self.reader.readexactly(4), "big"))

    async def is_cut(self) -> bool:
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        return True


@pytest.fixture
async def stranger(sides: Sides) -> AsyncIterator[Callable[[], Any]]:
    async with await sides.listen() as server:
        port = int(server.address.rpartition(":")[2])
        made: list[Stranger] = []

        async def connect() -> Stranger:
            made.append(Stranger(*await asyncio.open_connection("127.0.0.1", port)))
            return made[-1]

        yield connect
        for each in made:
            each.writer.close()
        # The listener serves everybody else as before.
        async with sides.dial(server) as peer:
            assert await peer.rpc.call("echo", 1) == 1


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        framed(b""),
        framed(b"\x02" + bytes(32)),
        framed(b"\x01" + bytes(31)),
        framed(b"\x01" + bytes(33)),
        framed(b"\x01" + bytes(4096)),
        framed(b"\x01" + bytes(32)),  # a low-order point
        framed(b"\x10" + bytes(64)),
        (4098).to_bytes(4, "big"),
        b"\xff" * 4,
    ],
)
async def test_a_first_message_that_is_none_is_cut(stranger: Callable[[], Any], first: bytes, sides: Sides) -> None:
    other = await stranger()
    other.send(first)
    assert await other.is_cut()
    assert not sides.peers


@pytest.mark.parametrize("what", ["replayed", "reordered", "changed", "stale", "record"])
async def test_a_third_message_that_is_not_the_due_one_is_cut(
    stranger: Callable[[], Any], what: str, sides: Sides
) -> None:
    identity = DirectIdentity("laptop", sides.laptop)

    async def begin() -> tuple[Stranger, bytes, bytes]:
        other, side = await stranger(), SideHandshake(identity, initiator=True, bound_to=TCP)
        first = side.begin()
        other.send(framed(first))
        side.read_second(await other.receive())
        return other, first, side.third()

    other, first, third = await begin()
    match what:
        case "replayed" | "reordered":
            other.send(framed(first if what == "replayed" else b"\x02" + third[1:]))
        case "changed":
            other.send(framed(third[:-1] + bytes([third[-1] ^ 1])))
        case "stale":
            another, *_ = await begin()
            another.send(framed(third))
            assert await another.is_cut()
            other.send(framed(b"\x03"))
        case _:
            other.send(framed(b"\x10" + third[1:]))
    assert await other.is_cut()
    assert not sides.peers


@pytest.mark.parametrize("size", [0, 1, 2, 17, 18, NOISE_MAX_RECORD + 2, 2**32 - 1])
async def test_a_record_of_a_wrong_length_ends_its_session_only(
    stranger: Callable[[], Any], size: int, sides: Sides
) -> None:
    other = await stranger()
    side = SideHandshake(DirectIdentity("laptop", sides.laptop), initiator=True, bound_to=TCP)
    other.send(framed(side.begin()))
    side.read_second(await other.receive())
    other.send(framed(side.third()) + size.to_bytes(4, "big") + b"\x10" + bytes(min(max(size - 1, 0), 64)))
    assert await other.is_cut()


@pytest.mark.parametrize("said", [b"", framed(b"\x01" + NoiseKeyPair.generate().public_key)], ids=["silent", "begun"])
async def test_a_thousand_half_open_handshakes_cost_the_oldest_their_place(sides: Sides, said: bytes) -> None:
    async with await sides.listen(half_open_seconds=60.0) as server:
        port = int(server.address.rpartition(":")[2])
        negotiator = server._negotiator  # type: ignore[attr-defined]
        idle: list[Stranger] = []
        for number in range(1000):
            idle.append(Stranger(*await asyncio.open_connection("127.0.0.1", port)))
            idle[-1].send(said)
            if number % 100 == 99:
                assert negotiator.half_open <= 64
                async with sides.dial(server) as peer:
                    assert await peer.rpc.call("echo", number) == number
        assert await idle[0].is_cut()
        assert negotiator.half_open <= 64
        for each in idle:
            each.writer.close()


async def test_a_handshake_that_is_not_done_in_time_is_cut(sides: Sides) -> None:
    async with await sides.listen(half_open_seconds=0.01) as server:
        port = int(server.address.rpartition(":")[2])
        silent = Stranger(*await asyncio.open_connection("127.0.0.1", port))
        assert await silent.is_cut()
        silent.writer.close()


def handshakes(one: bytes, two: bytes) -> tuple[NoiseHandshake, NoiseHandshake]:
    return (
        NoiseHandshake(NoiseKeyPair.generate(), initiator=True, prologue=one),
        NoiseHandshake(NoiseKeyPair.generate(), initiator=False, prologue=two),
    )


@pytest.mark.parametrize("transport", ["quic", "webrtc", "ws"])
def test_a_middle_man_who_swaps_certificates_breaks_the_handshake(transport: str) -> None:
    one, two = handshakes(prologue(transport, b"\x01" * 32), prologue(transport, b"\x02" * 32))
    two.read(one.write())
    with pytest.raises(SbdpError, match="handshake_failed"):
        one.read(two.write())


async def test_a_quic_middle_man_with_a_certificate_of_his_own_is_found_out(sides: Sides) -> None:
    from sideband.transport.quic import QuicTransport

    async with await sides.listen("quic://127.0.0.1:0") as server:

        async def between(near: Any) -> None:
            far = await QuicTransport(max_message_bytes=4097).connect(server.address)
            try:
                await far.send(await near.receive())
                await near.send(await far.receive())
                await near.wait_closed()
            finally:
                await far.close()

        async with await QuicTransport(max_message_bytes=4097).listen("quic://127.0.0.1:0", between) as middle:
            peer = sides.dial(middle.address)
            with pytest.raises(SbdpError, match="handshake_failed"):
                await peer.connect()
    assert not sides.peers


def test_a_proof_is_what_was_signed() -> None:
    identity, other = generate_identity_key_pair(), generate_identity_key_pair()
    proof = encode_proof("studio", KEY, HASH, identity, ("x/1",))
    assert decode_proof(proof, KEY, HASH).identity_key == identity.public_key
    fields = msgpack.unpackb(proof)
    swapped = msgpack.packb(fields | {"ed25519": other.public_key})
    for payload, key, hashed in [(swapped, KEY, HASH), (proof, HASH, HASH), (proof, KEY, KEY)]:
        with pytest.raises(SbdpError, match="did not sign"):
            decode_proof(payload, key, hashed)
    assert SIGNATURE_CONTEXT == b"sbdp-v1-identity"


GOOD = {"v": 1, "name": "studio"}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgpack.packb([1]),
        msgpack.packb(GOOD) + b"\x00",
        msgpack.packb(GOOD | {"v": 2}),
        msgpack.packb(GOOD | {"v": 0}),
        msgpack.packb(GOOD | {"v": "1"}),
        msgpack.packb(GOOD | {"v": True}),
        msgpack.packb(GOOD | {"v": 1.0}),
        msgpack.packb({"name": "studio"}),
        msgpack.packb(GOOD | {"more": msgpack.ExtType(5, b"")}),
        msgpack.packb(GOOD | {"more": msgpack.Timestamp(1)}),
        msgpack.packb(GOOD | {"name": "ü" * 128}),
        b"\x82\xa1v\x01\xa4name\xa2\xff\xfe",
        msgpack.packb(GOOD | {"caps": ["x"] * 65}),
        msgpack.packb(GOOD | {"caps": [""]}),
        msgpack.packb({"v": 1}),
        msgpack.packb(GOOD | {"name": ""}),
        msgpack.packb(GOOD | {"name": "x" * 256}),
        msgpack.packb(GOOD | {"name": b"studio"}),
        msgpack.packb(GOOD | {"name": "a\nb"}),
        msgpack.packb(GOOD | {"ed25519": KEY}),
        msgpack.packb(GOOD | {"sig": bytes(64)}),
        msgpack.packb(GOOD | {"ed25519": KEY[:31], "sig": bytes(64)}),
        msgpack.packb(GOOD | {"ed25519": KEY, "sig": bytes(63)}),
        msgpack.packb(GOOD | {"ed25519": KEY, "sig": bytes(64)}),
        msgpack.packb(GOOD | {"caps": "x"}),
        msgpack.packb(GOOD | {"caps": [1]}),
        msgpack.packb(GOOD | {"caps": ["x" * 65]}),
        msgpack.packb({1: 1} | GOOD),
        b"\x80" * 4001,
    ],
)
def test_a_proof_that_is_none_ends_the_handshake(payload: bytes) -> None:
    with pytest.raises(SbdpError, match="handshake_failed"):
        decode_proof(payload, KEY, HASH)


@pytest.mark.parametrize("name", ["x", "x" * 255, "ü" * 127 + "x"])
def test_what_is_not_known_is_passed_over_and_names_have_1_to_255_bytes(name: str) -> None:
    more = {"name": name, "caps": ["y" * 64] + ["z" * 40] * 63, "later": {"v": [1, None, b"x"]}}
    assert decode_proof(msgpack.packb(GOOD | more), KEY, HASH).name == name
    assert decode_proof(encode_proof(name, KEY, HASH, None), KEY, HASH).name == name


@pytest.mark.parametrize("name", ["", "x" * 256, "ü" * 128])
def test_a_name_of_another_size_is_not_sent(name: str) -> None:
    with pytest.raises(ConfigError):
        encode_proof(name, KEY, HASH, None)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_proof_or_an_error(payload: bytes) -> None:
    with contextlib.suppress(SbdpError):
        assert 0 < len(decode_proof(payload, KEY, HASH).name.encode()) <= 255


@given(st.binary(max_size=300), st.booleans(), st.sampled_from([Phase.IDLE, Phase.OFFERED, Phase.TRYING]))
def test_any_bytes_of_the_upgrade_are_a_message_or_nothing(data: bytes, client: bool, phase: Phase) -> None:
    state = Upgrade(client=client, phase=phase)
    state.message(data, 0)
    fields = decode(data)
    assert fields is None or len(fields["id"]) == 16


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"key": bytes(31)},
        {"key": KEY, "c": "tcp://192.0.2.1:1"},
        {"key": KEY, "c": ["tcp://192.0.2.1:1"] * (MAX_CANDIDATES + 1)},
        {"key": KEY, "c": ["x" * 301]},
        {"key": KEY, "c": [1]},
        {"key": KEY, "sdp": b"v=0"},
        {"key": KEY, "sdp": "x" * 16_385},
    ],
)
def test_an_offer_that_is_none_is_ignored(fields: dict[str, Any]) -> None:
    daemon = Upgrade(client=False)
    assert daemon.message(encode("offer", bytes(16), fields), 0) == []
    assert daemon.phase is Phase.IDLE


@pytest.mark.parametrize(
    ("candidate", "dialled"),
    [
        ("tcp://192.0.2.1:4000", True),
        ("tcp://[2001:db8::1]:4000", True),
        ("tcp://10.0.0.1:4000", True),
        ("tcp://127.0.0.1:4000", False),
        ("tcp://[::1]:4000", False),
        ("tcp://localhost:4000", False),
        ("tcp://intranet.example:4000", False),
        ("tcp://0.0.0.0:4000", False),
        ("tcp://255.255.255.255:4000", False),
        ("tcp://224.0.0.1:4000", False),
        ("tcp://169.254.169.254:4000", False),
        ("tcp://[fe80::1]:4000", False),
        ("tcp://192.0.2.1", False),
        ("tcp://192.0.2.1:0", False),
        ("nonsense", False),
        ("tcp://[::1", False),
    ],
)
def test_only_addresses_of_other_machines_are_dialled(candidate: str, dialled: bool) -> None:
    assert may_dial(candidate, DirectPolicy()) is dialled


async def test_a_candidate_that_points_to_a_third_party_gets_the_first_message_and_no_more() -> None:
    got: asyncio.Queue[bytes] = asyncio.Queue()
    with socket.create_server(("127.0.0.1", 0)) as third:
        third.setblocking(False)
        port = third.getsockname()[1]
        policy = DirectPolicy(transports=("tcp",), host_candidates=False, loopback=True)
        ready: list[object] = []
        channels = Channels(bytes(16), policy, client=True, clock=LoopClock(), on_ready=ready.append)
        await channels.gather()
        channels.reach(Offer(KEY, (f"tcp://127.0.0.1:{port}",)))
        loop = asyncio.get_running_loop()
        taken, _ = await loop.sock_accept(third)
        with taken:
            taken.setblocking(False)
            got.put_nowait(await loop.sock_recv(taken, 65536))
            # It answers as if it were the other side, without the key that was announced.
            impostor = SideHandshake(
                DirectIdentity(bytes(16).hex(), NoiseKeyPair.generate()), initiator=False, bound_to=TCP
            )
            first = await got.get()
            assert len(first) == 4 + 1 + 32
            await loop.sock_sendall(taken, framed(impostor.read_first(first[4:])))
            with contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(taken, 65536) == b""
        await channels.close()
        assert not ready


async def test_strangers_at_the_door_of_an_attempt_do_not_keep_the_other_side_out() -> None:
    attempt = bytes(range(16))
    policy = DirectPolicy(transports=("tcp",), loopback=True)
    ready: asyncio.Queue[object] = asyncio.Queue()
    ours = Channels(attempt, policy, client=False, clock=LoopClock(), on_ready=ready.put_nowait)
    theirs = Channels(attempt, policy, client=True, clock=LoopClock(), on_ready=lambda channel: None)
    offer = await ours.gather()
    (local,) = [candidate for candidate in offer.candidates if "127.0.0.1" in candidate]
    port = int(local.rpartition(":")[2])
    strangers = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2 * MAX_INBOUND)]
    ours.reach(Offer((await theirs.gather()).key, ()))
    for reader, _ in strangers[:MAX_INBOUND]:
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    theirs.reach(Offer(offer.key, (local,)))
    await ready.get()
    for _, writer in strangers:
        writer.close()
    await asyncio.gather(ours.close(), theirs.close())


async def test_a_listener_is_not_held_up_by_whoever_sends_nothing(sides: Sides) -> None:
    async with await sides.listen() as server:
        quiet = await TcpTransport().connect(server.address)
        async with sides.dial(server) as peer:
            assert await peer.rpc.call("echo", 2) == 2
        await quiet.close()
