"""A daemon as a program: codes that are renewed, clients that are told about, an end in good order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from sideband import cloud
from sideband.cli.daemon_output import Client, DaemonOutput, Shared
from sideband.cli.service_notice import notify_service_manager
from sideband.errors import SidebandError
from sideband.peer import Peer, PeerOptions, RetryPolicy
from sideband.peer.clock import Clock, LoopClock

if TYPE_CHECKING:
    from sideband.identity import FileIdentity
    from sideband.sharing import Share, SharedTransfer

__all__ = ["CODE_SECONDS", "RENEW_BEFORE_SECONDS", "DaemonSettings", "run_daemon"]

CODE_SECONDS = 300
"""How long a code may be redeemed."""
RENEW_BEFORE_SECONDS = 30
"""A code is replaced so long before it expires: whoever reads it has that much time at least."""

_QUICK_CONNECT = "quick-connect"

_log = logging.getLogger("sideband.cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonSettings:
    """What a daemon is made of.

    Attributes:
        api_url: the control plane.
        api_key: the daemon's. Not shown in `repr`.
        identity: its identity key.
        name: what people call it; None leaves what it was.
        shared: the folder that clients get at, or None.
        codes: whether there is always a Quick Connect code.
        once: whether the daemon ends when its first client has gone.
        peer_options: of its peers; None means the usual ones, with which sessions stay on the relay.
    """

    api_url: str
    api_key: str = field(repr=False)
    identity: FileIdentity
    name: str | None = None
    shared: Shared | None = None
    codes: bool = True
    once: bool = False
    peer_options: PeerOptions | None = None


async def run_daemon(
    settings: DaemonSettings, output: DaemonOutput, stop: asyncio.Future[str], *, clock: Clock | None = None
) -> None:
    """Run a daemon until `stop` has a reason for its end.

    The first relay connection is waited for as long as it takes; then `output` is told `ready` before anything else.

    Raises:
        SidebandError: what ended it before that.
        BrokenPipeError: nobody reads what it tells any more.
    """
    daemon = _Daemon(settings, output, stop, clock or LoopClock())
    serving = asyncio.create_task(daemon.serve(), name="sideband daemon")
    try:
        await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            notify_service_manager("STOPPING=1")
            daemon.stopping(stop.result())
    finally:
        serving.cancel()
        await asyncio.wait((serving,))
    if not serving.cancelled():
        serving.result()


class _Daemon:
    def __init__(self, settings: DaemonSettings, output: DaemonOutput, stop: asyncio.Future[str], clock: Clock) -> None:
        self._settings = settings
        self._output = output
        self._stop = stop
        self._clock = clock
        self._share = self._open_share(settings.shared)
        # Of those too who have gone: the end of a transfer may be told after that.
        self._clients: WeakKeyDictionary[Peer, Client] = WeakKeyDictionary()
        self._count = 0
        self._ready = False
        self._held: list[Callable[[], None]] = []
        self._online = asyncio.Event()
        self._used = asyncio.Event()

    async def serve(self) -> None:
        try:
            await self._serve()
        finally:
            if self._share is not None:
                self._share.close()

    def stopping(self, reason: str) -> None:
        if self._ready:
            self._output.stopping(reason)

    async def _serve(self) -> None:
        settings = self._settings
        async with await cloud.listen(
            api_key=settings.api_key,
            identity_key_pair=settings.identity,
            on_connection=self._connected,
            api_url=settings.api_url,
            name=settings.name,
            on_online=self._came_online,
            on_offline=self._went_offline,
            options=settings.peer_options,
        ) as server:
            self._output.ready(server, settings.name, settings.shared)
            self._ready = True
            notify_service_manager("READY=1", f"STATUS=daemon {server.daemon_id}")
            for tell in self._held:
                tell()
            await self._until_closed(server)

    async def _until_closed(self, server: cloud.CloudServer) -> None:
        closed = asyncio.create_task(server.wait_closed())
        offering = asyncio.create_task(self._offer_codes(server) if self._settings.codes else _nothing())
        try:
            await asyncio.wait((closed, offering), return_when=asyncio.FIRST_COMPLETED)
            if offering.done():
                offering.result()
            await closed
        finally:
            for task in (closed, offering):
                task.cancel()
            await asyncio.gather(closed, offering, return_exceptions=True)

    def _connected(self, peer: Peer) -> None:
        self._count += 1
        client = Client.of(self._count, peer)
        self._clients[peer] = client
        if self._share is not None:
            self._share.serve(peer)
        if client.subject == _QUICK_CONNECT:
            self._used.set()
        self._tell(lambda: self._output.connected(client, self._settings.identity.fingerprint))
        peer.on("path_changed", lambda path: self._moved(peer, path))
        peer.on("disconnected", lambda _error: self._disconnected(peer))

    def _moved(self, peer: Peer, path: str) -> None:
        moved = self._clients[peer] = replace(self._clients[peer], path=path)
        self._tell(lambda: self._output.moved(moved))

    def _disconnected(self, peer: Peer) -> None:
        client = self._clients[peer]
        self._tell(lambda: self._output.disconnected(client))
        if self._settings.once and not self._stop.done():
            self._stop.set_result("once")

    def _open_share(self, shared: Shared | None) -> Share | None:
        if shared is None:
            return None
        from sideband.sharing import Share

        return Share(shared.root, writable=shared.writable, allow_hidden=shared.hidden, on_transfer=self._transferred)

    def _transferred(self, transfer: SharedTransfer) -> None:
        client = self._clients.get(transfer.peer)
        if client is not None:
            self._tell(lambda: self._output.transferred(client, transfer))

    def _came_online(self) -> None:
        self._online.set()
        if self._ready:
            self._tell(self._output.online)

    def _went_offline(self, error: BaseException) -> None:
        self._online.clear()
        if self._ready and not self._stop.done():
            self._tell(lambda: self._output.offline(error))

    def _tell(self, tell: Callable[[], None]) -> None:
        if not self._ready:
            self._held.append(tell)
            return
        try:
            tell()
        except BrokenPipeError as error:
            # The client that this was about is not to blame.
            if not self._stop.done():
                self._stop.set_exception(error)

    async def _offer_codes(self, server: cloud.CloudServer) -> None:
        reason = "first"
        while True:
            self._used.clear()
            try:
                code = await self._new_code(server)
            except SidebandError as error:
                self._output.no_code(error)
                return
            self._output.code(code, reason)
            timer = self._clock.call_later(CODE_SECONDS - RENEW_BEFORE_SECONDS, self._used.set)
            asked_at = self._clock.time()
            try:
                await self._used.wait()
            finally:
                timer.cancel()
            over = self._clock.time() - asked_at >= CODE_SECONDS - RENEW_BEFORE_SECONDS
            reason = "renewed" if over else "used"

    async def _new_code(self, server: cloud.CloudServer) -> cloud.QuickConnectCode:
        async def create() -> cloud.QuickConnectCode:
            # A code that is redeemed while the daemon is offline is lost.
            await self._online.wait()
            return await server.create_quick_connect(CODE_SECONDS)

        def failed(error: SidebandError, delay: float | None) -> None:
            if delay is not None:
                _log.warning("no Quick Connect code (%s); next attempt in %.1f s", error, delay)

        return await cloud.retrying(
            create,
            policy=RetryPolicy(mode="on-error"),
            clock=self._clock,
            classify=cloud.classify_failure,
            on_failure=failed,
        )


async def _nothing() -> None:
    return
