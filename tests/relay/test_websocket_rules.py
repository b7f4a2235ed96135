"""RFC 6455 on the wire: what the relay answers to a client that keeps the rules, bends them or breaks them."""

import asyncio
import base64
import hashlib
import os
import struct
from contextlib import asynccontextmanager

import pytest

from sideband._native import encode_data, encode_ping, encode_pong, encode_signal
from sideband.errors import SbrpErrorCode as Code

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
FRAME = encode_data(1, bytes(range(40)))


class Wire:
    """A client's end of a WebSocket, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, first: int, payload: bytes = b"", *, mask: bytes | None = None, header: bytes | None = None) -> None:
        self.writer.write(frame(first, payload, mask=mask, header=header))

    async def read(self) -> tuple[int, bytes]:
        first, size = await self.reader.readexactly(2)
        assert not size & 0x80, "a server's frames are not masked"
        if size == 126:
            size = int.from_bytes(await self.reader.readexactly(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.reader.readexactly(8), "big")
        return first, await self.reader.readexactly(size)

    async def closed_with(self) -> int:
        """Return the code of the close frame that is next, answer it, and see the relay hang up."""
        first, payload = await self.read()
        assert first == 0x88
        self.send(0x88, payload[:2])
        assert await self.reader.read() == b""
        return int.from_bytes(payload[:2], "big")


def frame(first: int, payload: bytes = b"", *, mask: bytes | None = None, header: bytes | None = None) -> bytes:
    mask = os.urandom(4) if mask is None else mask
    size = len(payload)
    if header is None and size < 126:
        header = bytes((0x80 | size,))
    elif header is None:
        header = struct.pack("!BH", 0xFE, size) if size < 65_536 else struct.pack("!BQ", 0xFF, size)
    repeated = (mask * (size // 4 + 1))[:size]
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
    return bytes((first,)) + header + mask + body


def request(token: str, **changed: str | None) -> bytes:
    headers: dict[str, str | None] = {
        "Host": "relay.example",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Authorization": f"Bearer {token}",
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return ("GET / HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode()


@asynccontextmanager
async def opened(running, wire: bytes):
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(wire)
    try:
        yield Wire(reader, writer), await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.transport.abort()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


@pytest.fixture
async def daemon(running):
    return await running.daemon()


@pytest.fixture
async def client(running, daemon):
    async with opened(running, request(running.issuer.client(sid=1))) as (wire, head):
        assert head.startswith(b"HTTP/1.1 101 ")
        yield wire


async def test_the_answer_to_the_handshake(running) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    async with opened(running, request(running.issuer.daemon(), Sec_WebSocket_Key=key)) as (_, head):
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID, usedforsecurity=False).digest())
        status, *lines = head.rstrip().split(b"\r\n")
        assert status == b"HTTP/1.1 101 Switching Protocols"
        headers = dict(line.split(b": ", 1) for line in lines)
        assert headers == {b"Upgrade": b"websocket", b"Connection": b"Upgrade", b"Sec-WebSocket-Accept": accept}


@pytest.mark.parametrize(
    "changed",
    [{"Connection": "keep-alive, Upgrade"}, {"Upgrade": "WebSocket"}, {"Connection": "upgrade"}],
    ids=["a list", "capitals", "no capitals"],
)
async def test_handshakes_that_are_fine(running, changed) -> None:
    async with opened(running, request(running.issuer.daemon(), **changed)) as (wire, head):
        assert head.startswith(b"HTTP/1.1 101 ")
        wire.send(0x89, b"?")
        assert await wire.read() == (0x8A, b"?")


@pytest.mark.parametrize(
    "changed",
    [
        {"Upgrade": "h2c"},
        {"Connection": "close"},
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Version": None},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAAA="},
        {"Sec_WebSocket_Key": "AAAA"},
        {"Sec_WebSocket_Key": "!" * 24},
        {"Sec_WebSocket_Key": "ü" * 12},
    ],
)
async def test_handshakes_that_are_not(running, changed) -> None:
    async with opened(running, request(running.issuer.daemon(), **changed)) as (_, head):
        assert head.startswith(b"HTTP/1.1 400 ")
    assert not running.relay.connections


async def test_a_protocol_offered_is_not_chosen_and_not_logged(running, caplog) -> None:
    async with opened(running, request(running.issuer.daemon(), Sec_WebSocket_Protocol="secret")) as (_, head):
        assert b"sec-websocket-protocol" not in head.lower()
    assert "secret" not in caplog.text


@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_bytes_behind_the_handshake_are_not_lost(running, daemon, pieces: int) -> None:
    wire = request(running.issuer.client(sid=1)) + frame(0x82, FRAME) * 3
    step = len(wire) // pieces + 1
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    for start in range(0, len(wire), step):
        writer.write(wire[start : start + step])
        await asyncio.sleep(0)
    for _ in range(3):
        assert await daemon.receive() == FRAME
    writer.transport.abort()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    assert (await reader.read()).startswith(b"HTTP/1.1 101 ") or reader.exception()


@pytest.mark.parametrize("mask", [bytes(4), b"\xff\xff\xff\xff", b"\x01\x00\x00\x80"])
async def test_every_mask_is_taken_off(client, daemon, mask: bytes) -> None:
    for size in (28, 31, 32, 33, 63, 64, 65, 100):
        client.send(0x82, encode_data(1, bytes(range(size))), mask=mask)
        assert await daemon.receive() == encode_data(1, bytes(range(size)))


async def test_a_frame_without_a_mask_is_1002(client) -> None:
    client.writer.write(b"\x82" + bytes((len(FRAME),)) + FRAME)
    assert await client.closed_with() == 1002


@pytest.mark.parametrize("size", [28, 125 - 13, 126 - 13, 65_535 - 13, 65_536 - 13, 65_536])
async def test_every_length_goes_both_ways(running, client, daemon, size: int) -> None:
    message = encode_data(1, os.urandom(size))
    client.send(0x82, message)
    assert await daemon.receive() == message
    await daemon.send(message)
    assert await client.read() == (0x82, message)


@pytest.mark.parametrize("header", [b"\xfe\x00\x35", b"\xff" + (53).to_bytes(8, "big"), b"\xff\x80" + bytes(7)])
async def test_a_length_in_a_longer_form_than_needed_is_1002(client, header: bytes) -> None:
    client.send(0x82, FRAME, header=header)
    assert await client.closed_with() == 1002


@pytest.mark.parametrize("first", [0xC2, 0xA2, 0x92, 0xF2, 0xC9, 0xA8, 0x9A])
async def test_reserved_bits_are_1002(client, first: int) -> None:
    client.send(first, FRAME)
    assert await client.closed_with() == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_unknown_opcodes_are_1002(client, opcode: int) -> None:
    client.send(0x80 | opcode)
    assert await client.closed_with() == 1002


@pytest.mark.parametrize("size", [0, 1, 125])
async def test_a_ping_is_answered_with_its_payload(client, size: int) -> None:
    payload = os.urandom(size)
    client.send(0x89, payload)
    assert await client.read() == (0x8A, payload)


async def test_pings_are_answered_in_their_order(client) -> None:
    client.writer.write(b"".join(frame(0x89, bytes([n])) for n in range(10)))
    assert [await client.read() for _ in range(10)] == [(0x8A, bytes([n])) for n in range(10)]


async def test_pongs_nobody_asked_for_are_ignored(client, daemon) -> None:
    client.send(0x8A)
    client.send(0x8A, b"unasked")
    client.send(0x82, FRAME)
    assert await daemon.receive() == FRAME


@pytest.mark.parametrize("first", [0x88, 0x89, 0x8A])
async def test_a_long_control_frame_is_1002(client, first: int) -> None:
    client.send(first, bytes(126))
    assert await client.closed_with() == 1002


@pytest.mark.parametrize("first", [0x08, 0x09, 0x0A])
async def test_a_control_frame_in_fragments_is_1002(client, first: int) -> None:
    client.send(first)
    assert await client.closed_with() == 1002


async def test_fragments_with_control_frames_in_between_are_one_message(client, daemon) -> None:
    client.send(0x02, FRAME[:1])
    client.send(0x89, b"now")
    assert await client.read() == (0x8A, b"now")
    client.send(0x00)
    client.send(0x8A)
    client.send(0x00, FRAME[1:20])
    client.send(0x80, FRAME[20:])
    client.send(0x82, FRAME)
    assert [await daemon.receive(), await daemon.receive()] == [FRAME, FRAME]


@pytest.mark.parametrize("first", [0x00, 0x80])
async def test_a_continuation_of_nothing_is_1002(client, first: int) -> None:
    client.send(first, FRAME)
    assert await client.closed_with() == 1002


@pytest.mark.parametrize("first", [0x02, 0x82])
async def test_a_new_message_amid_another_is_1002(client, first: int) -> None:
    client.send(0x02, FRAME[:10])
    client.send(first, FRAME)
    assert await client.closed_with() == 1002


@pytest.mark.parametrize("first", [0x81, 0x01])
async def test_text_is_1003_and_the_close_behind_it_is_heard(client, first: int) -> None:
    client.send(first, "grüße".encode())
    client.send(0x82, FRAME)
    assert await client.closed_with() == 1003


async def test_a_message_too_long_is_1009_before_it_is_sent_and_its_rest_is_passed_over(running, client) -> None:
    client.writer.write(frame(0x82, bytes(65_550))[:14])
    first, payload = await client.read()
    assert (first, payload[:2]) == (0x88, (1009).to_bytes(2, "big"))
    client.writer.write(bytes(65_550))
    client.send(0x88, payload[:2])
    assert await client.reader.read() == b""


async def test_fragments_too_long_together_are_1009(client) -> None:
    client.send(0x02, bytes(65_549))
    client.send(0x00)
    client.send(0x80, b"x")
    assert await client.closed_with() == 1009


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999])
async def test_a_close_is_answered_with_its_code(client, code: int) -> None:
    client.send(0x88, code.to_bytes(2, "big") + "tschüß".encode())
    assert await client.read() == (0x88, code.to_bytes(2, "big"))
    assert await client.reader.read() == b""


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
async def test_close_codes_that_there_are_not_are_1002(client, code: int) -> None:
    client.send(0x88, code.to_bytes(2, "big"))
    assert await client.closed_with() == 1002


async def test_half_a_close_code_is_1002(client) -> None:
    client.send(0x88, b"\x03")
    assert await client.closed_with() == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"caf\xc3"])
async def test_a_close_reason_that_is_not_utf8_is_1007(client, reason: bytes) -> None:
    client.send(0x88, b"\x03\xe8" + reason)
    assert await client.closed_with() == 1007


async def test_nothing_behind_a_close_counts(running, client, daemon, control) -> None:
    client.writer.write(frame(0x88) + frame(0x82, FRAME) + frame(0x89, b"late"))
    assert await client.read() == (0x88, b"\x03\xe8")
    assert await client.reader.read() == b""
    assert await control(daemon) == (Code.SESSION_ENDED, 1)
    assert running.relay.stats.traffic([]).frames_up == 0


async def test_what_came_before_a_broken_rule_is_forwarded(client, daemon, control) -> None:
    client.writer.write(frame(0x82, FRAME) * 2 + frame(0x83))
    assert [await daemon.receive(), await daemon.receive()] == [FRAME, FRAME]
    assert await control(daemon) == (Code.SESSION_ENDED, 1)
    assert await client.closed_with() == 1002


async def test_a_frame_byte_by_byte(running, client, daemon) -> None:
    connection = running.relay.table.session(1).client
    for byte in frame(0x02, FRAME[:30]) + frame(0x89, b"p") + frame(0x80, FRAME[30:]):
        client.writer.write(bytes([byte]))
        await running.until(lambda: connection.keepalive.heard)
        connection.keepalive.heard = False
    assert await daemon.receive() == FRAME
    assert await client.read() == (0x8A, b"p")
    assert connection.receiver.held_bytes == 0


async def test_a_frame_that_was_announced_holds_no_more_than_came_of_it(running, client) -> None:
    connection = running.relay.table.session(1).client
    client.writer.write(frame(0x82, encode_data(1, bytes(65_536)))[:1000])
    await running.until(lambda: connection.receiver.held_bytes)
    assert connection.receiver.held_bytes <= 2048


async def test_many_small_frames_in_one_piece_keep_their_order_and_their_sessions(running, daemon) -> None:
    clients = {sid: await running.client(sid=sid) for sid in (1, 2, 3)}
    sids = [sid for n in range(200) for sid in ((1, 1, 2, 3) if n % 2 else (3, 2, 2))]
    await daemon.send_many(encode_data(sid, n.to_bytes(28, "big")) for n, sid in enumerate(sids))
    for sid, client in clients.items():
        for n in (n for n, named in enumerate(sids) if named == sid):
            assert await client.receive() == encode_data(sid, n.to_bytes(28, "big"))
    traffic = running.relay.stats.traffic(running.relay.connections)
    assert (traffic.frames_down, traffic.bytes_down) == (len(sids), len(sids) * 41)


async def test_frames_around_pings_in_one_piece(client, daemon) -> None:
    frames = [encode_data(1, bytes([n]) * 30) for n in range(6)]
    ping, pong = frame(0x82, encode_ping(b"12345678")), frame(0x82, encode_pong(b"unasked"))
    client.writer.write(b"".join(frame(0x82, message) + (pong if n % 2 else ping) for n, message in enumerate(frames)))
    assert [await daemon.receive() for _ in frames] == frames
    assert [await client.read() for _ in range(3)] == [(0x82, encode_pong(b"12345678"))] * 3


async def test_a_frame_of_another_session_amid_good_ones(client, daemon, control) -> None:
    client.writer.write(frame(0x82, FRAME) * 2 + frame(0x82, encode_data(2, bytes(28))) + frame(0x82, FRAME))
    assert [await daemon.receive(), await daemon.receive()] == [FRAME, FRAME]
    assert await control(daemon) == (Code.SESSION_ENDED, 1)
    first, payload = await client.read()
    assert (first, payload[0]) == (0x82, 0x20)
    assert await client.closed_with() == 1008


async def test_what_a_replaced_daemon_still_sends_reaches_nobody(running, control) -> None:
    # Byte by byte: our own client sends nothing more once it has seen the close.
    async with opened(running, request(running.issuer.daemon("d_1"))) as (replaced, _):
        client = await running.client(sid=1)
        second = await running.daemon()
        assert [(await control(client))[0] for _ in range(2)] == [Code.SESSION_PAUSED, Code.SESSION_PENDING]
        await second.send(encode_signal(1, 0))
        assert await control(client) == (Code.SESSION_RESUMED, 1)
        replaced.send(0x82, FRAME)
        assert await replaced.closed_with() == 4001
        await second.send(encode_data(1, bytes(30)))
        assert await client.receive() == encode_data(1, bytes(30))
