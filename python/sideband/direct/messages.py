"""The messages of an upgrade on the wire (docs/protocol/sbdp.md, "Upgrade")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

__all__ = [
    "MAX_ATTEMPTS",
    "MAX_CANDIDATES",
    "MAX_MESSAGE_BYTES",
    "Offer",
    "decode",
    "encode",
    "offer_fields",
    "offer_of",
]

MAX_MESSAGE_BYTES = 32 * 1024
MAX_CANDIDATES = 16
MAX_ATTEMPTS = 8
"""Attempts that the other side may bring about in one session, unless the policy says otherwise."""
MAX_CANDIDATE_BYTES = 300
MAX_DESCRIPTION_BYTES = 16 * 1024
ID_BYTES = 16
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Offer:
    """What one side says so that the other can reach it.

    Attributes:
        key: the static key that its channels show, 32 bytes.
        candidates: addresses to dial, such as `tcp://192.0.2.1:4242`.
        description: what WebRTC needs to know (SDP); empty without it.
    """

    key: bytes
    candidates: tuple[str, ...] = ()
    description: str = ""


def encode(kind: str, attempt: bytes, fields: dict[str, Any] | None = None) -> bytes:
    """Return a message of direct/1."""
    packed: bytes = msgpack.packb({"v": 1, "t": kind, "id": attempt} | (fields or {}))
    return packed


def decode(data: bytes) -> dict[str, Any] | None:
    """Return the fields of a message of direct/1: `t` is text and `id` 16 bytes. None when it is none."""
    if len(data) > MAX_MESSAGE_BYTES:
        return None
    try:
        fields = msgpack.unpackb(data, raw=False, strict_map_key=True, max_map_len=32, max_array_len=64, max_ext_len=0)
    except Exception:  # noqa: BLE001  (msgpack raises many kinds for bytes from outside, and each of them means the same)
        return None
    if not isinstance(fields, dict) or fields.get("v") != 1 or not isinstance(fields.get("t"), str):
        return None
    attempt = fields.get("id")
    return fields if isinstance(attempt, bytes) and len(attempt) == ID_BYTES else None


def offer_fields(offer: Offer) -> dict[str, Any]:
    """Return what `offer` and `answer` say besides their kind."""
    fields: dict[str, Any] = {"key": offer.key, "c": list(offer.candidates)}
    return fields | ({"sdp": offer.description} if offer.description else {})


def offer_of(fields: dict[str, Any]) -> Offer | None:
    """Return what an `offer` or `answer` says; None when a field is missing, of another type or too large."""
    key, candidates, description = fields.get("key"), fields.get("c", []), fields.get("sdp", "")
    if not isinstance(key, bytes) or len(key) != KEY_BYTES:
        return None
    if not isinstance(candidates, list) or len(candidates) > MAX_CANDIDATES:
        return None
    if not all(isinstance(candidate, str) and len(candidate) <= MAX_CANDIDATE_BYTES for candidate in candidates):
        return None
    if not isinstance(description, str) or len(description) > MAX_DESCRIPTION_BYTES:
        return None
    return Offer(key, tuple(candidates), description)
