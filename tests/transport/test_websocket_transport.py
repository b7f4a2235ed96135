import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from sideband.errors import ConnectionClosed, TransportError
from sideband.transport import Connection, ConnectOptions, Listener, WebSocketTransport
from sideband.transport.websocket import WebSocketConnection

SECRET = "eyJ-this-is-a-token"
Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


async def echo(connection: Connection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.fixture
async def echo_listener() -> AsyncIterator[Listener]:
    async with await WebSocketTransport().listen("ws://127.0.0.1:0/", echo) as listener:
        yield listener


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners = []

    async def start(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> str:
        app = web.Application()
        app.router.add_get("/", handler)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        runners.append(runner)
        return f"ws://127.0.0.1:{runner.addresses[0][1]}/"

    yield start
    for runner in runners:
        await runner.cleanup()


async def test_binary_messages_both_ways(echo_listener: Listener) -> None:
    async with await WebSocketTransport().connect(echo_listener.address) as connection:
        await connection.send_many([b"", b"a", bytearray(b"bb"), memoryview(b"ccc"), bytes(70_000)])
        received = [await connection.receive() for _ in range(5)]
    assert received == [b"", b"a", b"bb", b"ccc", bytes(70_000)]
    assert connection.closed
    assert connection.close_code == 1000
    assert connection.buffered_bytes == 0
    await connection.wait_closed()
    with pytest.raises(ConnectionClosed):
        await connection.send(b"late")
    with pytest.raises(ConnectionClosed):
        await connection.receive()


async def test_receive_many_takes_what_has_arrived_in_order_and_then_tells_the_end() -> None:
    expected = [b"%d" % number for number in range(1000)]

    async def say(connection: Connection) -> None:
        await connection.send_many(expected)
        await connection.close(4001, "enough")

    async with await WebSocketTransport().listen("ws://127.0.0.1:0/", say) as listener:
        connection = await WebSocketTransport().connect(listener.address)
        batches = [await connection.receive()], await connection.receive_many()
        while len(batches[0]) + len(batches[1]) < len(expected):
            batches[1].extend(await connection.receive_many())
        assert batches[0] + batches[1] == expected
        with pytest.raises(TransportError) as caught:
            await connection.receive_many()
        assert caught.value.close_code == 4001


async def test_compression_is_neither_offered_nor_accepted(serve: Serve) -> None:
    seen: dict[str, str | None] = {}

    async def accept(request: web.Request) -> web.WebSocketResponse:
        seen["offer"] = request.headers.get("Sec-WebSocket-Extensions")
        websocket = web.WebSocketResponse(compress=True)
        await websocket.prepare(request)
        seen["answer"] = websocket.headers.get("Sec-WebSocket-Extensions")
        await websocket.close()
        return websocket

    async with await WebSocketTransport().connect(await serve(accept)):
        assert seen == {"offer": None, "answer": None}


async def test_a_listener_takes_no_offered_compression(echo_listener: Listener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(echo_listener.address.split(":")[2].rstrip("/")))
    writer.write(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    assert b"extensions" not in head.lower()
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("size", [1000, 1001])
async def test_the_message_limit_at_its_edge(size: int) -> None:
    roomy = WebSocketTransport(max_message_bytes=2000)
    tight = WebSocketTransport(max_message_bytes=1000)
    received: asyncio.Queue[bytes | TransportError] = asyncio.Queue()

    async def take(connection: Connection) -> None:
        try:
            received.put_nowait(await connection.receive())
        except TransportError as error:
            received.put_nowait(error)

    async with await tight.listen("ws://127.0.0.1:0/", take) as listener:
        async with await roomy.connect(listener.address) as connection:
            await connection.send(bytes(size))
            outcome = await received.get()
            if size == 1000:
                assert outcome == bytes(1000)
            else:
                assert isinstance(outcome, TransportError)
                assert (outcome.kind, outcome.close_code) == ("message_too_large", 1009)
                with pytest.raises(TransportError) as caught:
                    await connection.receive()
                assert (caught.value.kind, caught.value.close_code) == ("message_too_large", 1009)
        async with await tight.connect(listener.address) as connection:
            with pytest.raises(TransportError, match="message_too_large"):
                await connection.send(bytes(1001))
            assert not connection.closed


async def test_a_close_code_of_the_application_reaches_the_other_side() -> None:
    async def replace(connection: Connection) -> None:
        await connection.close(4001, "replaced")

    async with await WebSocketTransport().listen("ws://127.0.0.1:0/", replace) as listener:
        connection = await WebSocketTransport().connect(listener.address)
        with pytest.raises(TransportError) as caught:
            await connection.receive()
        assert (caught.value.kind, caught.value.close_code) == ("abnormal_close", 4001)
        assert (connection.close_code, connection.close_reason) == (4001, "replaced")


async def test_going_away_is_a_clean_end(echo_listener: Listener) -> None:
    connection = await WebSocketTransport().connect(echo_listener.address)
    await connection.send(b"x")
    await connection.receive()
    closing = asyncio.ensure_future(echo_listener.close())
    assert [message async for message in connection] == []
    assert connection.close_code == 1001
    await closing


async def test_a_text_message_ends_the_connection_with_1003(serve: Serve) -> None:
    codes: asyncio.Queue[int | None] = asyncio.Queue()

    async def say(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await websocket.send_str("hello")
        await websocket.receive()
        codes.put_nowait(websocket.close_code)
        return websocket

    connection = await WebSocketTransport().connect(await serve(say))
    with pytest.raises(TransportError) as caught:
        await connection.receive()
    assert caught.value.close_code == 1003
    assert await codes.get() == 1003


async def test_a_cut_connection_is_abnormal_for_receive_and_send(serve: Serve) -> None:
    async def cut(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        assert request.transport is not None
        request.transport.abort()
        return websocket

    connection = await WebSocketTransport().connect(await serve(cut))
    with pytest.raises(TransportError) as caught:
        await connection.receive()
    assert (caught.value.kind, connection.close_code) == ("abnormal_close", 1006)
    with pytest.raises(TransportError) as caught:
        await connection.send(b"x")
    assert caught.value.kind == "abnormal_close"
    await connection.close()
    await connection.wait_closed()


async def test_close_from_another_task_ends_a_waiting_receive(echo_listener: Listener) -> None:
    connection = await WebSocketTransport().connect(echo_listener.address)
    waiting = asyncio.ensure_future(connection.receive())
    await asyncio.sleep(0)
    await connection.close()
    with pytest.raises(ConnectionClosed):
        await waiting


async def test_close_cuts_a_peer_that_never_reads(serve: Serve) -> None:
    done = asyncio.Event()

    async def ignore(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await done.wait()
        return websocket

    endpoint = await serve(ignore)
    connection = await WebSocketTransport(close_timeout_seconds=0.05).connect(endpoint)
    await connection.close()
    assert connection.closed
    done.set()


@pytest.mark.parametrize(
    ("status", "kind", "retry_after"),
    [
        (401, "authentication_failed", None),
        (403, "authentication_failed", None),
        (409, "transport_failure", None),
        (429, "transport_failure", 7.0),
        (503, "transport_failure", None),
    ],
)
async def test_a_refused_upgrade_tells_status_and_never_the_token(
    serve: Serve, status: int, kind: str, retry_after: float | None
) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        headers = {} if retry_after is None else {"Retry-After": "7"}
        return web.Response(status=status, headers=headers)

    endpoint = f"{await serve(refuse)}?token={SECRET}"
    with pytest.raises(TransportError) as caught:
        await WebSocketTransport().connect(endpoint, ConnectOptions(headers={"Authorization": f"Bearer {SECRET}"}))
    error = caught.value
    assert (error.kind, error.http_status, error.retry_after) == (kind, status, retry_after)
    assert SECRET not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__
    assert SECRET not in repr(ConnectOptions(headers={"Authorization": SECRET}))


async def test_redirects_are_not_followed(serve: Serve) -> None:
    async def redirect(_request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.1:1/")

    with pytest.raises(TransportError, match="redirects are not followed") as caught:
        await WebSocketTransport().connect(await serve(redirect))
    assert caught.value.http_status == 302


async def test_a_plain_http_answer_is_no_websocket(serve: Serve) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    with pytest.raises(TransportError, match="did not answer as a WebSocket server"):
        await WebSocketTransport().connect(await serve(answer))


async def test_connection_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TransportError) as caught:
        await WebSocketTransport().connect(f"ws://127.0.0.1:{port}/?token={SECRET}")
    assert caught.value.kind == "connection_refused"
    assert SECRET not in str(caught.value)


async def test_timeout_while_the_server_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"ws://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(TransportError) as caught:
            await WebSocketTransport().connect(endpoint, ConnectOptions(timeout_seconds=0.05))
    assert caught.value.kind == "timeout"


async def test_a_server_that_hangs_up_on_the_request() -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        endpoint = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(TransportError) as caught:
            await WebSocketTransport().connect(endpoint)
    assert caught.value.kind == "abnormal_close"


async def test_plain_text_where_tls_is_expected(echo_listener: Listener) -> None:
    with pytest.raises(TransportError) as caught:
        await WebSocketTransport().connect(echo_listener.address.replace("ws://", "wss://"))
    assert caught.value.kind == "tls_failure"


async def test_ssl_cert_file_must_exist(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "absent.pem"))
    with pytest.raises(TransportError, match="SSL_CERT_FILE"):
        await WebSocketTransport().connect("wss://127.0.0.1:1/")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1/", "not a url", "ws://", "ws://[::1", ""])
async def test_endpoints_that_are_no_websocket_urls(endpoint: str) -> None:
    with pytest.raises(TransportError, match="not a valid ws://"):
        await WebSocketTransport().connect(endpoint)


async def test_listening_where_the_port_is_taken(echo_listener: Listener) -> None:
    with pytest.raises(TransportError, match="cannot listen"):
        await WebSocketTransport().listen(echo_listener.address, echo)


async def test_a_bound_server_context_is_needed_for_wss() -> None:
    with pytest.raises(TransportError, match="server_ssl_context"):
        await WebSocketTransport(ssl_context=ssl.create_default_context()).listen("wss://127.0.0.1:0/", echo)


async def test_cancelling_a_receive_keeps_the_connection_usable(echo_listener: Listener) -> None:
    async with await WebSocketTransport().connect(echo_listener.address) as connection:
        waiting = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await connection.send(b"still here")
        assert await connection.receive() == b"still here"


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_batch_of_every_size_arrives_in_order(side: str) -> None:
    sizes = [0, 1, 125, 126, 5_000, 65_535, 65_536, 20_000, *range(300), 1_000_000, 7]
    messages = [bytes([size % 251]) * size for size in sizes]
    received: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

    async def take(connection: Connection) -> None:
        received.set_result([await connection.receive() for _ in messages])

    async def give(connection: Connection) -> None:
        await connection.send_many(messages)
        await connection.wait_closed()

    transport = WebSocketTransport(proxy="")
    async with (
        await transport.listen("ws://127.0.0.1:0/", take if side == "client" else give) as listener,
        await transport.connect(listener.address) as connection,
    ):
        if side == "client":
            await connection.send_many(messages)
        else:
            await take(connection)
        assert await received == messages


async def test_a_connection_that_is_given_up_lets_go_of_data_that_never_left(serve: Serve) -> None:
    over = asyncio.Event()

    async def deaf(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        assert request.transport is not None
        request.transport.pause_reading()
        await over.wait()
        request.transport.abort()
        return websocket

    async def send_for_ever(connection: Connection) -> None:
        while True:
            await connection.send(bytes(100_000))

    connection = await WebSocketTransport(proxy="", heartbeat_seconds=0.05).connect(await serve(deaf))
    sending = asyncio.create_task(send_for_ever(connection))
    try:
        async with asyncio.timeout(60):
            with pytest.raises(TransportError) as caught:
                await connection.receive()
            # Whoever waits for room must not wait for the system to give up, which takes it a quarter of an hour.
            with pytest.raises(TransportError):
                await sending
    finally:
        over.set()
        sending.cancel()
    assert caught.value.kind == "abnormal_close"
    await connection.close()


async def test_close_cuts_off_someone_who_does_not_read(serve: Serve) -> None:
    over = asyncio.Event()

    async def deaf(request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        assert request.transport is not None
        request.transport.pause_reading()
        await over.wait()
        request.transport.abort()
        return websocket

    connection = await WebSocketTransport(proxy="", close_timeout_seconds=0.05).connect(await serve(deaf))
    assert isinstance(connection, WebSocketConnection)
    while not connection.buffered_bytes:
        await connection.send(bytes(60_000))
    raw = connection._transport.get_extra_info("socket") if connection._transport is not None else None
    await connection.close()
    try:
        async with asyncio.timeout(60):
            while raw.fileno() != -1:  # noqa: ASYNC110  (asyncio tells nobody that a socket is closed)
                await asyncio.sleep(0)
    finally:
        over.set()
