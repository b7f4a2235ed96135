"""The SBP handshake: who speaks, which protocol, which extensions (docs/protocol/sbp.md, "Handshake")."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from sideband.errors import SbpError

__all__ = [
    "BIN_1",
    "DIRECT_1",
    "FRAG_1",
    "MAX_FRAME_KEY",
    "MAX_HANDSHAKE_BYTES",
    "MAX_PEER_ID_BYTES",
    "PROTOCOL",
    "RESUME_1",
    "STREAM_1",
    "VERSION",
    "HandshakePayload",
    "decode_handshake",
    "encode_handshake",
]

PROTOCOL: Final = "sideband"
VERSION: Final = "1"
MAX_HANDSHAKE_BYTES: Final = 8 * 1024
MAX_PEER_ID_BYTES: Final = 255

RESUME_1: Final = "resume/1"
FRAG_1: Final = "frag/1"
STREAM_1: Final = "stream/1"
BIN_1: Final = "bin/1"
DIRECT_1: Final = "direct/1"

MAX_FRAME_KEY: Final = "sideband:max_frame"


@dataclass(frozen=True, slots=True)
class HandshakePayload:
    """What one side says about itself.

    Attributes:
        peer_id: at most 255 bytes of UTF-8.
        caps: names of the extensions this side speaks; only what both list is used.
        metadata: JSON values under keys of the form `vendor:key`.
    """

    peer_id: str
    caps: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        # Metadata can carry an identity token, which belongs in no log.
        return (
            f"HandshakePayload(peer_id={self.peer_id!r}, caps={self.caps!r}, metadata keys={sorted(self.metadata)!r})"
        )


def encode_handshake(payload: HandshakePayload) -> bytes:
    """Return the JSON of a handshake, at most 8 KiB.

    Raises:
        SbpError: 1002 when the peer id is over 255 bytes, a metadata key is not `vendor:key`, a value is not JSON, or
            the whole is over 8 KiB. Nothing has been sent then.
    """
    _check_peer_id(payload.peer_id)
    document: dict[str, Any] = {"protocol": PROTOCOL, "version": VERSION, "peerId": payload.peer_id}
    if payload.caps:
        document["caps"] = list(payload.caps)
    if payload.metadata:
        for key in payload.metadata:
            if not _METADATA_KEY.fullmatch(key):
                raise _invalid(f"metadata key {key[:64]!r} is not of the form vendor:key")
        document["metadata"] = dict(payload.metadata)
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid("the handshake metadata holds a value that JSON cannot carry") from error
    encoded = text.encode("utf-8", "backslashreplace")
    if len(encoded) > MAX_HANDSHAKE_BYTES:
        raise _invalid(f"the handshake takes {len(encoded)} bytes, at most {MAX_HANDSHAKE_BYTES} are allowed")
    return encoded


def decode_handshake(data: bytes) -> HandshakePayload:
    """Read the JSON of a handshake. Unknown keys, and caps or metadata of a wrong type, are ignored.

    Raises:
        SbpError: 1002 when it is over 8 KiB, not a JSON object, a required field is missing or of a wrong type, or
            the peer id is over 255 bytes; 1001 when protocol or version are not ours. Both are fatal.
    """
    if len(data) > MAX_HANDSHAKE_BYTES:
        raise _invalid(f"a handshake of {len(data)} bytes came, at most {MAX_HANDSHAKE_BYTES} are allowed")
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    try:
        document = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise _invalid("the handshake is not JSON") from error
    if type(document) is not dict:
        raise _invalid("the handshake is not a JSON object")
    protocol, version, peer_id = document.get("protocol"), document.get("version"), document.get("peerId")
    if type(protocol) is not str or type(version) is not str or type(peer_id) is not str:
        raise _invalid("the handshake needs the strings protocol, version and peerId")
    if protocol != PROTOCOL or version != VERSION:
        raise SbpError(1001, f"expected {PROTOCOL}/{VERSION}, the other side speaks {protocol[:32]!r}/{version[:32]!r}")
    _check_peer_id(peer_id)
    caps, metadata = document.get("caps"), document.get("metadata")
    return HandshakePayload(
        peer_id,
        tuple(cap for cap in caps if type(cap) is str) if type(caps) is list else (),
        metadata if type(metadata) is dict else {},
    )


_METADATA_KEY = re.compile(r"[^:\s]+:[^\s]+")


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _check_peer_id(peer_id: str) -> None:
    size = len(peer_id.encode("utf-8", "surrogatepass"))
    if size > MAX_PEER_ID_BYTES:
        raise _invalid(f"a peer id of {size} bytes, at most {MAX_PEER_ID_BYTES} are allowed")


def _invalid(message: str) -> SbpError:
    return SbpError(1002, message)
