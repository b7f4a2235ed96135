"""Identifiers and credentials: what they look like and how they are stored.

Every value comes from the operating system's random source. Secrets are shown once and kept as a digest only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

__all__ = [
    "API_KEY_PREFIX",
    "CODE_ALPHABET",
    "CODE_LETTERS",
    "USER_TOKEN_PREFIX",
    "code_digest",
    "format_code",
    "new_account_id",
    "new_api_key",
    "new_code",
    "new_daemon_id",
    "new_key_id",
    "new_user_id",
    "new_user_token",
    "normalize_code",
    "secret_digest",
    "secret_hint",
]

API_KEY_PREFIX = "sbnd_dak_"
USER_TOKEN_PREFIX = "sbnd_usr_"  # noqa: S105  (the public prefix of a token, not a token)

CODE_ALPHABET = "abcdefghjkmnpqrstuvwxyz"
"""Letters of a Quick Connect code: a-z without i, l and o, which are easily misread."""

CODE_LETTERS = 12
"""Letters in a Quick Connect code, about 54 bits."""

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_DIGITS = 22
_SECRET_DIGITS = 43
_HINT_DIGITS = 4


def new_daemon_id() -> str:
    """Return `d_` and 22 base62 digits (131 bits), which no Quick Connect code can look like."""
    return "d_" + _digits(_ID_DIGITS)


def new_account_id() -> str:
    """Return `a_` and 22 base62 digits."""
    return "a_" + _digits(_ID_DIGITS)


def new_user_id() -> str:
    """Return `u_` and 22 base62 digits."""
    return "u_" + _digits(_ID_DIGITS)


def new_key_id(kind: str) -> str:
    """Return the public id of a stored credential: `kind`, `_`, and 22 base62 digits."""
    return f"{kind}_{_digits(_ID_DIGITS)}"


def new_api_key() -> str:
    """Return a daemon's API key: `sbnd_dak_` and 32 random bytes as 43 base62 digits."""
    return API_KEY_PREFIX + _secret()


def new_user_token() -> str:
    """Return a user token: `sbnd_usr_` and 32 random bytes as 43 base62 digits."""
    return USER_TOKEN_PREFIX + _secret()


def new_code() -> str:
    """Return a Quick Connect code such as `abcd-efgh-jkmn`: 12 letters in three groups."""
    return format_code("".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LETTERS)))


def format_code(letters: str) -> str:
    """Return 12 letters as three groups of four with hyphens between."""
    return "-".join(letters[i : i + 4] for i in range(0, CODE_LETTERS, 4))


def normalize_code(text: str) -> str | None:
    """Return the 12 lower-case letters of a code as typed, or None when `text` has not the shape of one.

    Hyphens, spaces around and between the groups, and case are ignored.
    """
    letters = re.sub(r"[-\s]", "", text).lower()
    return letters if re.fullmatch(r"[a-z]{12}", letters) else None


def secret_digest(secret: str) -> bytes:
    """Return the SHA-256 under which an API key or a user token is stored.

    No salt or slow hash: the input has 256 random bits.
    """
    return hashlib.sha256(secret.encode()).digest()


def secret_hint(secret: str) -> str:
    """Return the last four digits of a secret, for telling stored ones apart."""
    return secret[-_HINT_DIGITS:]


def code_digest(pepper: bytes, letters: str) -> bytes:
    """Return the HMAC-SHA-256 under which a Quick Connect code is stored.

    Keyed, because 54 bits could be searched by one who reads the database.
    """
    return hmac.digest(pepper, letters.encode(), "sha256")


def _digits(count: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(count))


def _secret() -> str:
    value = int.from_bytes(secrets.token_bytes(32), "big")
    digits = []
    for _ in range(_SECRET_DIGITS):
        value, digit = divmod(value, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))
