"""Calls: docs/protocol/peer.md, "RPC", and the policy table's rows as a caller sees them."""

from __future__ import annotations

import asyncio
import math
from typing import Any, Protocol

import pytest

from sideband.errors import ConfigError, PeerError, RpcPeerError, SbpError, SidebandError, TransportError
from sideband.peer import ConnectionPolicy, Peer, RetryPolicy, RpcPolicy, rpc_method
from tests.support.manual_clock import settle
from tests.support.memory_world import MemoryWorld

PAUSE = ConnectionPolicy(on_disconnect="pause")
RETRY = RetryPolicy(mode="on-error", jitter=0)


class Gate:
    """A handler that answers when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.started: list[Any] = []
        self.cancelled: list[Any] = []

    async def __call__(self, value: Any) -> Any:
        self.started.append(value)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(value)
            raise
        return value


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def peer(memory: MemoryWorld, gate: Gate) -> Peer:
    def on_connection(peer: Peer) -> None:
        peer.rpc.handle("echo", lambda value: value)
        peer.rpc.handle("gate", gate)

    await memory.listen(on_connection)
    client = memory.client()
    await client.connect()
    return client


async def code_of(call: Any) -> str:
    with pytest.raises(PeerError) as caught:
        await call
    return caught.value.code


@pytest.mark.parametrize("value", [1, -0.5, "text", None, True, [], {"a": [None, {"b": "ü"}]}, b"\x00\xff", {"b": b""}])
async def test_values_come_back_as_they_went(peer: Peer, value: Any) -> None:
    assert await peer.rpc.call("echo", value) == value


async def test_absent_params_are_none(peer: Peer) -> None:
    assert await peer.rpc.call("echo") is None


async def test_many_calls_at_once_are_answered_each_with_its_own(peer: Peer) -> None:
    assert await asyncio.gather(*(peer.rpc.call("echo", n) for n in range(500))) == list(range(500))


async def test_a_slow_handler_holds_up_no_other(peer: Peer, gate: Gate) -> None:
    slow = asyncio.create_task(peer.rpc.call("gate", "slow"))
    assert await peer.rpc.call("echo", "fast") == "fast"
    assert not slow.done()
    gate.open.set()
    assert await slow == "slow"


async def test_both_ends_call_and_answer(memory: MemoryWorld, peer: Peer) -> None:
    @peer.rpc.handle("name")
    def name() -> str:
        return "client"

    assert await memory.peers[0].rpc.call("name") == "client"


async def test_one_handler_per_method_until_it_is_taken_away(peer: Peer) -> None:
    take_away = peer.rpc.handle("x", lambda: 1)
    with pytest.raises(PeerError) as caught:
        peer.rpc.handle("x", lambda: 2)
    assert caught.value.code == "rpc_method_already_registered"
    take_away()
    peer.rpc.handle("x", lambda: 3)
    take_away()
    assert peer.rpc.list_methods() == ["x"]


async def test_list_methods_is_sorted(peer: Peer) -> None:
    for name in ("b", "a", "c.d"):
        peer.rpc.handle(name, lambda: None)
    assert peer.rpc.list_methods() == ["a", "b", "c.d"]


@pytest.mark.parametrize("name", ["", "$sideband/x"])
async def test_the_platform_keeps_its_names(peer: Peer, name: str) -> None:
    with pytest.raises(PeerError):
        peer.rpc.handle(name, lambda: None)


async def test_introspection(memory: MemoryWorld, peer: Peer) -> None:
    def add(a: int, b: int = 0) -> int:
        """Add two numbers.

        More about it.
        """
        return a + b

    memory.peers[0].rpc.handle("add", add)
    listed = await peer.rpc.call("$sideband/rpc.list")
    assert listed == ["$sideband/rpc.describe", "$sideband/rpc.list", "add", "echo", "gate"]
    described = await peer.rpc.call("$sideband/rpc.describe", {"method": "add"})
    assert described == await peer.rpc.call("$sideband/rpc.describe", "add")
    assert described == {
        "method": "add",
        "doc": "Add two numbers.",
        "params": [{"name": "a", "type": "int", "required": True}, {"name": "b", "type": "int", "required": False}],
        "returns": "int",
    }
    with pytest.raises(RpcPeerError) as caught:
        await peer.rpc.call("$sideband/rpc.describe", "nothing")
    assert caught.value.rpc_code == 1101


async def test_a_client_does_not_list_itself_to_the_server(memory: MemoryWorld, peer: Peer) -> None:
    with pytest.raises(RpcPeerError) as caught:
        await memory.peers[0].rpc.call("$sideband/rpc.list")
    assert caught.value.rpc_code == 1101


async def test_timeout(memory: MemoryWorld, peer: Peer, gate: Gate) -> None:
    call = asyncio.create_task(peer.rpc.call("gate", 1))
    await settle()
    await memory.clock.advance(9.99)
    assert not call.done()
    await memory.clock.advance(0.01)
    assert await code_of(call) == "rpc_timeout"
    assert gate.cancelled == [1]
    assert peer.rpc.pending == 0


async def test_timeout_of_one_call(memory: MemoryWorld, peer: Peer) -> None:
    short = asyncio.create_task(peer.rpc.call("gate", 1, timeout=0.5))
    never = asyncio.create_task(peer.rpc.call("gate", 2, timeout=math.inf))
    await settle()
    await memory.clock.advance(0.5)
    assert await code_of(short) == "rpc_timeout"
    await memory.clock.advance(1_000_000)
    assert not never.done()
    never.cancel()
    await asyncio.gather(never, return_exceptions=True)


async def test_a_timeout_runs_only_while_the_session_is_active(memory: MemoryWorld, gate: Gate) -> None:
    await memory.listen(lambda peer: peer.rpc.handle("gate", gate))
    async with memory.client(connection=PAUSE) as peer:
        call = asyncio.create_task(peer.rpc.call("gate", 1))
        await settle()
        await memory.clock.advance(6)
        await memory.pause()
        await memory.clock.advance(500)
        await memory.resume()
        await memory.clock.advance(3.9)
        assert not call.done()
        await memory.clock.advance(0.2)
        assert await code_of(call) == "rpc_timeout"


async def test_cancelling_the_task_cancels_the_call_and_the_handler(peer: Peer, gate: Gate) -> None:
    call = asyncio.create_task(peer.rpc.call("gate", 7))
    await settle()
    call.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await call
    assert isinstance(caught.value.__cause__, PeerError)
    assert caught.value.__cause__.code == "rpc_cancelled"
    await settle()
    assert gate.cancelled == [7]
    assert peer.rpc.pending == 0


async def test_asyncio_timeouts_around_a_call_work(peer: Peer, gate: Gate) -> None:
    deadline = asyncio.timeout(None)

    async def call() -> None:
        async with deadline:
            await peer.rpc.call("gate", 7)

    calling = asyncio.create_task(call())
    await settle()
    deadline.reschedule(0)
    with pytest.raises(TimeoutError):
        await calling
    await settle()
    assert gate.cancelled == [7]


async def test_try_call_never_raises(memory: MemoryWorld, peer: Peer) -> None:
    good = await peer.rpc.try_call("echo", 5)
    assert (good.ok, good.value, good.error, good.reconnected) == (True, 5, None, False)
    bad = await peer.rpc.try_call("missing")
    assert (bad.ok, bad.value, bad.reconnected) == (False, None, False)
    assert isinstance(bad.error, RpcPeerError)
    odd = await peer.rpc.try_call("echo", object())
    assert isinstance(odd.error, SbpError)
    await peer.disconnect()
    closed = await peer.rpc.try_call("echo")
    assert isinstance(closed.error, PeerError)
    assert closed.error.code == "peer_closed"


async def test_try_call_tells_of_a_reconnect(memory: MemoryWorld, gate: Gate) -> None:
    await memory.listen(lambda peer: peer.rpc.handle("echo", lambda value: value))
    peer = memory.client(connection=PAUSE, retry=RETRY)
    first = asyncio.create_task(peer.rpc.try_call("echo", 1))
    await peer.connect()
    assert not (await first).reconnected
    await memory.cut()
    call = asyncio.create_task(peer.rpc.try_call("echo", 2))
    await settle()
    await memory.clock.advance(1)
    result = await call
    assert (result.ok, result.value, result.reconnected) == (True, 2, True)


class Files(Protocol):
    async def list(self) -> list[str]: ...
    async def read(self, path: str) -> str: ...
    async def write(self, path: str, text: str, append: bool = False) -> int: ...
    @rpc_method("fs.remove")
    async def delete(self, path: str) -> None: ...


async def test_a_typed_proxy(memory: MemoryWorld, peer: Peer) -> None:
    seen: list[Any] = []
    far = memory.peers[0].rpc
    far.handle("files.list", lambda: ["a"])
    far.handle("files.read", lambda path: f"<{path}>")

    def write(path: str, text: str, append: bool = False) -> int:
        seen.append((path, text, append))
        return len(text)

    far.handle("files.write", write)
    far.handle("files.fs.remove", seen.append)
    files = peer.rpc.client(Files, prefix="files.")
    assert await files.list() == ["a"]
    assert await files.read("x") == "<x>"
    assert await files.read(path="y") == "<y>"
    assert await files.write("p", text="abc") == 3
    assert await files.write("p", "abcd", append=True) == 4
    await files.delete("gone")
    assert seen == [("p", "abc", False), ("p", "abcd", True), "gone"]
    with pytest.raises(TypeError):
        await files.read()  # type: ignore[call-arg]  # the point of the test
    with pytest.raises(ConfigError):
        peer.rpc.client(int.__class__)


@pytest.mark.parametrize(
    ("params", "fits"),
    [({"a": 1, "b": 2}, True), ({"a": 1}, True), ({}, False), ({"a": 1, "c": 2}, False), ([1, 2], True), (None, False)],
)
async def test_params_are_named_where_a_handler_takes_more_than_one(
    memory: MemoryWorld, peer: Peer, params: Any, fits: bool
) -> None:
    memory.peers[0].rpc.handle("f", lambda a, b=0: [a, b])
    if fits:
        assert await peer.rpc.call("f", params) in ([1, 2], [1, 0], [[1, 2], 0])
    else:
        with pytest.raises(RpcPeerError) as caught:
            await peer.rpc.call("f", params)
        assert caught.value.rpc_code == 2000


# The policy table. A call that was sent, and one that was not, under both policies and both kinds of cut.


@pytest.mark.parametrize("policy", ["fail", "pause"])
async def test_connection_lost_fails_what_was_sent(memory: MemoryWorld, gate: Gate, policy: Any) -> None:
    await memory.listen(lambda peer: peer.rpc.handle("gate", gate))
    peer = memory.client(connection=ConnectionPolicy(on_disconnect=policy), retry=RETRY)
    await peer.connect()
    sent = asyncio.create_task(peer.rpc.call("gate", 1))
    await settle()
    await memory.cut()
    assert await code_of(sent) == "not_connected"
    assert gate.started == [1]
    assert peer.state == "reconnecting"


async def test_fail_policy_fails_calls_at_once_on_a_pause_and_during_it(memory: MemoryWorld, gate: Gate) -> None:
    await memory.listen(lambda peer: peer.rpc.handle("gate", gate))
    async with memory.client() as peer:
        sent = asyncio.create_task(peer.rpc.call("gate", 1))
        await settle()
        await memory.pause()
        assert await code_of(sent) == "not_connected"
        assert await code_of(peer.rpc.call("gate", 2)) == "not_connected"
        await memory.resume()
        assert gate.cancelled == [1]
        gate.open.set()
        assert await peer.rpc.call("gate", 3) == 3
        assert gate.started == [1, 3]


async def test_pause_policy_keeps_what_was_sent_and_queues_the_rest(memory: MemoryWorld, gate: Gate) -> None:
    await memory.listen(lambda peer: peer.rpc.handle("gate", gate))
    async with memory.client(connection=PAUSE) as peer:
        sent = asyncio.create_task(peer.rpc.call("gate", 1))
        await settle()
        await memory.pause()
        queued = asyncio.create_task(peer.rpc.call("gate", 2))
        await settle()
        assert not sent.done()
        assert gate.started == [1]
        gate.open.set()
        await memory.resume()
        assert await asyncio.gather(sent, queued) == [1, 2]
        assert gate.started == [1, 2]


async def test_pause_policy_sends_queued_calls_in_a_new_session(memory: MemoryWorld) -> None:
    await memory.listen(lambda peer: peer.rpc.handle("echo", lambda value: value))
    peer = memory.client(connection=PAUSE, retry=RETRY)
    early = asyncio.create_task(peer.rpc.call("echo", "before connect"))
    await settle()
    await peer.connect()
    assert await early == "before connect"
    await memory.cut()
    late = asyncio.create_task(peer.rpc.call("echo", "while away"))
    await settle()
    await memory.clock.advance(1)
    assert await late == "while away"


async def test_a_call_sent_before_the_cut_is_not_sent_again(memory: MemoryWorld, gate: Gate) -> None:
    await memory.listen(lambda peer: peer.rpc.handle("gate", gate))
    peer = memory.client(connection=PAUSE, retry=RETRY)
    await peer.connect()
    call = asyncio.create_task(peer.rpc.call("gate", 1))
    await settle()
    await memory.cut()
    await memory.clock.advance(1)
    assert peer.state == "active"
    assert await code_of(call) == "not_connected"
    assert gate.started == [1]


async def test_the_queue_of_calls_has_its_limit_at_the_byte(memory: MemoryWorld) -> None:
    await memory.listen()
    envelope = len('{"t":"r","m":"m","cid":"' + "0" * 32 + '","p":""}')
    peer = memory.client(connection=PAUSE, rpc=RpcPolicy(disconnect_buffer_limit=1_000))
    fits = asyncio.create_task(peer.rpc.call("m", "x" * (1_000 - envelope)))
    await settle()
    assert not fits.done()
    assert await code_of(peer.rpc.call("m")) == "buffer_overflow"
    fits.cancel()
    await asyncio.gather(fits, return_exceptions=True)
    over = peer.rpc.call("m", "x" * (1_001 - envelope))
    assert await code_of(over) == "buffer_overflow"
    assert peer.rpc.pending == 0


async def test_without_a_session_the_fail_policy_fails(memory: MemoryWorld) -> None:
    peer = memory.client()
    assert await code_of(peer.rpc.call("m")) == "not_connected"
    await peer.disconnect()
    assert await code_of(peer.rpc.call("m")) == "peer_closed"


async def test_closing_fails_everything_under_way(peer: Peer) -> None:
    call = asyncio.create_task(peer.rpc.call("gate", 1))
    await settle()
    await peer.disconnect()
    assert await code_of(call) == "peer_closed"


async def test_giving_up_fails_what_waited(memory: MemoryWorld) -> None:
    peer = memory.client(connection=PAUSE, retry=RetryPolicy(mode="on-error", jitter=0, max_attempts=1))
    waiting = asyncio.create_task(peer.rpc.call("m"))
    peer.start()
    await settle()
    assert not waiting.done()
    await memory.clock.advance(1)
    assert await code_of(waiting) == "not_connected"
    assert isinstance(peer.error, TransportError)


async def test_a_handler_may_close_its_own_peer(memory: MemoryWorld, peer: Peer) -> None:
    far = memory.peers[0]

    async def leave() -> str:
        await far.disconnect()
        return "never seen"

    far.rpc.handle("leave", leave)
    with pytest.raises(SidebandError):
        await peer.rpc.call("leave")
    assert far.closed
    await settle()
    assert peer.closed
