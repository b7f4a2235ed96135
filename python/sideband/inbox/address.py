"""Addresses of inboxes (docs/protocol/inbox.md, "Addresses")."""

from __future__ import annotations

import re
import unicodedata

from sideband.errors import InboxError

__all__ = ["MAX_ADDRESS_LENGTH", "normalise_address"]

MAX_ADDRESS_LENGTH = 256
"""Longest address, in characters, after normalisation."""

# ASCII alone: letters of other scripts look like these, and an address is what people compare by eye.
_ADDRESS = re.compile(r"[A-Za-z0-9:_\-.]{1,256}")
_MAX_RAW_LENGTH = 4 * MAX_ADDRESS_LENGTH


def normalise_address(text: str) -> str:
    """Return the one form of an address: NFKC, then 1 to 256 of `A-Z a-z 0-9 : _ - .`; case counts.

    Raises:
        InboxError: `SHADE_VALIDATION`: the text is none.
    """
    # Normalising is linear, but there is no reason to do it on what cannot become an address.
    normal = unicodedata.normalize("NFKC", text) if len(text) <= _MAX_RAW_LENGTH else ""
    if not _ADDRESS.fullmatch(normal):
        raise InboxError(
            "SHADE_VALIDATION", "an address is 1 to 256 letters (A-Z, a-z), digits or any of : _ - . after NFKC"
        )
    return normal
