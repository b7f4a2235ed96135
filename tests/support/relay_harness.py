"""A relay on loopback in real time, tokens for it, and a network in front of it that can be cut."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from sideband.identity import IdentityKeyPair, IdentityTrust, MemoryIdentityKeyStore, generate_identity_key_pair
from sideband.jwks import LocalKeys
from sideband.peer.create import create_peer
from sideband.peer.listening import listen
from sideband.peer.negotiator import ConnectionParams
from sideband.peer.options import PeerOptions
from sideband.peer.peer import Peer
from sideband.peer.policies import ConnectionPolicy, RetryPolicy
from sideband.peer.relay_negotiators import relay_client_negotiator, relay_daemon_negotiator
from sideband.peer.relay_server import RelayServer
from sideband.relay.config import RelayConfig
from sideband.relay.core import Relay
from sideband.relay.server import create_relay_app, create_verifier, runner_options
from sideband.transport import Transport, WebSocketTransport
from tests.support.token_issuer import DAEMON, ISSUER, Issuer

QUICK = RetryPolicy(mode="on-error", initial=0.05, max=0.2)
PAUSE = ConnectionPolicy(on_disconnect="pause")


def bearer(token: str, endpoint: str | None = None, **more: Any) -> ConnectionParams:
    return ConnectionParams(endpoint=endpoint, headers={"Authorization": f"Bearer {token}"}, **more)


class RelayHarness:
    """A relay that can be stopped and started again at the same address."""

    def __init__(self, **settings: Any) -> None:
        self.issuer = Issuer()
        self.relay: Relay | None = None
        self.port = 0
        self._settings = settings
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    async def start(self) -> None:
        config = RelayConfig(
            issuer=ISSUER,
            loopback_listener=True,
            shutdown_spread_seconds=0.0,
            close_timeout_seconds=1.0,
            **self._settings,
        )
        relay = Relay(config)
        runner = web.AppRunner(
            create_relay_app(relay, create_verifier(relay, LocalKeys(self.issuer.jwks))), **runner_options(config)
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = runner.addresses[0][1]
        self.relay, self._runner = relay, runner

    async def stop(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class CuttingProxy:
    """Forwards TCP to `port`; its connections can be reset, frozen, or refused."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.refusing = False
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"

    def cut(self) -> None:
        """Reset every connection, as a router that lost its table does."""
        for writer in tuple(self._open):
            _reset(writer)

    def freeze(self) -> None:
        """Let nothing through any more, without a word."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let everything through again."""
        self._flowing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.thaw()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.refusing:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        both = {writer, far_writer}
        self._open |= both
        try:
            await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        finally:
            self._open -= both
            for one in both:
                one.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            _reset(writer)
        else:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None and not writer.transport.is_closing():
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Give the event loop turns until something holds that has no event of its own."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  (what is waited for has no event to wait on)
            await asyncio.sleep(0.002)


class World:
    """A relay, a daemon behind a network that can be cut, and clients."""

    def __init__(self, **relay_settings: Any) -> None:
        self.relay = RelayHarness(**relay_settings)
        self.identity: IdentityKeyPair = generate_identity_key_pair()
        self.store = MemoryIdentityKeyStore()
        self._stack = AsyncExitStack()
        self.daemon_network: CuttingProxy
        self.client_network: CuttingProxy

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.relay)
        self.daemon_network = await self._stack.enter_async_context(CuttingProxy(self.relay.port))
        self.client_network = await self._stack.enter_async_context(CuttingProxy(self.relay.port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def daemon(self, on_connection: Callable[[Peer], Any], **more: Any) -> RelayServer:
        """Start a daemon; it is closed with the world, unless it was before."""
        options = more.pop("options", None) or PeerOptions(peer_id="daemon", connection=PAUSE, retry=QUICK)
        limits = more.pop("limits", None)
        negotiator = relay_daemon_negotiator(
            DAEMON,
            self.identity,
            get_connection_params=lambda: bearer(self.relay.issuer.daemon()),
            limits=limits,
        )
        server = await listen(
            self.daemon_network.url,
            on_connection,
            negotiator=negotiator,
            transport=quick_transport(),
            options=options,
            **more,
        )
        self._stack.push_async_callback(server.close)
        return server

    def client(self, **more: Any) -> Peer:
        """Return an idle client; it is closed with the world, unless it was before."""
        trust = more.pop("trust", None) or IdentityTrust(self.store, "accept-new")
        params = more.pop("params", None) or (lambda: bearer(self.relay.issuer.client()))
        defaults: dict[str, Any] = {"connection": PAUSE, "retry": QUICK}
        peer = create_peer(
            self.client_network.url,
            negotiator=relay_client_negotiator(DAEMON, trust=trust, get_connection_params=params),
            transport=quick_transport(),
            **(more if "options" in more else {**defaults, **more}),
        )
        self._stack.push_async_callback(peer.disconnect)
        return peer


def quick_transport(heartbeat_seconds: float | None = None) -> Transport:
    return WebSocketTransport(proxy="", heartbeat_seconds=heartbeat_seconds, close_timeout_seconds=1.0)
