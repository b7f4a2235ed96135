"""A daemon by way of the control plane (docs/guide/cloud.md)."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from typing_extensions import override

from sideband.cloud.api import ControlPlane, check_credential
from sideband.cloud.api_types import QuickConnectCode
from sideband.cloud.builtin import BuiltinMethods
from sideband.cloud.presence import CloudDaemonNegotiator, OnOffline, RelayPresence, registered
from sideband.errors import ConfigError, SidebandError
from sideband.identity import FileIdentity, IdentityKeyPair
from sideband.jwks import PublishedKeys
from sideband.peer.acceptance import OnConnection
from sideband.peer.identity_token import IdentityTokenVerifier, PeerIdentity
from sideband.peer.listening import listen as listen_at_relay
from sideband.peer.options import PeerOptions, log_unhandled
from sideband.peer.peer import Peer
from sideband.peer.policies import ConnectionPolicy, EventPolicy, RetryPolicy, RpcPolicy
from sideband.peer.relay_server import DAEMON_RETRY, RelayServer
from sideband.peer.server import Server
from sideband.secure_relay.limits import DaemonLimits
from sideband.transport.base import Transport
from sideband.transport.websocket import WebSocketTransport

__all__ = ["Authorize", "CloudServer", "listen"]

Authorize = Callable[[PeerIdentity | None], bool | Awaitable[bool]]
"""Asked with who a client is by the control plane's verified word; anything but True refuses it for good."""


class CloudServer(Server):
    """A daemon that the control plane knows. `listen` makes one."""

    def __init__(self, server: RelayServer, plane: ControlPlane, api_key: str, presence: RelayPresence) -> None:
        self._server = server
        self._plane = plane
        self._api_key = api_key
        self._presence = presence

    @property
    @override
    def address(self) -> str:
        return self._server.address

    @property
    def relay_url(self) -> str:
        """The relay of the connection that stands, or stood last."""
        return self._server.address

    @property
    def api_url(self) -> str:
        """The control plane."""
        return self._plane.url

    @property
    def daemon_id(self) -> str:
        """The daemon's id, by which clients find it."""
        return self._server.daemon_id

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the identity key, for people to compare."""
        return self._server.fingerprint

    @property
    def online(self) -> bool:
        """Whether the relay connection stands."""
        return self._server.online

    @property
    @override
    def connections(self) -> tuple[Peer, ...]:
        return self._server.connections

    async def create_quick_connect(self, ttl_seconds: int = 300) -> QuickConnectCode:
        """Make a code with which somebody without an account opens one session with this daemon.

        Args:
            ttl_seconds: how long it may be redeemed: 60 to 3,600 s; 300.

        Raises:
            CloudApiError: the control plane refused; 429 when too many codes are open.
            TransportError: it could not be reached. Nothing is retried.
        """
        return await self._plane.create_quick_connect(self._api_key, ttl_seconds)

    async def wait_closed(self) -> None:
        """Wait until the daemon is closed.

        Raises:
            CloudApiError: the control plane refused it, such as 401 once its key was revoked.
            PeerError: `not_connected` after the last try that `retry` allows.
            SidebandError: what else ended it, when it was not `close`; such as another process that uses its key.
        """
        try:
            await self._server.wait_closed()
        except SidebandError as error:
            self._presence.raise_final(error)

    @override
    async def close(self) -> None:
        """Tell the clients that the daemon ends and may be back, and let go of the relay connection. Idempotent."""
        await self._server.close()

    def __repr__(self) -> str:
        return f"<CloudServer {self.daemon_id} {'online' if self.online else 'offline'}>"


async def listen(
    *,
    api_key: str,
    identity_key_pair: IdentityKeyPair | FileIdentity,
    on_connection: OnConnection,
    daemon_id: str | None = None,
    api_url: str | None = None,
    relay_urls: Sequence[str] | None = None,
    name: str | None = None,
    rotate: bytes | None = None,
    authorize: Authorize | None = None,
    on_online: Callable[[], None] | None = None,
    on_offline: OnOffline | None = None,
    builtin_methods: bool = True,
    connection: ConnectionPolicy | None = None,
    rpc: RpcPolicy | None = None,
    events: EventPolicy | None = None,
    retry: RetryPolicy | None = None,
    on_unhandled_error: Callable[[BaseException], None] = log_unhandled,
    peer_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    limits: DaemonLimits | None = None,
    transport: Transport | None = None,
    ssl_context: ssl.SSLContext | None = None,
    options: PeerOptions | None = None,
) -> CloudServer:
    """Be the daemon that an API key belongs to. Returns once the first relay connection stands.

        def on_connection(peer: Peer) -> None:
            peer.rpc.handle("greet", lambda name: f"Hello {name}")

        identity = FileIdentity("identity.json")
        async with await sideband.cloud.listen(
            api_key=api_key, identity_key_pair=identity, on_connection=on_connection
        ) as server:
            print((await server.create_quick_connect()).code)
            await server.wait_closed()

    One outbound WebSocket carries all clients, so nothing has to be open to the outside. While the control plane or the
    relay cannot be reached, for want of a name, a refused connection, 409, 429 or 5xx, this tries again, after 1 s
    doubling to 30 s, with jitter, and never sooner than a Retry-After. When a connection is lost later, another one is
    made in the same way, each with a fresh token; one that stands is neither renewed nor cut. Cancelling the task that
    awaits this leaves nothing behind.

    Args:
        api_key: the daemon's, `sbnd_dak_...`.
        identity_key_pair: the key that the daemon proves to its clients. The control plane keeps the first one.
        on_connection: called with each client, sync or async. What it registers before its first `await` is in place
            before anything of the client is looked at.
        daemon_id: the daemon that the key has to belong to; any unless given.
        api_url: the control plane; `SIDEBAND_API_URL`, else http://127.0.0.1:8080.
        relay_urls: relays to use in place of the one that the control plane names, tried in this order.
        name: what people call the daemon, 1 to 128 characters; None leaves what it was.
        rotate: the statement by which the registered identity key hands over to this one.
        authorize: decides who may connect; by default everyone of whom the control plane says who it is, so neither the
            relay nor others can bring clients of their own.
        on_online: called when a relay connection stands, the first time before this returns.
        on_offline: called with why one was lost, or could not be had.
        builtin_methods: whether `$sideband/echo`, `$sideband/info` and `$sideband/stats` are answered; they are.
        connection: what a cut does to calls of the daemon to its clients; "pause" by default.
        rpc: limits of calls.
        events: limits of events.
        retry: how it comes back to the relay; without end by default. A policy that says "never" counts as none.
        on_unhandled_error: told what a handler raised; by default it is logged.
        peer_id: what this side calls itself; random by default.
        metadata: JSON values under `vendor:key`, told to the clients.
        limits: sessions and handshakes that the daemon takes, whatever the relay lets through.
        transport: what connects to the relay; `WebSocketTransport()` by default.
        ssl_context: for servers with a certificate of one's own; by default the system's roots, or SSL_CERT_FILE.
        options: all that `PeerOptions` holds in one object, in place of the policies and what else it holds.

    Raises:
        CloudApiError: refused for good: 400 (also when the key belongs to another daemon than `daemon_id`), 401, 403,
            404; 409 when the daemon has another identity key.
        PeerError: `not_connected` after the last try that `retry` allows.
        TransportError: the relay refused the daemon.
        ConfigError: an argument makes no sense.
    """
    settings = _settings(
        options,
        connection=connection,
        rpc=rpc,
        events=events,
        retry=retry,
        peer_id=peer_id,
        metadata=metadata,
        on_unhandled_error=None if on_unhandled_error is log_unhandled else on_unhandled_error,
    )
    plane = ControlPlane(api_url, ssl_context=ssl_context)
    check_credential(api_key, "api_key")
    keys = identity_key_pair.key_pair if isinstance(identity_key_pair, FileIdentity) else identity_key_pair

    def tell(function: Callable[..., None] | None, *arguments: object) -> None:
        try:
            if function is not None:
                function(*arguments)
        except Exception as error:  # noqa: BLE001  (what an application's callback raises must not end its daemon)
            settings.on_unhandled_error(error)

    def tell_offline(error: BaseException) -> None:
        tell(on_offline, error)

    daemon = await registered(
        plane,
        api_key,
        bytes(keys.public_key),
        expected_id=daemon_id,
        name=name,
        rotate=rotate,
        retry=DAEMON_RETRY if settings.retry.mode == "never" else settings.retry,
        options=settings,
        on_offline=tell_offline,
    )
    presence = RelayPresence(plane, api_key, daemon.id, tuple(relay_urls or ()), lambda: tell(on_online), tell_offline)
    negotiator = CloudDaemonNegotiator(
        daemon.id, keys, presence.next_params, limits or DaemonLimits(), presence=presence
    )
    builtin = BuiltinMethods(daemon.id, name, lambda: len(server.connections) if server else 0)
    server: RelayServer | None = None

    def introduce(peer: Peer) -> Any:
        if builtin_methods:
            builtin.serve(peer)
        return on_connection(peer)

    try:
        server = await listen_at_relay(
            None,
            introduce,
            negotiator=negotiator,
            transport=transport
            or WebSocketTransport(ssl_context=plane.ssl_context, heartbeat_seconds=settings.heartbeat_seconds),
            options=settings,
            verify_identity=IdentityTokenVerifier(
                daemon.issuer, daemon.id, PublishedKeys(plane.url, ssl_context=plane.ssl_context)
            ),
            authorize=authorize or _known,
        )
    except SidebandError as error:
        presence.raise_final(error)
    return CloudServer(server, plane, api_key, presence)


def _settings(options: PeerOptions | None, **given: Any) -> PeerOptions:
    chosen = {name: value for name, value in given.items() if value is not None}
    if options is None:
        return PeerOptions(**{"connection": ConnectionPolicy(on_disconnect="pause"), **chosen})
    if chosen:
        raise ConfigError(f"options was given together with {', '.join(chosen)}; set them in one place")
    return options


def _known(identity: PeerIdentity | None) -> bool:
    return identity is not None
