"""The metadata of a stream: one MessagePack map (docs/protocol/streams.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NoReturn

import msgpack

from sideband.errors import PeerError

__all__ = ["DIGEST_KEY", "pack_metadata", "unpack_metadata"]

DIGEST_KEY: Final = "sideband:digest"
"""True where both directions end with a BLAKE3 digest: the receiver has to hash from the first byte on."""

_MAX_BYTES: Final = 8 * 1024


def pack_metadata(metadata: Mapping[str, Any] | None, *, digest: bool) -> bytes:
    """Return the map's bytes; none for an empty map.

    Raises:
        PeerError: `message_too_large` when it takes more than 8 KiB.
        ValueError: when it holds what MessagePack has no type for, or keys that are no strings.
    """
    entries = dict(metadata or {})
    entries.pop(DIGEST_KEY, None)
    if digest:
        entries[DIGEST_KEY] = True
    if not entries:
        return b""
    try:
        packed: bytes = msgpack.packb(entries, use_bin_type=True)
        _unpack(packed)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"a stream's metadata cannot be sent: {error}") from error
    if len(packed) > _MAX_BYTES:
        raise PeerError("message_too_large", f"a stream's metadata takes {len(packed)} bytes, at most {_MAX_BYTES} go")
    return packed


def unpack_metadata(data: bytes) -> tuple[dict[str, Any], bool]:
    """Return the map, and whether both directions carry a digest.

    Raises:
        ValueError: when it is no map with string keys, or holds extension types.
    """
    if not data:
        return {}, False
    entries = _unpack(data)
    return entries, entries.pop(DIGEST_KEY, False) is True


def _unpack(data: bytes) -> dict[str, Any]:
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True, ext_hook=_refuse_extension)
    except (ValueError, RecursionError, msgpack.exceptions.UnpackException) as error:
        raise ValueError(f"it is no MessagePack: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError("it is no map with string keys")
    return value


def _refuse_extension(_code: int, _data: bytes) -> NoReturn:
    raise ValueError("extension types are not allowed")
