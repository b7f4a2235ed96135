"""What a client reads in its own relay token (docs/protocol/relay.md, "Tokens")."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from sideband.errors import TokenError

__all__ = ["session_id_of"]


def session_id_of(token: str) -> int:
    """Return the claim `sid` of a client's token: the session id to use on the connection, 1 to 2^64-1.

    The signature is the relay's to verify: a client that was given a false token is refused there.

    Raises:
        TokenError: the token is no JWT with a `sid` of 8 bytes, or the sid is zero.
    """
    parts = token.split(".")
    try:
        claims: Any = json.loads(_decode(parts[1]))
        sid = _decode(claims["sid"])
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        raise TokenError("bad_sid", "the relay token holds no session id; fetch a new one") from None
    session_id = int.from_bytes(sid, "big")
    if len(parts) != 3 or len(sid) != 8 or session_id == 0:
        raise TokenError("bad_sid", "the relay token's session id is not 8 bytes, or is zero; fetch a new one")
    return session_id


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
