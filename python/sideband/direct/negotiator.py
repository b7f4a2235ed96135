"""The negotiator of direct sessions (docs/protocol/sbdp.md; docs/protocol/peer.md, "Negotiators")."""

from __future__ import annotations

import asyncio

from typing_extensions import override

from sideband._native import IdentityKeyPair, NoiseKeyPair
from sideband.daemon_id import check_daemon_id
from sideband.direct.binding import binding_of
from sideband.direct.handshake import DirectIdentity, Opened, Rekey, Trusted, open_session
from sideband.direct.link import DEFAULT_HEARTBEAT_SECONDS, DirectLink, abort
from sideband.errors import ConfigError, SbdpError
from sideband.identity import FileIdentity, FileStaticKey, IdentityTrust
from sideband.peer.clock import Clock, LoopClock
from sideband.peer.link import Link, LinkInfo
from sideband.peer.negotiator import Negotiator
from sideband.protocol.limits import MAX_PLAIN_FRAME_BYTES
from sideband.transport import Connection

__all__ = ["HALF_OPEN_SECONDS", "MAX_HALF_OPEN", "DirectNegotiator", "direct_identity", "sbdp_negotiator"]

MAX_HALF_OPEN = 64
"""Handshakes that one listener has under way, and as many that wait for a decision; beyond, the oldest is dropped."""
HALF_OPEN_SECONDS = 10.0
"""How long a handshake may take; what this side's own policy takes to decide is not counted."""


class DirectNegotiator(Negotiator):
    """Opens direct sessions. `sbdp_negotiator` makes one."""

    def __init__(
        self,
        identity: DirectIdentity,
        trusted: Trusted,
        *,
        initiator: bool,
        rekey: Rekey,
        max_half_open: int,
        half_open_seconds: float,
        heartbeat_seconds: float | None,
        tls_certificate: bytes | None,
        clock: Clock,
    ) -> None:
        self.identity = identity
        self._trusted = trusted
        self._initiator = initiator
        self._rekey = rekey
        self._max_half_open = max_half_open
        self._half_open_seconds = half_open_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._tls_certificate = tls_certificate
        self._clock = clock
        self._half_open: dict[asyncio.Future[SbdpError], None] = {}
        self._deciding: dict[asyncio.Future[SbdpError], None] = {}
        self._links: dict[Connection, DirectLink] = {}

    @property
    def half_open(self) -> int:
        """Handshakes under way, those not counted whose key is being decided on."""
        return len(self._half_open)

    @override
    async def negotiate(self, connection: Connection) -> Link:
        opened = await self._within_limits(connection)
        transport, _ = binding_of(connection, self._tls_certificate)
        link = DirectLink(
            connection,
            opened.session,
            LinkInfo(
                max_frame_payload=min(opened.session.max_content, MAX_PLAIN_FRAME_BYTES),
                path=f"direct:{transport}",
                identity_key=opened.trust.identity_key,
                replaced_key=opened.trust.replaced,
                remote_name=opened.proof.name,
                keeps_streams=True,
            ),
            self._clock,
            self._heartbeat_seconds,
        )
        self._links[connection] = link
        return link

    @override
    async def terminate(self, connection: Connection) -> None:
        link = self._links.pop(connection, None)
        if link is None:
            await connection.close()
        else:
            await link.close()

    async def _within_limits(self, connection: Connection) -> Opened:
        given_up: asyncio.Future[SbdpError] = asyncio.get_running_loop().create_future()
        self._take_place(self._half_open, given_up)
        seconds = self._half_open_seconds
        late = SbdpError("handshake_timeout", f"the handshake was not done within {seconds:g} s")
        timer = self._clock.call_later(seconds, lambda: None if given_up.done() else given_up.set_result(late))

        def deciding() -> None:
            # It has proved a key, but anybody has one: who waits for a decision has a place to lose as well.
            timer.cancel()
            if given_up.done():
                raise given_up.result()
            del self._half_open[given_up]
            self._take_place(self._deciding, given_up)

        shaking = asyncio.create_task(
            open_session(
                connection,
                self.identity,
                self._trusted,
                initiator=self._initiator,
                rekey=self._rekey,
                deciding=deciding,
                tls_certificate=self._tls_certificate,
            ),
            name="sideband direct handshake",
        )
        try:
            await asyncio.wait((shaking, given_up), return_when=asyncio.FIRST_COMPLETED)
            if shaking.done():
                return shaking.result()
            # Nothing is worth being said to whoever does not answer.
            abort(connection)
            raise given_up.result()
        except asyncio.CancelledError:
            abort(connection)
            raise
        finally:
            timer.cancel()
            self._half_open.pop(given_up, None)
            self._deciding.pop(given_up, None)
            shaking.cancel()
            await asyncio.gather(shaking, return_exceptions=True)

    def _take_place(self, places: dict[asyncio.Future[SbdpError], None], given_up: asyncio.Future[SbdpError]) -> None:
        if len(places) >= self._max_half_open:
            oldest = next(iter(places))
            del places[oldest]
            oldest.set_result(SbdpError("overloaded", "too many handshakes were under way; try again"))
        places[given_up] = None


def sbdp_negotiator(
    name: str,
    key: NoiseKeyPair | FileStaticKey,
    *,
    initiator: bool,
    trust: IdentityTrust | None = None,
    remote_name: str | None = None,
    remote_key: bytes | None = None,
    remote_identity_key: bytes | None = None,
    identity: IdentityKeyPair | FileIdentity | None = None,
    rekey: Rekey | None = None,
    max_half_open: int = MAX_HALF_OPEN,
    half_open_seconds: float = HALF_OPEN_SECONDS,
    heartbeat_seconds: float | None = DEFAULT_HEARTBEAT_SECONDS,
    tls_certificate: bytes | None = None,
    clock: Clock | None = None,
) -> DirectNegotiator:
    """Return the negotiator of direct sessions: Noise XX, with the other side's key pinned under its name.

    Args:
        name: what this side calls itself, 1 to 255 bytes; the other side pins this side's key under it.
        key: this side's static key.
        initiator: True for the side that dials (`create_peer`), False for the one that listens (`listen`).
        trust: decides on the other side's key by its name and pins it. Needed unless `remote_key` is given. Its pins
            are of static keys of direct sessions: keep them apart from those of daemons behind a relay.
        remote_name: the only name that is accepted. A side that dials names whom it means, or the policy would pin
            whoever answers under a name of its own choice.
        remote_key: the only static key that is accepted, 32 bytes, known from elsewhere; nothing is pinned then.
        remote_identity_key: the Ed25519 key that has to have signed the handshake, such as the one pinned over a relay.
        identity: this side's Ed25519 key, which then signs every handshake.
        rekey: when this side goes on to its next key.
        max_half_open: handshakes under way at once; beyond, the oldest is dropped. 64.
        half_open_seconds: how long each may take; 10.
        heartbeat_seconds: silence after which the other side is pinged; 25. None never pings.
        tls_certificate: SHA-256 of the certificate that clients see, 32 bytes, for a listener on `wss://` or behind a
            proxy that ends TLS. Without it such clients refuse the session.
        clock: where time comes from.

    Raises:
        ConfigError: what to trust is not given, or given twice; a dialling side names nobody; a key has another length.
    """
    if (trust is None) is (remote_key is None):
        raise ConfigError("a direct session needs either trust or remote_key, and not both")
    if initiator and remote_name is None and remote_key is None:
        raise ConfigError("a side that dials gives remote_name: the name whose key it means to reach")
    if remote_name is not None:
        check_daemon_id(remote_name)
    sizes = {"remote_key": remote_key, "remote_identity_key": remote_identity_key, "tls_certificate": tls_certificate}
    for what, given in sizes.items():
        if given is not None and len(given) != 32:
            raise ConfigError(f"{what} is 32 bytes, got {len(given)}")
    if max_half_open < 1 or half_open_seconds <= 0:
        raise ConfigError("max_half_open is at least 1 and half_open_seconds more than 0")
    return DirectNegotiator(
        direct_identity(name, key, identity),
        Trusted(trust, remote_key, remote_name, remote_identity_key),
        initiator=initiator,
        rekey=rekey or Rekey(),
        max_half_open=max_half_open,
        half_open_seconds=half_open_seconds,
        heartbeat_seconds=heartbeat_seconds,
        tls_certificate=tls_certificate,
        clock=clock or LoopClock(),
    )


def direct_identity(
    name: str, key: NoiseKeyPair | FileStaticKey, identity: IdentityKeyPair | FileIdentity | None = None
) -> DirectIdentity:
    """Return what one side is known by.

    Raises:
        ConfigError: for a name that is none.
    """
    pair = key.key_pair if isinstance(key, FileStaticKey) else key
    signer = identity.key_pair if isinstance(identity, FileIdentity) else identity
    return DirectIdentity(check_daemon_id(name), pair, signer)
