"""Proxies and private certificates, as environments set them."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from yarl import URL

from sideband.errors import TransportError
from sideband.transport import Connection, WebSocketTransport
from sideband.transport.proxy import proxy_from_environment
from tests.support.certificate import server_context, write_certificate


async def echo(connection: Connection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.mark.parametrize(
    ("environment", "url", "expected"),
    [
        ({}, "wss://relay.example/", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "wss://relay.example/", "http://proxy:3128"),
        ({"https_proxy": "http://proxy:3128"}, "wss://relay.example/", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "ws://relay.example/", None),
        ({"http_proxy": "http://proxy:3128"}, "ws://relay.example/", "http://proxy:3128"),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".example"}, "wss://relay.example/", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "*"}, "wss://relay.example/", None),
        ({"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "other"}, "wss://relay.example/", "http://proxy:3128"),
    ],
)
def test_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, expected: str | None
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_from_environment(URL(url)) == expected


async def test_wss_through_an_https_proxy_with_a_private_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    listening = WebSocketTransport(server_ssl_context=server_context(certificate, key))
    async with (
        await listening.listen("wss://127.0.0.1:0/", echo) as listener,
        connect_proxy() as (proxy, asked),
    ):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        async with await WebSocketTransport().connect(listener.address) as connection:
            await connection.send(b"through")
            assert await connection.receive() == b"through"
        assert asked == [listener.address.removeprefix("wss://").rstrip("/")]

        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        async with await WebSocketTransport().connect(listener.address) as connection:
            await connection.send(b"direct")
            assert await connection.receive() == b"direct"
        assert len(asked) == 1


async def test_an_unknown_root_is_a_tls_failure(tmp_path: Path) -> None:
    listening = WebSocketTransport(server_ssl_context=server_context(*write_certificate(tmp_path)))
    async with await listening.listen("wss://127.0.0.1:0/", echo) as listener:
        with pytest.raises(TransportError) as caught:
            await WebSocketTransport(ssl_context=ssl.create_default_context(), proxy="").connect(listener.address)
    assert caught.value.kind == "tls_failure"
    assert "certificate" in str(caught.value)


async def test_a_proxy_that_refuses() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        proxy = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(TransportError, match=r"the proxy for wss://relay\.example answered 407") as caught:
            await WebSocketTransport(proxy=proxy).connect("wss://relay.example/")
    assert caught.value.http_status is None


@asynccontextmanager
async def connect_proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """Run a proxy that serves CONNECT; yield its URL and the list of targets it was asked for."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        asked.append(target)
        host, port = target.rsplit(":", 1)
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        async with asyncio.TaskGroup() as group:
            group.create_task(pump(reader, far_writer))
            group.create_task(pump(far_reader, writer))

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
