"""Bad input, each with the exact code and outcome of docs/protocol/sbp.md: the session goes on, or it closes."""

from __future__ import annotations

import asyncio
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from sideband._native import sbp_encode_error
from sideband.errors import PeerError, RpcPeerError, SbpError
from sideband.peer import Peer, PeerOptions, RequestBudget, RetryPolicy, RpcPolicy, create_peer, listen
from sideband.peer.request_budget import REQUEST_OVERHEAD
from sideband.transport import Connection, MemoryTransport
from tests.support.manual_clock import settle
from tests.support.memory_world import ENDPOINT, MemoryWorld
from tests.support.raw_end import CID, Raw, control, handshake, message, request
from tests.support.relay_harness import World, until

HEADER = bytes(16)
MALFORMED = {
    "empty": (b"", 1002),
    "one byte": (b"\x01", 1002),
    "unknown kind": (b"\x04\x00" + HEADER, 1002),
    "reserved flag": (b"\x01\x02" + HEADER + b"\x03\x00\x00\x00rpc{}", 1002),
    "all flags": (b"\x01\xff" + HEADER, 1002),
    "no frame id": (b"\x01\x00" + HEADER[:15], 1002),
    "no timestamp": (b"\x01\x01" + HEADER + b"\x00\x00", 1002),
    "control without op": (b"\x00\x00" + HEADER, 1002),
    "unknown op": (b"\x00\x00" + HEADER + b"\x09", 1002),
    "subject longer than the frame": (b"\x01\x00" + HEADER + b"\xff\xff\xff\xffrpc", 1002),
    "subject not UTF-8": (b"\x01\x00" + HEADER + b"\x02\x00\x00\x00\xff\xfe", 1000),
    "subject with a BOM": (b"\x01\x00" + HEADER + b"\x06\x00\x00\x00\xef\xbb\xbfrpc", 1000),
    "subject unknown": (b"\x01\x00" + HEADER + b"\x05\x00\x00\x00other{}", 1000),
    "subject empty": (b"\x01\x00" + HEADER + b"\x00\x00\x00\x00", 1000),
    "subject over 256 bytes": (b"\x01\x00" + HEADER + struct.pack("<I", 257) + b"app/" + b"x" * 253, 1000),
    "ack too short": (b"\x02\x00" + HEADER + bytes(15), 1002),
    "error without length": (b"\x03\x00" + HEADER + b"\x00", 1002),
}


@pytest.mark.parametrize(("frame", "code"), MALFORMED.values(), ids=MALFORMED)
async def test_a_malformed_frame_is_told_and_closes(open_raw: Raw, frame: bytes, code: int) -> None:
    await open_raw.send(frame)
    assert await open_raw.error_code() == code
    await open_raw.is_closed()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (request("echo"), 1000),
        (control(1), 1000),
        (b"\x09", 1002),
        (handshake(protocol="other"), 1001),
        (handshake(version="2"), 1001),
        (handshake(peerId=7), 1002),
        (handshake(peerId="x" * 256), 1002),
        (control(0, b"not json"), 1002),
        (control(0, b"[]"), 1002),
    ],
    ids=[
        "a request first",
        "a ping first",
        "an unknown kind",
        "another protocol",
        "another version",
        "a peer id that is a number",
        "a peer id over 255 bytes",
        "no JSON",
        "a JSON list",
    ],
)
async def test_before_and_in_the_handshake(raw: Raw, frame: bytes, code: int) -> None:
    await raw.send(frame)
    assert await raw.error_code() == code
    await raw.is_closed()


async def test_a_handshake_over_8_kib(raw: Raw) -> None:
    await raw.send(b"\x00\x00" + HEADER + b"\x00" + b" " * 8_193)
    assert await raw.error_code() == 1000
    await raw.is_closed()


async def test_a_second_handshake_closes(open_raw: Raw) -> None:
    await open_raw.send(handshake())
    assert await open_raw.error_code() == 1000
    await open_raw.is_closed()


async def test_a_frame_over_1_mib_closes(memory: MemoryWorld) -> None:
    memory.transport = MemoryTransport(max_message_bytes=4 * 1024 * 1024)
    await memory.listen(lambda peer: peer.rpc.handle("echo", lambda value: value))
    raw = Raw(await memory.transport.connect(ENDPOINT), memory)
    await raw.send(handshake())
    await raw.frame()
    await raw.send(message("app/x", bytes(1024 * 1024)))
    assert await raw.error_code() == 1000
    await raw.is_closed()


ON_THE_WRONG_SUBJECT = {
    "notification on rpc": ("rpc", {"t": "N", "e": "x", "cid": CID.hex()}),
    "request on event": ("event", {"t": "r", "m": "echo", "cid": CID.hex()}),
    "response on event": ("event", {"t": "R", "cid": CID.hex(), "result": 1}),
    "error on event": ("event", {"t": "E", "cid": CID.hex(), "code": 1, "message": "m"}),
    "unknown kind": ("rpc", {"t": "Z", "cid": CID.hex()}),
    "request without method": ("rpc", {"t": "r", "cid": CID.hex()}),
}


@pytest.mark.parametrize("case", ON_THE_WRONG_SUBJECT.values(), ids=ON_THE_WRONG_SUBJECT)
async def test_an_envelope_on_the_wrong_subject_is_answered_1100(open_raw: Raw, case: tuple[str, Any]) -> None:
    await open_raw.send(message(*case))
    answer = await open_raw.envelope()
    assert (answer["t"], answer["cid"], answer["code"]) == ("E", CID.hex(), 1100)
    await open_raw.answers()


@pytest.mark.parametrize(
    "data", [b"", b"not json", b"[]", b'{"t":"r","m":"x"}', b'{"t":"r","m":"x","cid":"short"}', b"\xff"]
)
async def test_a_broken_envelope_on_rpc_without_a_cid_is_answered_1002_and_the_session_goes_on(
    open_raw: Raw, data: bytes
) -> None:
    await open_raw.send(message("rpc", data))
    assert await open_raw.error_code() == 1002
    await open_raw.answers()


@pytest.mark.parametrize(
    "data", [b"", b"not json", b'{"t":"N"}', b'{"t":"N","e":7}', b'{"t":"N","e":"a..b"}', b'{"t":"X"}']
)
async def test_a_broken_envelope_on_event_is_dropped(open_raw: Raw, data: bytes) -> None:
    got: list[Any] = []
    open_raw.peer.events.on_pattern(">", got.append)
    await open_raw.send(message("event", data))
    await open_raw.answers()
    assert got == []


async def test_the_reserved_stream_subject_is_1003_and_the_session_goes_on(open_raw: Raw) -> None:
    await open_raw.send(message("stream", b"x"))
    assert await open_raw.error_code() == 1003
    await open_raw.answers()


async def test_an_extension_that_is_not_agreed_is_1003(open_raw: Raw) -> None:
    await open_raw.send(message("app/sb.resume.v1", b"\x00" * 9))
    assert await open_raw.error_code() == 1003
    await open_raw.answers()


@pytest.mark.parametrize("kind", ["R", "E"])
async def test_a_response_without_a_request_is_dropped(open_raw: Raw, kind: str) -> None:
    await open_raw.send(message("rpc", {"t": kind, "cid": CID.hex(), "result": 1, "code": 1, "message": "m"}))
    await open_raw.answers()


async def test_acks_are_ignored_and_pings_answered(open_raw: Raw) -> None:
    await open_raw.send(b"\x02\x00" + HEADER + HEADER, control(1))
    assert (await open_raw.frame()).op == 2
    await open_raw.answers()


async def test_an_error_frame_that_is_not_fatal_is_reported(open_raw: Raw) -> None:
    await open_raw.send(sbp_encode_error(HEADER, 1003, "no such feature"))
    await open_raw.answers()
    (error,) = open_raw.world.unhandled
    assert isinstance(error, SbpError)
    assert error.code == 1003


async def test_a_fatal_error_frame_closes(open_raw: Raw) -> None:
    await open_raw.send(sbp_encode_error(HEADER, 1000, "you broke it"))
    await open_raw.is_closed()


async def test_a_missing_method_is_1101(open_raw: Raw) -> None:
    await open_raw.send(request("nothing"))
    assert (await open_raw.envelope())["code"] == 1101
    await open_raw.answers()


async def test_one_cid_for_two_calls_is_1102(open_raw: Raw) -> None:
    release = asyncio.Event()

    async def wait(_value: Any) -> int:
        await release.wait()
        return 1

    open_raw.peer.rpc.handle("wait", wait)
    await open_raw.send(request("wait"), request("wait"))
    assert (await open_raw.envelope())["code"] == 1102
    assert open_raw.peer.rpc.handlers.running == 1
    release.set()
    assert (await open_raw.envelope())["result"] == 1


class OwnCodeError(Exception):
    rpc_code = 4_711


class OddCodeError(Exception):
    rpc_code = "x"


def raising(error: BaseException) -> Any:
    def handler() -> None:
        raise error

    return handler


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (RuntimeError("it broke"), 2000, "it broke"),
        (RuntimeError(), 2000, "RuntimeError"),
        (OwnCodeError("mine"), 4_711, "mine"),
        (OddCodeError("odd"), 2000, "odd"),
        (RpcPeerError(2_345, "as is", {"more": 1}), 2_345, "as is"),
        (FileNotFoundError(2, "No such file or directory", "/srv/secret/plan.txt"), 2000, "No such file or directory"),
        (ValueError("cannot read '/srv/data/a b.txt' today"), 2000, None),
        (ValueError(f"cannot read {Path.cwd() / 'x.txt'}"), 2000, "cannot read <path>"),
        (ValueError(r"cannot read C:\Users\ada\x.txt"), 2000, "cannot read <path>"),
        (
            ValueError("see https://example.com/a/b and 1/2 and and/or"),
            2000,
            "see https://example.com/a/b and 1/2 and and/or",
        ),
        (ValueError("x" * 5_000), 2000, "x" * 1_024),
        (asyncio.CancelledError(), 2000, "the handler was cancelled"),
    ],
)
async def test_a_handler_that_raises(
    open_raw: Raw, error: Any, code: int, text: str | None, asynchronous: bool
) -> None:
    async def handler() -> None:
        raise error

    if isinstance(error, asyncio.CancelledError) and not asynchronous:
        return
    open_raw.peer.rpc.handle("bad", handler if asynchronous else raising(error))
    await open_raw.send(request("bad"))
    answer = await open_raw.envelope()
    assert (answer["t"], answer["code"]) == ("E", code)
    assert text is None or answer["message"] == text
    assert "/srv" not in answer["message"]
    assert answer.get("data") == (error.data if isinstance(error, RpcPeerError) else None)
    await open_raw.answers()


@pytest.mark.parametrize("result", [object(), {1, 2}, float("nan"), lambda: 1])
async def test_a_result_that_cannot_be_encoded(open_raw: Raw, result: Any) -> None:
    open_raw.peer.rpc.handle("bad", lambda: result)
    await open_raw.send(request("bad"))
    answer = await open_raw.envelope()
    assert (answer["code"], answer["data"]) == (2000, {"cause": "invalid_result"})
    await open_raw.answers()


async def test_error_data_that_cannot_be_encoded(open_raw: Raw) -> None:
    open_raw.peer.rpc.handle("bad", raising(RpcPeerError(2_222, "with odd data", object())))
    await open_raw.send(request("bad"))
    answer = await open_raw.envelope()
    assert (answer["code"], answer["message"], "data" in answer) == (2000, "with odd data", False)
    await open_raw.answers()


async def test_a_handler_that_never_returns_ends_with_its_caller(memory: MemoryWorld) -> None:
    ended: list[str] = []

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    await memory.listen(lambda peer: peer.rpc.handle("never", never))
    async with memory.client() as peer:
        call = asyncio.create_task(peer.rpc.call("never"))
        await settle()
        await memory.clock.advance(10)
        with pytest.raises(PeerError) as caught:
            await call
        assert caught.value.code == "rpc_timeout"
        assert ended == ["cancelled"]
        left = asyncio.create_task(peer.rpc.try_call("never"))
        await settle()
    await until(lambda: ended == ["cancelled", "cancelled"])
    assert not (await left).ok


async def test_ten_thousand_calls_at_once(memory: MemoryWorld) -> None:
    full = asyncio.Event()

    async def wait(value: int) -> int:
        handlers = memory.peers[0].rpc.handlers
        assert handlers.running <= 1_024
        if (handlers.running, handlers.waiting) == (1_024, 10_000 - 1_024):
            full.set()
        await full.wait()
        return value

    await memory.listen(lambda peer: peer.rpc.handle("wait", wait))
    async with memory.client() as peer:
        calls = [asyncio.create_task(peer.rpc.call("wait", n)) for n in range(10_000)]
        await until(lambda: memory.peers[0].rpc.handlers.waiting == 10_000 - 1_024)
        full.set()
        assert await asyncio.gather(*calls) == list(range(10_000))


@pytest.mark.parametrize(("policy", "accepted"), [({"max_waiting_requests": 3}, 5), ({"max_waiting_bytes": 300}, 5)])
async def test_overload_is_2001_at_the_limit(memory: MemoryWorld, policy: dict[str, int], accepted: int) -> None:
    release = asyncio.Event()

    async def wait(_value: Any) -> str:
        await release.wait()
        return "done"

    options = memory.options(rpc=RpcPolicy(max_running_handlers=2, **policy))
    await memory.listen(lambda peer: peer.rpc.handle("wait", wait), options=options)
    size = 18 + 4 + 3 + len('{"t":"r","m":"wait","cid":"' + "0" * 32 + '","p":""}')
    async with memory.client() as peer:
        calls = [asyncio.create_task(peer.rpc.try_call("wait", "x" * (100 - size))) for _ in range(accepted + 2)]
        await until(lambda: sum(call.done() for call in calls) == 2)
        handlers = memory.peers[0].rpc.handlers
        assert (handlers.running, handlers.waiting) == (2, 3)
        release.set()
        results = await asyncio.gather(*calls)
    assert [result.ok for result in results] == [True] * accepted + [False] * 2
    for result in results[accepted:]:
        assert isinstance(result.error, RpcPeerError)
        assert result.error.rpc_code == 2001


async def test_all_sessions_together_hold_so_much_and_no_more(memory: MemoryWorld) -> None:
    release = asyncio.Event()

    async def wait(_value: Any) -> str:
        await release.wait()
        return "done"

    def serve(peer: Peer) -> None:
        peer.rpc.handle("wait", wait)
        peer.rpc.handle("at_once", lambda: "done")

    size = 18 + 4 + 3 + len('{"t":"r","m":"wait","cid":"' + "0" * 32 + '","p":""}')
    padding = "x" * (100 - size)
    budget = RequestBudget(4 * (100 + REQUEST_OVERHEAD))
    options = memory.options(rpc=RpcPolicy(max_running_handlers=2), request_budget=budget)
    await memory.listen(serve, options=options)
    async with memory.client() as one, memory.client() as two:
        ours = [asyncio.create_task(one.rpc.call("wait", padding)) for _ in range(3)]
        theirs = [asyncio.create_task(two.rpc.call("wait", padding))]
        await until(lambda: budget.held == budget.limit)
        for method, params in (("wait", padding), ("at_once", None)):
            refused = await two.rpc.try_call(method, params)
            assert isinstance(refused.error, RpcPeerError)
            assert refused.error.rpc_code == 2001
        ours.pop().cancel()
        await until(lambda: budget.held < budget.limit)
        assert await two.rpc.call("at_once") == "done"
        assert (await two.rpc.try_call("missing")).error is not None
        assert budget.held == budget.limit - 100 - REQUEST_OVERHEAD
        release.set()
        assert await asyncio.gather(*ours, *theirs) == ["done"] * 3
        await until(lambda: budget.held == 0)


async def test_what_a_lost_session_held_is_given_back(memory: MemoryWorld) -> None:
    budget = RequestBudget()
    options = memory.options(rpc=RpcPolicy(max_running_handlers=1), request_budget=budget)
    await memory.listen(lambda peer: peer.rpc.handle("wait", asyncio.Event().wait), options=options)
    async with memory.client() as peer:
        calls = [asyncio.create_task(peer.rpc.try_call("wait")) for _ in range(3)]
        await until(lambda: memory.peers[0].rpc.handlers.waiting == 2)
        assert budget.held > 3 * REQUEST_OVERHEAD
    await until(lambda: budget.held == 0)
    assert not any(result.ok for result in await asyncio.gather(*calls))


async def test_a_cancelled_request_leaves_the_queue(memory: MemoryWorld) -> None:
    release, started = asyncio.Event(), list[int]()

    async def wait(value: int) -> int:
        started.append(value)
        await release.wait()
        return value

    options = memory.options(rpc=RpcPolicy(max_running_handlers=1))
    await memory.listen(lambda peer: peer.rpc.handle("wait", wait), options=options)
    async with memory.client() as peer:
        calls = [asyncio.create_task(peer.rpc.call("wait", n)) for n in range(3)]
        await until(lambda: memory.peers[0].rpc.handlers.waiting == 2)
        calls[1].cancel()
        await until(lambda: memory.peers[0].rpc.handlers.waiting == 1)
        release.set()
        assert await asyncio.gather(calls[0], calls[2]) == [0, 2]
        assert started == [0, 2]
        await asyncio.gather(calls[1], return_exceptions=True)


FIVE_MIB = 5 * 1024 * 1024


async def test_a_large_result_without_frag_is_refused_before_sending(memory: MemoryWorld) -> None:
    await memory.listen(
        lambda peer: peer.rpc.handle("big", lambda: "x" * FIVE_MIB), options=memory.options(capabilities=())
    )
    async with memory.client() as peer:
        with pytest.raises(RpcPeerError) as caught:
            await peer.rpc.call("big")
        assert caught.value.rpc_code == 2000
        assert caught.value.data == {"cause": "message_too_large"}
        for send in (peer.rpc.call("m", "x" * FIVE_MIB), _emit(peer, "x" * FIVE_MIB)):
            with pytest.raises(PeerError) as refused:
                await send
            assert refused.value.code == "message_too_large"
        assert peer.ready


async def _emit(peer: Peer, data: Any) -> None:
    peer.events.emit("big", data)


@pytest.mark.parametrize("value", ["x" * FIVE_MIB, b"\x00\xff" * (FIVE_MIB // 2)], ids=["text", "bytes"])
async def test_a_large_result_with_frag_arrives(world: World, value: Any) -> None:
    await world.daemon(lambda peer: peer.rpc.handle("big", lambda given: [len(given), value]))
    async with world.client() as peer:
        big = asyncio.create_task(peer.rpc.call("big", value))
        small = [asyncio.create_task(peer.rpc.try_call("missing")) for _ in range(5)]
        await asyncio.gather(*small)
        assert await big == [len(value), value]


async def test_over_16_mib_is_refused_even_with_frag(world: World) -> None:
    await world.daemon(lambda _peer: None)
    async with world.client() as peer:
        with pytest.raises(PeerError) as caught:
            await peer.rpc.call("big", b"x" * (16 * 1024 * 1024))
        assert caught.value.code == "message_too_large"


async def test_the_retry_policy_brings_a_session_back_only_where_that_helps(memory: MemoryWorld) -> None:
    """A server that breaks the protocol is not tried again; one that is out of room is."""
    for code, state in ((1000, "closed"), (2001, "reconnecting")):

        async def serve(connection: Connection, code: int = code) -> None:
            await connection.receive()
            await connection.send_many([handshake(), sbp_encode_error(HEADER, code, "x")])
            if code == 2001:
                await connection.close(1011)
            await connection.wait_closed()

        listener = await memory.transport.listen(ENDPOINT, serve)
        retry = RetryPolicy(mode="on-error", jitter=0)
        peer = create_peer(ENDPOINT, transport=memory.transport, options=memory.options(retry=retry))
        peer.start()
        await settle()
        assert peer.state == state
        await peer.disconnect()
        await listener.close()


async def test_what_comes_before_admission_is_held_to_a_bound(memory: MemoryWorld) -> None:
    deciding = asyncio.Event()

    async def authorize(_identity: Any) -> bool:
        await deciding.wait()
        return True

    server = await listen(
        ENDPOINT,
        lambda peer: peer.rpc.handle("echo", lambda value: value),
        transport=memory.transport,
        options=memory.options(),
        authorize=authorize,
    )
    memory.server = server
    polite, rude = [Raw(await memory.transport.connect(ENDPOINT), memory) for _ in range(2)]
    await polite.send(handshake(), request("echo", p=1))
    await rude.send(handshake(), *(request("echo", os.urandom(16)) for _ in range(300)))
    assert [frame async for frame in rude.connection][1:] == []
    assert server.connections == ()
    deciding.set()
    assert (await polite.frame()).op == 0
    assert (await polite.envelope())["result"] == 1
    await server.close()
    assert PeerOptions().limits.unfinished_frames == 4
