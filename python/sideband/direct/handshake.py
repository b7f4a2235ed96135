"""The handshake of one connection: messages, proof, trust, keys, in that order (docs/protocol/sbdp.md, "Handshake").

`SideHandshake` is one side without I/O. `open_session` moves its messages over a connection and asks the trust policy
in between: the signature is verified first, then the policy decides and the key is pinned, then the keys are derived.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from sideband._native import NOISE_MAX_RECORD, IdentityKeyPair, NoiseHandshake, NoiseKeyPair, NoiseSession
from sideband.direct.binding import binding_of, prologue
from sideband.direct.proof import Proof, decode_proof, encode_proof
from sideband.errors import ConfigError, IdentityRefusedError, SbdpError
from sideband.identity import IdentityTrust, TrustOutcome, Verdict, compute_fingerprint
from sideband.transport import Connection

__all__ = [
    "BROKEN",
    "REFUSED",
    "DirectIdentity",
    "Opened",
    "Rekey",
    "SideHandshake",
    "Trusted",
    "open_session",
    "seal_close",
]

REFUSED = 1
"""The code of a close record when the key, the name or a policy was not accepted: trying again does not help."""
BROKEN = 2
"""The code of a close record when a record did not open, or was none that may come: the session is over for good."""
CLOSE_RECORD = 3
MAX_REASON_BYTES = 123


@dataclass(frozen=True, slots=True)
class DirectIdentity:
    """What one side of direct sessions is known by.

    Attributes:
        name: 1 to 255 bytes; the other side pins the key under it.
        key_pair: its static X25519 key pair.
        identity: its Ed25519 key pair, which then signs every handshake; None without one.
    """

    name: str
    key_pair: NoiseKeyPair
    identity: IdentityKeyPair | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Rekey:
    """When a side goes on to its next key.

    Attributes:
        records: records under one key, the one that goes on to the next among them; 2 to 2^32, which is the default.
        bytes: plaintext bytes under one key; 1 to 64 GiB, which is the default. A single record may be larger.

    Raises:
        ConfigError: a limit is outside of what the protocol allows.
    """

    records: int = 1 << 32
    bytes: int = 64 << 30

    def __post_init__(self) -> None:
        if not 2 <= self.records <= 1 << 32 or not 1 <= self.bytes <= 64 << 30:
            raise ConfigError("a key serves 2 to 2^32 records and 1 byte to 64 GiB")


@dataclass(frozen=True, slots=True)
class Trusted:
    """Whom to accept, and how that is decided.

    Exactly one of `trust` and `exact_key` is given.

    Attributes:
        trust: the policy and the pins.
        exact_key: the only static key that is accepted, 32 bytes; nothing is pinned then.
        name: the only name that is accepted; None takes any that the policy and the pins allow.
        identity_key: the Ed25519 key that has to have signed; None takes any or none.
    """

    trust: IdentityTrust | None = None
    exact_key: bytes | None = None
    name: str | None = None
    identity_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A session, and who is at its other end.

    Attributes:
        session: its records.
        proof: what the other side said.
        trust: why its key is trusted.
        handshake_hash: 32 bytes that both sides know, and that no other session has.
    """

    session: NoiseSession
    proof: Proof
    trust: TrustOutcome
    handshake_hash: bytes


class SideHandshake:
    """One side of the handshake, without I/O.

    The initiator calls `begin`, `read_second`, `third`; the responder `read_first`, `second`, `read_third`.

    Args:
        identity: this side's.
        initiator: whether it dialled.
        bound_to: the prologue.
    """

    def __init__(self, identity: DirectIdentity, *, initiator: bool, bound_to: bytes) -> None:
        self._identity = identity
        self._noise = NoiseHandshake(identity.key_pair, initiator=initiator, prologue=bound_to)

    @property
    def remote_key(self) -> bytes:
        """The other side's static key; it has come by the time that a proof was read."""
        key = self._noise.remote_key
        if key is None:
            raise SbdpError("handshake_failed", "the other side's key has not come")
        return key

    @property
    def hash(self) -> bytes:
        """The hash of all that was exchanged so far."""
        return self._noise.hash

    def begin(self) -> bytes:
        """Return message 1."""
        return b"\x01" + self._noise.write()

    def read_first(self, message: bytes) -> bytes:
        """Take message 1 and return message 2."""
        self._noise.read(_body(message, 1))
        return b"\x02" + self._noise.write(self._proof())

    def read_second(self, message: bytes) -> Proof:
        """Take message 2."""
        return self._read_proof(message, 2)

    def third(self) -> bytes:
        """Return message 3."""
        return b"\x03" + self._noise.write(self._proof())

    def read_third(self, message: bytes) -> Proof:
        """Take message 3."""
        return self._read_proof(message, 3)

    def session(self, max_record: int, rekey: Rekey) -> NoiseSession:
        """Take the keys, once the handshake is done."""
        return self._noise.session(max_record=max_record, rekey_records=rekey.records, rekey_bytes=rekey.bytes)

    def _proof(self) -> bytes:
        own = self._identity
        return encode_proof(own.name, own.key_pair.public_key, self._noise.hash, own.identity)

    def _read_proof(self, message: bytes, kind: int) -> Proof:
        before = self._noise.hash
        payload = self._noise.read(_body(message, kind))
        return decode_proof(payload, self.remote_key, before)


async def open_session(
    connection: Connection,
    identity: DirectIdentity,
    trusted: Trusted,
    *,
    initiator: bool,
    rekey: Rekey,
    deciding: Callable[[], None],
    tls_certificate: bytes | None = None,
) -> Opened:
    """Make a session over an open connection, which stays the caller's to close, also when this raises.

    Args:
        connection: just opened.
        identity: this side's.
        trusted: whom to accept.
        initiator: whether this side dialled.
        rekey: when this side goes on to its next key.
        deciding: called once the other side has proved its key, before anybody is asked whether that is the right one.
        tls_certificate: see `binding_of`.

    Raises:
        SbdpError: `handshake_failed`; `handshake_timeout` when the other side left while somebody was deciding.
        IdentityRefusedError: the key, or its name, is not accepted.
        IdentityStoreError: the pin store failed.
        TransportError: the connection was lost.
    """
    name, binding = binding_of(connection, tls_certificate)
    side = SideHandshake(identity, initiator=initiator, bound_to=prologue(name, binding))
    max_record = min(NOISE_MAX_RECORD, getattr(connection, "max_record_bytes", NOISE_MAX_RECORD))
    if initiator:
        await connection.send(side.begin())
        proof = side.read_second(await connection.receive())
        deciding()
        outcome = await _decide(trusted, proof, side.remote_key)
        if connection.closed:
            # Only a person takes longer than a listener waits, and what was decided holds.
            text = "the other side did not wait for the decision about its key; it is made, so connect again"
            raise SbdpError("handshake_timeout", text)
        await connection.send(side.third())
        return Opened(side.session(max_record, rekey), proof, outcome, side.hash)
    await connection.send(side.read_first(await connection.receive()))
    proof = side.read_third(await connection.receive())
    deciding()
    try:
        outcome = await _decide(trusted, proof, side.remote_key)
    except IdentityRefusedError as error:
        # The initiator takes itself for connected by now; without a word it would come again and again.
        await _refuse(connection, side.session(max_record, rekey))
        raise error from None
    return Opened(side.session(max_record, rekey), proof, outcome, side.hash)


def seal_close(session: NoiseSession, code: int, reason: str) -> list[bytes]:
    """Return the messages of a close record: code (u16 big-endian) and a reason of at most 123 bytes."""
    text = reason.encode()[:MAX_REASON_BYTES].decode(errors="ignore").encode()
    return session.seal_control(CLOSE_RECORD, code.to_bytes(2, "big") + text)


async def _decide(trusted: Trusted, proof: Proof, received: bytes) -> TrustOutcome:
    fingerprint = compute_fingerprint(received)
    if trusted.name is not None and proof.name != trusted.name:
        text = f"{trusted.name!r} was expected, and the other side is {proof.name!r}; check the address"
        raise IdentityRefusedError(text, expected=None, received=fingerprint)
    expected = trusted.identity_key
    if expected is not None and (proof.identity_key is None or not hmac.compare_digest(proof.identity_key, expected)):
        text = f"{proof.name!r} did not sign with the identity key that was expected; someone may be impersonating it"
        raise IdentityRefusedError(text, expected=compute_fingerprint(expected), received=fingerprint)
    if trusted.exact_key is not None:
        if not hmac.compare_digest(trusted.exact_key, received):
            text = f"{proof.name!r} showed another key than the one it had announced"
            raise IdentityRefusedError(text, expected=compute_fingerprint(trusted.exact_key), received=fingerprint)
        return TrustOutcome(received, Verdict.KNOWN)
    if trusted.trust is None:
        raise IdentityRefusedError("nothing says whom to trust", expected=None, received=fingerprint)
    return await trusted.trust.resolve(proof.name, received)


async def _refuse(connection: Connection, session: NoiseSession) -> None:
    await connection.send_many(seal_close(session, REFUSED, "the identity was refused"))
    session.clear()


def _body(message: bytes, kind: int) -> bytes:
    if not message or message[0] != kind:
        came = f"{message[0]:#04x}" if message else "an empty message"
        raise SbdpError("handshake_failed", f"handshake message {kind} was due, {came} came")
    return message[1:]
