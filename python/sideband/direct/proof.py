"""What both sides say about themselves inside the handshake (docs/protocol/sbdp.md, "Identity")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from sideband._native import NOISE_MAX_PAYLOAD, IdentityKeyPair, sign, verify_signature
from sideband.daemon_id import check_daemon_id, is_daemon_id
from sideband.errors import SbdpError

__all__ = ["SIGNATURE_CONTEXT", "Proof", "decode_proof", "encode_proof"]

SIGNATURE_CONTEXT = b"sbdp-v1-identity"
MAX_CAPS = 64
MAX_CAP_BYTES = 64


@dataclass(frozen=True, slots=True)
class Proof:
    """What the other side said, verified as far as it can be without knowing it.

    Attributes:
        name: what it calls itself, 1 to 255 bytes. The policy and the pin decide whether its key may.
        identity_key: its Ed25519 key, whose signature over this handshake has verified; None without one.
        caps: extensions of SBDP that it speaks.
    """

    name: str
    identity_key: bytes | None = None
    caps: frozenset[str] = frozenset()


def encode_proof(
    name: str, static_key: bytes, previous_hash: bytes, identity: IdentityKeyPair | None, caps: tuple[str, ...] = ()
) -> bytes:
    """Return the payload of message 2 or 3.

    Args:
        name: what this side calls itself.
        static_key: its X25519 public key.
        previous_hash: the handshake's hash after the previous message.
        identity: its Ed25519 key pair, when it has one.
        caps: extensions of SBDP that it speaks.

    Raises:
        ConfigError: for a name of another size.
    """
    fields: dict[str, Any] = {"v": 1, "name": check_daemon_id(name)}
    if identity is not None:
        fields["ed25519"] = identity.public_key
        fields["sig"] = sign(identity, SIGNATURE_CONTEXT + static_key + previous_hash)
    if caps:
        fields["caps"] = list(caps)
    packed: bytes = msgpack.packb(fields)
    return packed


def decode_proof(payload: bytes, static_key: bytes, previous_hash: bytes) -> Proof:
    """Read the other side's payload and verify its signature.

    Args:
        payload: as it came, decrypted.
        static_key: the other side's X25519 public key, from the same message.
        previous_hash: the handshake's hash before that message.

    Raises:
        SbdpError: `handshake_failed` for anything but a valid payload, or a signature that does not verify.
    """
    fields = _unpack(payload)
    if type(fields.get("v")) is not int or fields["v"] != 1:
        raise _failed("the other side speaks another version; update the older of the two")
    name, key, signature = fields.get("name"), fields.get("ed25519"), fields.get("sig")
    if not isinstance(name, str) or not is_daemon_id(name):
        raise _failed("the other side gave no valid name")
    if (key is None) is not (signature is None):
        raise _failed("an identity key and its signature come together or not at all")
    if key is not None:
        signed = SIGNATURE_CONTEXT + static_key + previous_hash
        if not isinstance(key, bytes) or not isinstance(signature, bytes) or len(key) != 32 or len(signature) != 64:
            raise _failed("the identity key has 32 bytes and its signature 64")
        if not verify_signature(key, signed, signature):
            raise _failed("the identity key did not sign this handshake")
    caps = fields.get("caps", [])
    if (
        not isinstance(caps, list)
        or len(caps) > MAX_CAPS
        or not all(isinstance(cap, str) and 0 < len(cap.encode()) <= MAX_CAP_BYTES for cap in caps)
    ):
        raise _failed(f"caps is a list of at most {MAX_CAPS} short texts")
    return Proof(name, key, frozenset(caps))


def _unpack(payload: bytes) -> dict[str, Any]:
    if len(payload) > NOISE_MAX_PAYLOAD:
        raise _failed(f"a payload has at most {NOISE_MAX_PAYLOAD} bytes")
    try:
        fields = msgpack.unpackb(
            payload,
            raw=False,
            strict_map_key=True,
            max_map_len=64,
            max_array_len=MAX_CAPS,
            max_ext_len=0,  # msgpack makes timestamps without asking the hook
            ext_hook=_no_extension,
        )
    except Exception as error:
        # msgpack raises many kinds for bytes from outside, and each of them means the same.
        raise _failed("the payload is not one MessagePack map") from error
    if not isinstance(fields, dict) or not all(isinstance(key, str) for key in fields):
        raise _failed("the payload is not one MessagePack map")
    return fields


def _no_extension(code: int, data: bytes) -> None:
    raise ValueError(f"no extension type is part of this; type {code} with {len(data)} bytes came")


def _failed(text: str) -> SbdpError:
    return SbdpError("handshake_failed", text)
