"""Messages as they arrive, and the one order in which they are handed over."""

from __future__ import annotations

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from inspect import isawaitable
from typing import Any

from sideband.errors import BridgeError

__all__ = ["RECENT_MESSAGES", "Delivery", "IncomingMessage", "MessageHandler", "parse_message"]

RECENT_MESSAGES = 8_192
"""How many message ids a bridge remembers, so that a server restored from a backup repeats none of them."""

_MESSAGE_ID = re.compile(r"[0-9a-f]{64}")
_MAX_CURSOR = 2**63 - 1


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """One message of an inbox.

    Attributes:
        bytes: the ciphertext as it was put; `open_envelope` opens one that `seal_envelope` made.
        msg_id: its SHA-256, 64 lowercase hex digits, checked.
        received_at: its place in the address's order, which is no time of day.
        from_: the first 8 bytes of the SHA-256 of the sender's signing key, in hex: a hint, never proof. None where
            the server gave none.
    """

    bytes: bytes
    msg_id: str
    received_at: int
    from_: str | None

    def __repr__(self) -> str:
        return f"IncomingMessage({len(self.bytes)} bytes, received_at={self.received_at}, msg_id={self.msg_id})"


MessageHandler = Callable[[IncomingMessage], Awaitable[None] | None]


def parse_message(fields: Mapping[str, Any]) -> IncomingMessage:
    """Return the message that a server told by `fields` (docs/protocol/inbox.md, "Bridge routes").

    Raises:
        BridgeError: a field is missing or of another type, or the ciphertext is not what its id says (kind `protocol`).
    """
    try:
        ciphertext, msg_id, cursor = fields["ciphertext"], fields["msgId"], fields["receivedAt"]
        content = base64.b64decode(ciphertext, validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        msg = "the server sent a message that is none: msgId, ciphertext or receivedAt is missing or wrong"
        raise BridgeError("protocol", msg) from None
    sender = fields.get("from")
    if (
        not isinstance(msg_id, str)
        or not _MESSAGE_ID.fullmatch(msg_id)
        or not _is_cursor(cursor)
        or not (sender is None or isinstance(sender, str))
    ):
        raise BridgeError("protocol", "the server sent a message with a wrong msgId, receivedAt or from")
    if sha256(content).hexdigest() != msg_id:
        raise BridgeError("protocol", "the server sent a message whose content is not what its msgId says")
    return IncomingMessage(content, msg_id, cursor, sender)


class Delivery:
    """Hands messages to one handler, one at a time, each once, and knows up to where the inbox was handed over.

    Args:
        handler: called with each message; a coroutine is awaited.
        cursor: messages up to this one were handled before.
    """

    def __init__(self, handler: MessageHandler, cursor: int) -> None:
        self._handler = handler
        self.cursor = cursor
        self._recent: OrderedDict[str, None] = OrderedDict()

    async def hand_over(self, message: IncomingMessage) -> None:
        """Call the handler unless it has had this message; then move the cursor on.

        What the handler raises passes through, and then the cursor stays: the same message is to be handed over again
        before any later one.
        """
        if message.received_at <= self.cursor:
            return
        if message.msg_id not in self._recent:
            outcome = self._handler(message)
            if isawaitable(outcome):
                await outcome
            self._recent[message.msg_id] = None
            if len(self._recent) > RECENT_MESSAGES:
                self._recent.popitem(last=False)
        self.cursor = message.received_at

    def start_over(self) -> None:
        """Begin at 0 again, for a server that has lost its newest messages; those known by id are left out."""
        self.cursor = 0


def _is_cursor(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_CURSOR
