"""The text form of one pin, shared by the file store and the keyring store."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Any

from sideband.daemon_id import is_daemon_id
from sideband.errors import IdentityStoreError

__all__ = ["decode_pin", "encode_pin", "pin_name"]

_VERSION = 1


def pin_name(daemon_id: str) -> str:
    """Return the name a pin is kept under: the SHA-256 of the id's UTF-8 bytes, as 64 lowercase hex digits.

    A digest fits where a 255 byte id does not, is the same on file systems that ignore case or normalise names, and
    cannot be `..`, `CON` or hold a separator. The id itself is in the record.
    """
    return hashlib.sha256(daemon_id.encode()).hexdigest()


def encode_pin(daemon_id: str, identity_key: bytes) -> str:
    """Return the record of a pin: JSON with `v` (1), `daemon_id` and `identity_key` (base64)."""
    fields = {"v": _VERSION, "daemon_id": daemon_id, "identity_key": base64.b64encode(identity_key).decode()}
    return json.dumps(fields) + "\n"


def decode_pin(place: str, content: str | bytes) -> tuple[str, bytes]:
    """Return the daemon id and the key of a record; `place` names it in an error.

    Raises:
        IdentityStoreError: the record is damaged or of a newer version.
    """
    try:
        fields: Any = json.loads(content)
    except ValueError as error:
        raise _damaged(place, "not JSON") from error
    if not isinstance(fields, dict):
        raise _damaged(place, "not a JSON object")
    if fields.get("v") != _VERSION:
        msg = f"{place} has version {fields.get('v')!r}, this release knows {_VERSION}; use the release that wrote it"
        raise IdentityStoreError(msg)
    try:
        identity_key = base64.b64decode(fields["identity_key"], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise _damaged(place, "identity_key is missing or not base64") from error
    daemon_id = fields.get("daemon_id")
    if not is_daemon_id(daemon_id) or len(identity_key) != 32:
        raise _damaged(place, "daemon_id or identity_key has a wrong form")
    return str(daemon_id), identity_key


def _damaged(place: str, why: str) -> IdentityStoreError:
    return IdentityStoreError(f"{place} is not a pin ({why}); compare the fingerprint by another way, then remove it")
