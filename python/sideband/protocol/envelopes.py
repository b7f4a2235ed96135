"""RPC and event envelopes: JSON, and bin/1 for values that hold bytes (docs/protocol/sbp.md, "Envelopes").

An envelope is a plain dict with the keys of the wire (`t`, `m`, `p`, `cid`, `result`, `code`, `message`, `data`, `e`,
`d`), its `cid` as 16 bytes. Absent and null are kept apart: MISSING leaves a key out, None sends null.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn, final

import msgpack

from sideband.errors import SbpError

__all__ = [
    "BIN_MAGIC",
    "MAX_BIN_DEPTH",
    "MISSING",
    "check_envelope",
    "decode_envelope",
    "encode_error",
    "encode_notification",
    "encode_request",
    "encode_result",
    "parse_envelope",
    "readable_cid",
]

BIN_MAGIC: Final = b"\xc1\x01"
"""What a bin/1 envelope begins with."""

MAX_BIN_DEPTH: Final = 64
"""Maps and arrays inside one another in a bin/1 envelope, the envelope's own map included."""


@final
class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = _Missing()
"""Stands for params, a result or data that is absent, which is not the same as null."""


def encode_request(cid: bytes, method: str, params: Any = MISSING, *, binary: bool = False) -> bytes:
    """Return a request. With `binary`, a value that holds bytes is written as bin/1.

    Raises:
        SbpError: 1100, not fatal, for what neither form can carry: NaN and infinity in JSON, bytes without `binary`,
            a cycle, an unknown type, nesting too deep.
    """
    body: dict[str, Any] = {"t": "r", "m": method, "cid": cid.hex()}
    if params is not MISSING:
        body["p"] = params
    return _encode(body, params, cid, binary)


def encode_result(cid: bytes, value: Any = MISSING, *, binary: bool = False) -> bytes:
    """Return a success for the request `cid`. Raises as `encode_request`."""
    body: dict[str, Any] = {"t": "R", "cid": cid.hex()}
    if value is not MISSING:
        body["result"] = value
    return _encode(body, value, cid, binary)


def encode_error(cid: bytes, code: int, message: str, data: Any = MISSING, *, binary: bool = False) -> bytes:
    """Return an error for the request `cid`. The code is a whole number. Raises as `encode_request`."""
    if type(code) is not int:
        code = _whole(code)
    body: dict[str, Any] = {"t": "E", "cid": cid.hex(), "code": code, "message": message}
    if data is not MISSING:
        body["data"] = data
    return _encode(body, data, cid, binary)


def encode_notification(name: str, data: Any = MISSING, *, binary: bool = False) -> bytes:
    """Return an event. The name is not checked here. Raises as `encode_request`."""
    body: dict[str, Any] = {"t": "N", "e": name}
    if data is not MISSING:
        body["d"] = data
    return _encode(body, data, None, binary)


def decode_envelope(data: bytes, *, binary: bool = False) -> dict[str, Any]:
    """Return a valid envelope, its `cid` as 16 bytes; bin/1 is read only with `binary`. Unknown keys are kept.

    Raises:
        SbpError: 1100, not fatal.
    """
    envelope = parse_envelope(data, binary=binary)
    check_envelope(envelope)
    return envelope


def parse_envelope(data: bytes, *, binary: bool = False) -> dict[str, Any]:
    """Return the object that the bytes carry, its fields unchecked.

    Invalid UTF-8 becomes U+FFFD and a leading byte-order mark is skipped, as in the reference.

    Raises:
        SbpError: 1100, not fatal, when it is not one JSON object or bin/1 map.
    """
    try:
        if binary and data[:2] == BIN_MAGIC:
            envelope = _unpack(data)
        else:
            text = data.decode("utf-8", "replace").strip("\ufeff \t\r\n" if data[:3] == _BOM else " \t\r\n")
            envelope, end = _scan(text)
            if end != len(text):
                raise _invalid("something follows the envelope")
    except (ValueError, TypeError, RecursionError) as error:
        raise _invalid("the envelope is neither a JSON nor, where agreed, a bin/1 value") from error
    if type(envelope) is not dict:
        raise _invalid("the envelope is not an object")
    return envelope


def check_envelope(envelope: dict[str, Any]) -> None:
    """Check the fields of a parsed envelope and turn its `cid` into 16 bytes, in place.

    Raises:
        SbpError: 1100, not fatal.
    """
    kind = envelope.get("t")
    if kind == "N":
        if type(envelope.get("e")) is not str:
            raise _invalid("a notification needs the string e")
        if type(envelope.get("cid")) is str:
            envelope["cid"] = _require_cid(envelope)
        return
    if kind == "r":
        if type(envelope.get("m")) is not str:
            raise _invalid("a request needs the string m")
    elif kind == "E":
        if type(envelope.get("code")) is not int:
            envelope["code"] = _whole(envelope.get("code"))
        if type(envelope.get("message")) is not str:
            raise _invalid("an error needs the string message")
    elif kind != "R":
        raise _invalid("t is none of r, R, E, N")
    envelope["cid"] = _require_cid(envelope)


def readable_cid(envelope: dict[str, Any]) -> bytes | None:
    """Return the cid of a parsed envelope, or None when it has no valid one."""
    cid = envelope.get("cid")
    if type(cid) is bytes:
        return cid if len(cid) == _CID_BYTES else None
    if type(cid) is not str or len(cid) != 2 * _CID_BYTES:
        return None
    try:
        decoded = bytes.fromhex(cid)
    except ValueError:
        return None
    return decoded if decoded.hex() == cid else None


_CID_BYTES = 16
_BOM = b"\xef\xbb\xbf"


class _BytesFoundError(Exception):
    """JSON met a value that only bin/1 can carry."""


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _not_json(value: object) -> NoReturn:
    if isinstance(value, bytes | bytearray | memoryview):
        raise _BytesFoundError
    raise TypeError(f"a {type(value).__name__} cannot be sent")


_scan = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode
_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_not_json).encode


def _encode(body: dict[str, Any], value: Any, cid: bytes | None, binary: bool) -> bytes:
    # Bytes alone, the most frequent case of bytes, need not be found by trying JSON first.
    if not (binary and type(value) is bytes):
        try:
            # Only lone surrogates fail in UTF-8, and this handler writes them exactly as a JSON escape.
            return _dump(body).encode("utf-8", "backslashreplace")
        except _BytesFoundError:
            if not binary:
                raise _invalid("the value holds bytes, and bin/1 is not agreed with the other side") from None
        except (TypeError, ValueError, RecursionError) as error:
            raise _invalid(f"the value cannot be sent: {error}") from error
    if cid is not None:
        body["cid"] = cid
    try:
        packed: bytes = msgpack.packb(body, use_bin_type=True)
        # Only now: what has been packed holds no cycle, so the walk ends.
        _check_nesting(body)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _invalid(f"the value cannot be sent: {error}") from error
    return BIN_MAGIC + packed


def _unpack(data: bytes) -> Any:
    value = msgpack.unpackb(memoryview(data)[2:], raw=False, strict_map_key=True, ext_hook=_refuse_extension)
    _check_nesting(value)
    return value


def _refuse_extension(_code: int, _data: bytes) -> NoReturn:
    raise ValueError("extension types are not allowed")


def _check_nesting(value: Any) -> None:
    if type(value) is dict and _is_flat(value):
        return
    level = [value]
    for _ in range(MAX_BIN_DEPTH):
        deeper: list[Any] = []
        for item in level:
            if isinstance(item, msgpack.ExtType | msgpack.Timestamp):
                raise ValueError("extension types are not allowed")
            if isinstance(item, dict):
                for key in item:
                    if not isinstance(key, str):
                        raise ValueError("keys have to be strings")
                deeper.extend(child for child in item.values() if not isinstance(child, _LEAVES))
            elif isinstance(item, list | tuple):
                deeper.extend(child for child in item if not isinstance(child, _LEAVES))
        if not deeper:
            return
        level = deeper
    raise ValueError(f"nested deeper than {MAX_BIN_DEPTH}")


def _is_flat(value: dict[Any, Any]) -> bool:
    for key, child in value.items():  # noqa: SIM110  (a generator costs twice as much, and this runs for every call)
        if type(key) is not str or type(child) not in _FLAT:
            return False
    return True


_FLAT = frozenset((str, bytes, int, float, bool, type(None)))
_LEAVES = (str, bytes, int, float, type(None), bytearray, memoryview)


def _require_cid(envelope: dict[str, Any]) -> bytes:
    cid = readable_cid(envelope)
    if cid is None:
        raise _invalid("cid is not 32 lowercase hex digits (16 bytes in bin/1)")
    return cid


def _whole(code: Any) -> int:
    if type(code) is float and code.is_integer():
        return int(code)
    raise _invalid("an error needs a whole number as its code")


def _invalid(message: str) -> SbpError:
    return SbpError(1100, message, fatal=False)
