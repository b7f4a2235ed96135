"""Signed requests: their canonical bytes, their signatures, and the times they are taken at.

Implements docs/protocol/inbox.md, "Signed requests". No I/O; the time is passed in.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from sideband._native import IdentityKeyPair, sign, verify_signature
from sideband.errors import InboxError

__all__ = [
    "KEY_BYTES",
    "MAX_NUMBER",
    "MAX_SIGNED_AGE_MS",
    "MAX_SIGNED_AHEAD_MS",
    "SIGNATURE_BYTES",
    "canonical_bytes",
    "check_signature",
    "check_signed_at",
    "decode_base64",
    "encode_base64",
    "sign_fields",
]

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

MAX_SIGNED_AGE_MS: Final = 300_000
"""A request signed longer ago than this is refused: 5 min."""
MAX_SIGNED_AHEAD_MS: Final = 60_000
"""A request signed later than this after the server's time is refused: 1 min."""

MAX_NUMBER: Final = 2**53 - 1
"""Largest number in a signed field; beyond it, JSON numbers are not exact everywhere."""

_STANDARD = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_URL_SAFE = re.compile(r"[A-Za-z0-9_-]*={0,2}")


def canonical_bytes(fields: Mapping[str, Any]) -> bytes:
    """Return what is signed: all fields but `signature`, keys sorted, compact JSON in UTF-8 without ASCII escaping.

    Numbers that travel as text in a query have to be numbers here.

    Raises:
        InboxError: `SHADE_VALIDATION`: a text is no Unicode, or a number is no finite one.
    """
    signed = {name: value for name, value in fields.items() if name != "signature"}
    try:
        return json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise InboxError("SHADE_VALIDATION", "a field holds what JSON in UTF-8 cannot say") from error


def sign_fields(identity: IdentityKeyPair, fields: Mapping[str, Any]) -> str:
    """Return the signature of a request's fields, in standard padded base64."""
    return encode_base64(sign(identity, canonical_bytes(fields)))


def check_signature(public_key: bytes, fields: Mapping[str, Any], signature: bytes) -> None:
    """Let a request pass that `public_key` (32 bytes) has signed.

    Raises:
        InboxError: `SHADE_UNAUTHORIZED`: the signature is not that key's over these fields.
    """
    if not verify_signature(public_key, canonical_bytes(fields), signature):
        raise InboxError("SHADE_UNAUTHORIZED", "the signature does not fit this request and this key")


def check_signed_at(signed_at: int, now_ms: int) -> None:
    """Let a request pass that was signed at most 5 min ago and at most 1 min ahead; both ends included.

    Raises:
        InboxError: `SHADE_REPLAY`: it was signed too long ago or too far ahead.
    """
    if now_ms - signed_at > MAX_SIGNED_AGE_MS:
        raise InboxError("SHADE_REPLAY", "signedAt is more than 5 min ago; sign again, and check this machine's clock")
    if signed_at - now_ms > MAX_SIGNED_AHEAD_MS:
        raise InboxError("SHADE_REPLAY", "signedAt is more than 1 min ahead; check this machine's clock")


def encode_base64(data: bytes) -> str:
    """Return standard padded base64 (RFC 4648 section 4)."""
    return base64.b64encode(data).decode()


def decode_base64(text: object, name: str, *, size: int | None = None) -> bytes:
    """Return the bytes of base64, standard or url-safe, padded or not; one text stands for one value only.

    Args:
        text: what came.
        name: the field, for the error.
        size: how many bytes there have to be; None for any number.

    Raises:
        InboxError: `SHADE_VALIDATION`: it is no text, no base64, has bits that stand for nothing, or another size.
    """
    if not isinstance(text, str) or not (_STANDARD.fullmatch(text) or _URL_SAFE.fullmatch(text)):
        raise InboxError("SHADE_VALIDATION", f"{name} has to be base64")
    bare = text.rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    if text not in (bare, padded):
        raise InboxError("SHADE_VALIDATION", f"{name} has to be base64, padded to a multiple of 4 or not at all")
    standard = padded.translate(_TO_STANDARD) if "-" in padded or "_" in padded else padded
    try:
        data = binascii.a2b_base64(standard)
    except ValueError as error:
        raise InboxError("SHADE_VALIDATION", f"{name} has to be base64") from error
    # The last group may hold bits beyond the last byte; they have to be 0, or two texts would be one value.
    if base64.b64encode(data[len(data) // 3 * 3 :] or data[-3:]).decode() != standard[-4:]:
        raise InboxError("SHADE_VALIDATION", f"{name} has to be base64 whose unused bits are 0")
    if size is not None and len(data) != size:
        raise InboxError("SHADE_VALIDATION", f"{name} has to be {size} bytes in base64, got {len(data)}")
    return data


_TO_STANDARD = str.maketrans("-_", "+/")
