"""Both sides of the SBRP handshake (docs/protocol/sbrp.md, "Handshake")."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sideband import _native
from sideband._native import (
    EphemeralKeyPair,
    IdentityKeyPair,
    SessionKeys,
    compute_fingerprint,
    sign,
    verify_signature,
)
from sideband.errors import SbrpError, SbrpErrorCode
from sideband.secure_relay.frames import HandshakeAccept, HandshakeInit, message_bytes

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "EphemeralKeyPair",
    "HandshakeInitResult",
    "HandshakeResult",
    "IdentityKeyPair",
    "SessionKeys",
    "compute_fingerprint",
    "create_handshake_init",
    "generate_ephemeral_key_pair",
    "generate_identity_key_pair",
    "process_handshake_accept",
    "process_handshake_init",
    "sign",
    "verify_handshake_accept",
    "verify_signature",
]


class HandshakeInitResult(NamedTuple):
    """The client's first message, and the key pair to finish the handshake with."""

    message: HandshakeInit
    ephemeral_key_pair: EphemeralKeyPair


class HandshakeResult(NamedTuple):
    """The daemon's answer, and the keys of the session."""

    message: HandshakeAccept
    session_keys: SessionKeys


def generate_identity_key_pair() -> IdentityKeyPair:
    """Return a new Ed25519 identity from the operating system's randomness.

    Raises:
        OSError: the system gave none.
    """
    return IdentityKeyPair.generate()


def generate_ephemeral_key_pair() -> EphemeralKeyPair:
    """Return a new X25519 key pair, good for one handshake, from the operating system's randomness.

    Raises:
        OSError: the system gave none.
    """
    return EphemeralKeyPair.generate()


def create_handshake_init(ephemeral_key_pair: EphemeralKeyPair | None = None) -> HandshakeInitResult:
    """Begin a handshake on the client, with a new key pair unless one is given.

    Raises:
        SbrpError: `handshake_failed` when the key pair given was used before.
        OSError: the system gave no randomness.
    """
    pair = EphemeralKeyPair.generate() if ephemeral_key_pair is None else ephemeral_key_pair
    if pair.consumed:
        raise SbrpError(SbrpErrorCode.HANDSHAKE_FAILED, "this ephemeral key pair was used before; take a new one")
    return HandshakeInitResult(HandshakeInit(pair.public_key), pair)


def process_handshake_init(
    init: HandshakeInit | Buffer,
    daemon_id: str,
    identity: IdentityKeyPair,
    ephemeral_key_pair: EphemeralKeyPair | None = None,
) -> HandshakeResult:
    """Answer a client's init on the daemon. The ephemeral key pair, a new one by default, is consumed.

    Args:
        init: the client's message, or its 32 bytes.
        daemon_id: as the client knows it; any length, no normalisation.
        identity: the daemon's key pair.
        ephemeral_key_pair: given only to check vectors.

    Raises:
        SbrpError: `handshake_failed` for a wrong length, a low-order key, or a used key pair.
        OSError: the system gave no randomness.
    """
    accept, keys = _native.process_handshake_init(message_bytes(init), daemon_id, identity, ephemeral_key_pair)
    return HandshakeResult(HandshakeAccept(*_native.decode_handshake_accept(accept)), keys)


def verify_handshake_accept(accept: HandshakeAccept | Buffer, daemon_id: str, client_ephemeral_public: Buffer) -> bytes:
    """Verify an accept's signature strictly and return the identity key (32 bytes) that it proves.

    Nothing is pinned and no key is derived: on first contact, decide on the key returned, then give it to
    `process_handshake_accept`.

    Raises:
        SbrpError: `handshake_failed`.
    """
    return _native.verify_handshake_accept(_accept_bytes(accept), daemon_id, client_ephemeral_public)


def process_handshake_accept(
    accept: HandshakeAccept | Buffer,
    daemon_id: str,
    pinned_key: Buffer | None,
    ephemeral_key_pair: EphemeralKeyPair,
) -> SessionKeys:
    """Finish the handshake on the client. The ephemeral key pair is consumed on any outcome.

    Args:
        accept: the daemon's message, or its 128 bytes.
        daemon_id: the daemon that was asked for; any length, no normalisation.
        pinned_key: the identity key (32 bytes) to expect; None on first contact takes the one in the accept.
        ephemeral_key_pair: the one `create_handshake_init` returned.

    Raises:
        SbrpError: `identity_key_changed` when the accept holds another key than the pinned one, else
            `handshake_failed`.
    """
    return _native.process_handshake_accept(_accept_bytes(accept), daemon_id, pinned_key, ephemeral_key_pair)


def _accept_bytes(accept: HandshakeAccept | Buffer) -> Buffer:
    # Not `message_bytes`: a part of a wrong length has to reach the native function, which fails the handshake and
    # consumes the key pair. A part too long is cut out by joining only when all parts are right.
    if isinstance(accept, HandshakeAccept):
        right = tuple(len(part) for part in accept) == (32, 32, 64)
        return bytes(accept) if right else b""
    return accept
