"""Fields of requests, checked before anything is done with them (docs/protocol/inbox.md, "Signed requests")."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sideband.errors import InboxError
from sideband.inbox.address import normalise_address
from sideband.inbox.signing import KEY_BYTES, MAX_NUMBER, SIGNATURE_BYTES, decode_base64

__all__ = ["BRIDGE_KINDS", "BridgeKind", "Signed", "bridge_fields", "parse_json", "signed_fields"]

BridgeKind = Literal["ws", "stream", "poll", "presence"]
BRIDGE_KINDS: tuple[BridgeKind, ...] = ("ws", "stream", "poll", "presence")

_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_MESSAGE_ID = re.compile(r"[0-9a-f]{64}")
_BRIDGE_FIELDS = frozenset({"address", "kind", "since", "signedAt", "signature"})


@dataclass(frozen=True, slots=True)
class Signed:
    """A request's fields as they were signed, and the parts all requests have.

    Attributes:
        fields: all of them, those of the path included.
        address: in its one form.
        signed_at: Unix time in ms.
        signature: 64 bytes, not yet verified.
    """

    fields: Mapping[str, Any]
    address: str
    signed_at: int
    signature: bytes

    def number(self, name: str, *, least: int = 0, most: int = MAX_NUMBER) -> int | None:
        """Return a whole number, or None when the field is absent.

        Raises:
            InboxError: `SHADE_VALIDATION`: it is none, or not within `least` and `most`.
        """
        return None if name not in self.fields else _whole(self.fields[name], name, least, most)

    def key(self, name: str) -> bytes:
        """Return a public key of 32 bytes."""
        return decode_base64(self.fields.get(name), name, size=KEY_BYTES)

    def message_id(self) -> str | None:
        """Return `msgId`, or None when it is absent."""
        if "msgId" not in self.fields:
            return None
        msg_id = self.fields["msgId"]
        if not isinstance(msg_id, str) or not _MESSAGE_ID.fullmatch(msg_id):
            raise InboxError("SHADE_VALIDATION", "msgId is the SHA-256 of the ciphertext, 64 lowercase hex digits")
        return msg_id

    def addresses(self, name: str, most: int) -> tuple[str, ...]:
        """Return a list of addresses in their one form, each once."""
        listed = self.fields.get(name)
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise InboxError("SHADE_VALIDATION", f"{name} has to be a list of addresses")
        if len(listed) > most:
            raise InboxError("SHADE_VALIDATION", f"{name} has to be at most {most} addresses, got {len(listed)}")
        return tuple(dict.fromkeys(normalise_address(each) for each in listed))


def parse_json(body: bytes) -> dict[str, Any]:
    """Return the object that a body is.

    Raises:
        InboxError: `SHADE_VALIDATION`: it is no JSON object.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InboxError("SHADE_VALIDATION", "the body has to be a JSON object") from error
    if not isinstance(value, dict):
        raise InboxError("SHADE_VALIDATION", "the body has to be a JSON object")
    return value


def signed_fields(
    body: Mapping[str, Any], path: Mapping[str, str], required: frozenset[str], optional: frozenset[str] = frozenset()
) -> Signed:
    """Return a request's fields: those of its body, and those of its path as if they stood there too.

    Args:
        body: the JSON object.
        path: parameters of the path.
        required: fields there have to be beside address, signedAt and signature.
        optional: fields there may be.

    Raises:
        InboxError: `SHADE_VALIDATION`: a field is missing, unknown, malformed, or differs from that of the path.
    """
    for name, value in path.items():
        if body.get(name, value) != value:
            raise InboxError("SHADE_VALIDATION", f"{name} in the body is not that of the path")
    fields = {**body, **path}
    needed = required | {"address", "signedAt", "signature"}
    missing = needed - fields.keys()
    if missing:
        raise InboxError("SHADE_VALIDATION", f"missing: {', '.join(sorted(missing))}")
    if fields.keys() - needed - optional:
        known = ", ".join(sorted(needed | optional))
        raise InboxError("SHADE_VALIDATION", f"there is a field that this request does not have; it has {known}")
    if not isinstance(fields["address"], str):
        raise InboxError("SHADE_VALIDATION", "address has to be text")
    return Signed(
        fields,
        normalise_address(fields["address"]),
        _whole(fields["signedAt"], "signedAt", 0, MAX_NUMBER),
        decode_base64(fields["signature"], "signature", size=SIGNATURE_BYTES),
    )


def bridge_fields(query: Mapping[str, list[str]], kind: BridgeKind) -> Signed:
    """Return the fields of a bridge's query, numbers as numbers.

    Args:
        query: every value of each name.
        kind: of the route; a signature for another is refused before it is looked at.

    Raises:
        InboxError: `SHADE_VALIDATION`: a field is missing, unknown, malformed or there twice. `SHADE_UNAUTHORIZED`: it
            is for another kind of bridge.
    """
    if query.keys() != _BRIDGE_FIELDS or any(len(values) != 1 for values in query.values()):
        raise InboxError("SHADE_VALIDATION", "the query is address, kind, since, signedAt, signature, each once")
    fields: dict[str, Any] = {name: values[0] for name, values in query.items()}
    for name in ("since", "signedAt"):
        if not _NUMBER.fullmatch(fields[name]):
            raise InboxError(
                "SHADE_VALIDATION", f"{name} has to be a whole number of at least 0, without leading zeros"
            )
        fields[name] = int(fields[name])
    if fields["kind"] not in BRIDGE_KINDS:
        raise InboxError("SHADE_VALIDATION", f"kind is one of {', '.join(BRIDGE_KINDS)}")
    if fields["kind"] != kind:
        raise InboxError("SHADE_UNAUTHORIZED", f"this request is signed for another kind of bridge than {kind}")
    return signed_fields(fields, {}, frozenset({"kind", "since"}))


def _whole(value: object, name: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise InboxError("SHADE_VALIDATION", f"{name} has to be a whole number from {least} to {most}")
    return value
