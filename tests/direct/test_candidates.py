"""What another machine can make an attempt dial, and how much of it whoever is there gets."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from aiohttp import web

from sideband._native import NoiseKeyPair
from sideband.direct import DirectPolicy
from sideband.direct.binding import prologue
from sideband.direct.candidates import METADATA_ADDRESSES, acceptable, filtered, may_dial
from sideband.direct.channels import Channels
from sideband.direct.handshake import DirectIdentity, SideHandshake
from sideband.direct.messages import MAX_CANDIDATES, Offer
from sideband.direct.policy import UpgradeTransport
from sideband.errors import ConfigError, TransportError
from sideband.peer.clock import LoopClock
from sideband.transport import Connection
from sideband.transport.quic import QuicTransport
from tests.support.relay_harness import until

ATTEMPT, KEY = bytes(range(16)), bytes(range(32))
FIRST_BYTES = 4 + 1 + 32
"""A handshake's first message on a stream transport: length, type, key."""
USUAL = DirectPolicy()
HERE = DirectPolicy(loopback=True, host_candidates=False)


def channels(transport: UpgradeTransport, ready: list[object]) -> Channels:
    policy = DirectPolicy(transports=(transport,), loopback=True, host_candidates=False)
    return Channels(ATTEMPT, policy, client=True, clock=LoopClock(), on_ready=ready.append)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.1.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[ff02::1]",
        "[fec0::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:192.0.2.1]",
        "[::127.0.0.1]",
        "[2002:7f00:1::1]",
        "[2001:0:7f00:1::1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "metadata.google.internal",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        *(f"[{address}]" if address.version == 6 else str(address) for address in sorted(METADATA_ADDRESSES, key=str)),
    ],
)
def test_what_is_refused(host: str) -> None:
    for scheme in ("tcp", "quic"):
        assert not may_dial(f"{scheme}://{host}:4000", USUAL)
    assert filtered(candidate_line(host.strip("[]")), USUAL) == ""


@pytest.mark.parametrize("host", ["192.0.2.1", "10.1.2.3", "192.168.0.7", "172.16.0.1", "100.64.0.1", "[2001:db8::1]"])
def test_what_is_dialled(host: str) -> None:
    assert may_dial(f"tcp://{host}:4000", USUAL)
    line = candidate_line(host.strip("[]"))
    assert filtered(line, USUAL) == line


@pytest.mark.parametrize(("port", "usual", "open_"), [(0, 0, 0), (1, 0, 1), (1023, 0, 1), (1024, 1, 1), (65_535, 1, 1)])
def test_ports(port: int, usual: bool, open_: bool) -> None:
    assert may_dial(f"tcp://192.0.2.1:{port}", USUAL) is bool(usual)
    assert may_dial(f"tcp://192.0.2.1:{port}", DirectPolicy(privileged_ports=True)) is bool(open_)
    assert bool(filtered(candidate_line("192.0.2.1", port), USUAL)) is bool(usual)


def test_loopback_is_dialled_where_asked() -> None:
    for host in ("127.0.0.1", "[::1]"):
        assert may_dial(f"tcp://{host}:4000", HERE)
    assert not may_dial("tcp://169.254.169.254:4000", HERE)
    assert not may_dial("tcp://[::ffff:127.0.0.1]:4000", HERE)


@pytest.mark.parametrize("most", [1, 3, MAX_CANDIDATES])
def test_no_more_than_so_many_are_dialled(most: int) -> None:
    policy = DirectPolicy(max_candidates=most)
    named = [f"tcp://192.0.2.{number}:4000" for number in range(1, 40)]
    assert acceptable(["ws://192.0.2.1:4000", "tcp://127.0.0.1:4000", *named], policy) == named[:most]
    assert acceptable(named[:most], policy) == named[:most]
    assert acceptable([named[0]] * 40, policy) == named[:1]
    lines = [candidate_line(f"192.0.2.{number}") for number in range(1, 40)]
    assert filtered("v=0\r\n" + "".join(lines) + "a=end\r\n", policy) == "v=0\r\n" + "".join(lines[:most]) + "a=end\r\n"


@pytest.mark.parametrize("most", [0, -1, MAX_CANDIDATES + 1])
def test_a_number_of_candidates_that_cannot_be(most: int) -> None:
    with pytest.raises(ConfigError, match="1 to 16"):
        DirectPolicy(max_candidates=most)


@pytest.mark.parametrize("line", ["a=candidate:\r\n", "a=candidate:1 1 udp 1 192.0.2.1\r\n", " A=CANDIDATE:x\r\n"])
def test_candidates_of_webrtc_that_are_none(line: str) -> None:
    assert filtered("v=0\r\n" + line, USUAL) == "v=0\r\n"


def candidate_line(host: str, port: int = 4000) -> str:
    return f"a=candidate:1 1 udp 2130706431 {host} {port} typ host\r\n"


async def test_a_third_party_by_quic_gets_the_first_message_and_no_more() -> None:
    got = bytearray()
    ended = asyncio.Event()

    async def third(connection: Connection) -> None:
        first = bytes(await connection.receive())
        got.extend(first)
        # It answers as if it were the other side, without the key that was announced.
        identity = DirectIdentity(ATTEMPT.hex(), NoiseKeyPair.generate())
        bound_to = prologue("quic", connection.binding)  # type: ignore[attr-defined]  # QUIC has one
        impostor = SideHandshake(identity, initiator=False, bound_to=bound_to)
        await connection.send(impostor.read_first(first))
        with contextlib.suppress(TransportError):
            while True:
                got.extend(bytes(await connection.receive()))
        ended.set()

    ready: list[object] = []
    async with await QuicTransport(max_message_bytes=4097).listen("quic://127.0.0.1:0", third) as server:
        side = channels("quic", ready)
        await side.gather()
        side.reach(Offer(KEY, (server.address,)))
        await ended.wait()
        await side.close()
    assert (len(got), ready) == (FIRST_BYTES - 4, [])


async def test_a_third_party_that_speaks_no_quic_gets_greetings_until_the_attempt_ends() -> None:
    class Third(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.got: list[bytes] = []

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.got.append(data)

    loop = asyncio.get_running_loop()
    endpoint, third = await loop.create_datagram_endpoint(Third, local_addr=("127.0.0.1", 0))
    ready: list[object] = []
    side = channels("quic", ready)
    await side.gather()
    side.reach(Offer(KEY, (f"quic://127.0.0.1:{endpoint.get_extra_info('sockname')[1]}",)))
    await until(lambda: third.got)
    await side.close()
    # RFC 9000, 17.2.2: long header, type Initial; nothing of ours is in one, as no keys have been agreed on.
    assert all(data[0] & 0xF0 == 0xC0 for data in third.got)
    seen = len(third.got)
    assert seen <= 4
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(third.got) <= seen + 1  # at most its farewell
    endpoint.close()
    assert not ready


async def test_a_third_party_by_tcp_that_says_nothing_gets_the_first_message_and_no_more() -> None:
    got = bytearray()
    came, ended = asyncio.Event(), asyncio.Event()

    async def third(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                got.extend(data)
                came.set()
        writer.close()
        ended.set()

    ready: list[object] = []
    async with await asyncio.start_server(third, "127.0.0.1", 0) as server:
        side = channels("tcp", ready)
        await side.gather()
        side.reach(Offer(KEY, (f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}",)))
        await came.wait()
        await side.close()
        await ended.wait()
    assert (len(got), ready) == (FIRST_BYTES, [])


@pytest.mark.parametrize("scheme", ["ws", "wss", "http", "https", "file", "unix", "udp", ""])
async def test_other_schemes_are_not_dialled(scheme: str) -> None:
    came: list[object] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        came.append(request)
        return web.Response()

    ready: list[object] = []
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"127.0.0.1:{runner.addresses[0][1]}"
    candidate = f"{scheme}://{address}" if scheme else address
    for kind in ("tcp", "quic"):
        side = channels(kind, ready)  # type: ignore[arg-type]  # both are transports of an upgrade
        await side.gather()
        side.reach(Offer(KEY, (candidate,)))
        assert not side._dials
        await side.close()
    await runner.cleanup()
    assert not came
    assert not ready


async def test_a_transport_that_the_policy_leaves_out_is_not_dialled() -> None:
    side = channels("quic", [])
    await side.gather()
    side.reach(Offer(KEY, ("tcp://127.0.0.1:4000",)))
    assert not side._dials
    await side.close()


@pytest.mark.parametrize(("attempt", "key", "counts"), [(ATTEMPT, None, 1), (KEY[:16], KEY, 0), (bytes(16), None, 0)])
async def test_a_channel_counts_by_the_announced_key_and_the_attempt(
    attempt: bytes, key: bytes | None, counts: int
) -> None:
    near: list[object] = []
    far: list[object] = []
    policy = DirectPolicy(transports=("tcp",), loopback=True)
    ours = Channels(ATTEMPT, policy, client=False, clock=LoopClock(), on_ready=near.append)
    theirs = Channels(attempt, policy, client=True, clock=LoopClock(), on_ready=far.append)
    offer, other = await ours.gather(), await theirs.gather()
    (local,) = [candidate for candidate in offer.candidates if "127.0.0.1" in candidate]
    ours.reach(Offer(key or other.key))
    theirs.reach(Offer(offer.key, (local,)))
    await until(lambda: not theirs._dials)
    await until(lambda: not ours._inbound)
    assert len(near) == counts
    await asyncio.gather(ours.close(), theirs.close())


async def test_of_all_channels_that_stand_one_is_kept() -> None:
    near: list[Any] = []
    far: list[Any] = []
    policy = DirectPolicy(transports=("tcp", "quic"), loopback=True)
    ours = Channels(ATTEMPT, policy, client=False, clock=LoopClock(), on_ready=near.append)
    theirs = Channels(ATTEMPT, policy, client=True, clock=LoopClock(), on_ready=far.append)
    offer, other = await ours.gather(), await theirs.gather()
    ours.reach(other)
    theirs.reach(offer)
    await until(lambda: len(far) >= 2 and len(near) >= len(far))
    kept, *others = far
    theirs.keep(kept.id)
    for channel in others:
        await channel.link.connection.wait_closed()
    (same,) = [channel for channel in near if channel.id == kept.id]
    await kept.link.send([b"frame"])
    assert [bytes(frame) for frame in await same.link.receive()] == [b"frame"]
    await asyncio.gather(ours.close(), theirs.close())
