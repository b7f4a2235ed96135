"""Rotation statements: an identity key says which key follows it (docs/protocol/rotation.md)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sideband import _native
from sideband.daemon_id import check_daemon_id
from sideband.errors import SidebandError

__all__ = ["STATEMENT_BYTES", "Rotation", "RotationError", "leads_to", "make_statement", "verify_statement"]

STATEMENT_BYTES = 137
"""Length of a statement: version, old key, new key, time, signature."""

_VERSION = 1
_DOMAIN = b"sideband identity rotation v1\x00"
_KEY_BYTES = 32
_SIGNED_BYTES = STATEMENT_BYTES - 64


class RotationError(SidebandError):
    """A rotation statement is malformed, about other keys, or not signed by the key that it ends."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a verified statement says; `issued_at` in seconds since 1970."""

    old_key: bytes
    new_key: bytes
    issued_at: int


def make_statement(daemon_id: str, old_pair: _native.IdentityKeyPair, new_public_key: bytes, issued_at: int) -> bytes:
    """Return the statement by which `old_pair` hands over to `new_public_key` (137 bytes).

    Raises:
        RotationError: the new key is not 32 bytes, or it is the old one.
        ConfigError: `daemon_id` is not a daemon id.
    """
    old = bytes(old_pair.public_key)
    if len(new_public_key) != _KEY_BYTES or new_public_key == old:
        raise RotationError("the new identity key must be 32 bytes and differ from the old one")
    body = bytes([_VERSION]) + old + bytes(new_public_key) + issued_at.to_bytes(8, "big")
    return body + _native.sign(old_pair, _signed(daemon_id, body))


def verify_statement(statement: bytes, daemon_id: str, old_key: bytes, new_key: bytes | None = None) -> Rotation:
    """Return what a statement says, verified strictly under `old_key`.

    Args:
        statement: 137 bytes.
        daemon_id: the daemon it must be about.
        old_key: the key that must have signed it.
        new_key: the key it must name; any when None.

    Raises:
        RotationError: any of these does not hold.
    """
    if len(statement) != STATEMENT_BYTES or statement[0] != _VERSION:
        raise RotationError(f"a rotation statement is {STATEMENT_BYTES} bytes of version {_VERSION}")
    body, signature = statement[:_SIGNED_BYTES], statement[_SIGNED_BYTES:]
    found = Rotation(bytes(body[1:33]), bytes(body[33:65]), int.from_bytes(body[65:73], "big"))
    if found.old_key != old_key or found.new_key == found.old_key or new_key not in (None, found.new_key):
        raise RotationError("the rotation statement is about other keys")
    if not _native.verify_signature(old_key, _signed(daemon_id, body), signature):
        raise RotationError("the rotation statement is not signed by the key that it ends")
    return found


def leads_to(daemon_id: str, pinned: bytes, received: bytes, statements: Iterable[bytes]) -> bool:
    """Tell whether statements, the oldest first, lead from the pinned key to the received one and no further.

    Statements about other keys than the one reached so far are passed over, as are malformed and falsely signed ones. A
    key that the chain goes on from is not trusted: it was given up, maybe because it was stolen.
    """
    current = pinned
    for statement in statements:
        try:
            current = verify_statement(statement, daemon_id, current).new_key
        except RotationError:
            continue
    return current == received and received != pinned


def _signed(daemon_id: str, body: bytes) -> bytes:
    name = check_daemon_id(daemon_id).encode()
    return _DOMAIN + len(name).to_bytes(2, "big") + name + body
