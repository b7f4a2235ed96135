"""The channels of one attempt: what listens, what dials, and which of them showed the announced key."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from yarl import URL

from sideband._native import NoiseKeyPair
from sideband.direct.candidates import acceptable, endpoint, filtered, own_addresses
from sideband.direct.handshake import DirectIdentity, Rekey, Trusted, open_session
from sideband.direct.link import DirectLink, abort
from sideband.direct.messages import MAX_CANDIDATES, Offer
from sideband.direct.policy import DirectPolicy
from sideband.direct.sessions import transport_for
from sideband.errors import ConfigError, SidebandError, TransportError
from sideband.peer.clock import Clock
from sideband.peer.link import LinkInfo
from sideband.transport import Connection, Listener

if TYPE_CHECKING:
    from sideband.transport.webrtc import WebRtcOffer

__all__ = ["Channel", "Channels"]

MAX_INBOUND = 16
"""Connections that one attempt's listeners have under way; beyond, the oldest is cut."""

_log = logging.getLogger("sideband.direct")


@dataclass(frozen=True, slots=True)
class Channel:
    """One way that leads to the other side.

    Attributes:
        id: 16 bytes that both sides know it by.
        transport: `tcp`, `quic` or `webrtc`.
        link: its records.
    """

    id: bytes
    transport: str
    link: DirectLink


class Channels:
    """Listens and dials for one attempt.

    Args:
        attempt: its id; both sides show it as their name, so that no channel is taken for another attempt's.
        policy: what is offered and tried.
        client: whether this side opened the relayed session.
        clock: where time comes from.
        on_ready: told of each channel whose key is the announced one.
    """

    def __init__(
        self,
        attempt: bytes,
        policy: DirectPolicy,
        *,
        client: bool,
        clock: Clock,
        on_ready: Callable[[Channel], None],
    ) -> None:
        self._key = NoiseKeyPair.generate()
        self._attempt = attempt
        self._policy = policy
        self._client = client
        self._clock = clock
        self._on_ready = on_ready
        self._identity = DirectIdentity(attempt.hex(), self._key)
        self._remote: asyncio.Future[Offer] = asyncio.get_running_loop().create_future()
        self._listeners: list[Listener] = []
        self._dials: set[asyncio.Task[None]] = set()
        self._releasing: asyncio.Task[None] | None = None
        self._ready: dict[bytes, Channel] = {}
        self._webrtc: WebRtcOffer | None = None
        self._inbound: dict[Connection, None] = {}
        self._kept: bytes | None = None
        self._closed = False

    async def gather(self, remote: Offer | None = None) -> Offer:
        """Begin to listen, and return what the other side has to know.

        Args:
            remote: what that side has told already, on the daemon.
        """
        policy = self._policy
        for name in policy.transports:
            if name != "webrtc" or self._client or (remote is not None and remote.description):
                await _load(name)
        if self._closed:
            return Offer(self._key.public_key)
        hosts = own_addresses(loopback=policy.loopback) if policy.host_candidates else []
        given = [address for address in policy.addresses if "://" not in address]
        candidates = [address for address in policy.addresses if "://" in address]
        for name in ("tcp", "quic"):
            if name in policy.transports and (hosts or policy.addresses):
                port = await self._listen(name, policy.ports.get(name, 0))
                if port is not None:
                    candidates += [endpoint(name, host, port) for host in (*hosts, *given)]
        description = await self._describe("" if remote is None else remote.description)
        return Offer(self._key.public_key, tuple(candidates[:MAX_CANDIDATES]), description)

    def reach(self, remote: Offer) -> None:
        """Dial what the other side offers, all at once, and let its own dialling in."""
        if self._remote.done() or self._closed:
            return
        self._remote.set_result(remote)
        if self._webrtc is not None and remote.description:
            self._run(self._meet(self._webrtc, remote))
        for candidate in acceptable(remote.candidates, self._policy):
            self._run(self._dial(candidate))

    def keep(self, channel: bytes) -> None:
        """Close everything but this channel."""
        self._kept = channel
        self._releasing = asyncio.get_running_loop().create_task(self._release(), name="sideband direct")

    async def close(self) -> None:
        """Close everything."""
        self._closed, self._kept = True, None
        if self._releasing is not None:
            await asyncio.wait((self._releasing,))
        await self._release()

    # What follows is private.

    async def _listen(self, name: str, port: int) -> int | None:
        try:
            transport = transport_for(f"{name}://")
            for host in ("0.0.0.0", "[::]"):  # noqa: S104  (who comes has to show the announced key)
                with contextlib.suppress(TransportError):  # no IPv6 here, or the port is taken there
                    listener = await transport.listen(f"{name}://{host}:{port}", self._accepted)
                    self._listeners.append(listener)
                    port = URL(listener.address).port or port
        except ConfigError as error:
            _log.debug("not offered: %s", error)
        return port or None

    async def _describe(self, offer: str) -> str:
        policy = self._policy
        if "webrtc" not in policy.transports or not (self._client or offer):
            return ""
        try:
            from sideband.transport.webrtc import WebRtcOffer
        except ConfigError as error:
            _log.debug("not offered: %s", error)
            return ""
        servers = [(server.url, server.username, server.credential) for server in policy.ice_servers]
        self._webrtc = WebRtcOffer(servers, host_candidates=policy.host_candidates)
        try:
            return await (self._webrtc.offer() if self._client else self._webrtc.answer(filtered(offer, policy)))
        except TransportError as error:
            _log.info("WebRTC is not tried: %s", error)
            return ""

    async def _meet(self, webrtc: WebRtcOffer, remote: Offer) -> None:
        try:
            if self._client:
                await webrtc.accept(filtered(remote.description, self._policy))
            connection = await webrtc.connection()
        except TransportError as error:
            _log.debug("WebRTC did not connect: %s", error)
            return
        await self._settle(connection, remote, initiator=self._client)

    async def _accepted(self, connection: Connection) -> None:
        if self._closed or self._kept is not None:
            abort(connection)
            return
        if len(self._inbound) >= MAX_INBOUND:
            oldest = next(iter(self._inbound))
            del self._inbound[oldest]
            abort(oldest)
        self._inbound[connection] = None
        try:
            remote = await self._remote
            channel = await self._open(connection, remote, initiator=False)
        finally:
            self._inbound.pop(connection, None)
        if channel is not None:
            await channel.link.connection.wait_closed()

    async def _dial(self, candidate: str) -> None:
        try:
            connection = await transport_for(candidate).connect(candidate)
        except (ConfigError, TransportError) as error:
            _log.debug("a candidate did not connect: %s", error)
            return
        await self._settle(connection, await self._remote, initiator=True)

    async def _settle(self, connection: Connection, remote: Offer, *, initiator: bool) -> None:
        channel: Channel | None = None
        try:
            channel = await self._open(connection, remote, initiator=initiator)
        finally:
            if channel is None:
                abort(connection)
                await connection.close()

    async def _open(self, connection: Connection, remote: Offer, *, initiator: bool) -> Channel | None:
        trusted = Trusted(exact_key=remote.key, name=self._attempt.hex())
        try:
            opened = await open_session(
                connection, self._identity, trusted, initiator=initiator, rekey=Rekey(), deciding=lambda: None
            )
        except SidebandError as error:
            _log.debug("a channel was not taken: %s", error)
            return None
        if self._closed or self._kept is not None:
            opened.session.clear()
            return None
        name = getattr(connection, "transport_name", "direct")
        info = LinkInfo(path=f"direct:{name}")
        link = DirectLink(connection, opened.session, info, self._clock, self._policy.heartbeat_seconds)
        channel = Channel(opened.handshake_hash[:16], name, link)
        self._ready[channel.id] = channel
        self._on_ready(channel)
        return channel

    async def _release(self) -> None:
        kept = self._ready.get(self._kept) if self._kept is not None else None
        others = [channel for channel in self._ready.values() if channel is not kept]
        self._ready = {} if kept is None else {kept.id: kept}
        if not self._remote.done():
            self._remote.cancel()
        for connection in tuple(self._inbound):
            abort(connection)
        # The one that was dialled successfully is not waited for by anybody any more.
        dials = [task for task in self._dials if not task.done()]
        for task in dials:
            task.cancel()
        for channel in others:
            await channel.link.drop()
        await asyncio.gather(*dials, return_exceptions=True)
        if self._webrtc is not None and (kept is None or kept.transport != "webrtc"):
            await self._webrtc.close()
            self._webrtc = None
        if kept is not None:
            # The channel that was chosen may be one that a listener here accepted.
            for listener in self._listeners:
                stop = getattr(listener, "stop_accepting", None)
                if stop is not None:
                    stop()
            return
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            await listener.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="sideband direct dial")
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)


async def _load(transport: str) -> None:
    # In a thread: libwebrtc takes a quarter of a second, in which a live session would stand still.
    with contextlib.suppress(ConfigError):  # said where it is used
        await asyncio.to_thread(importlib.import_module, f"sideband.transport.{transport}")
