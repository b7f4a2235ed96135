"""The chain of bridges: the first that connects carries the messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sideband.errors import BridgeError
from sideband.inbox.client.bridge import Bridge, BridgeKind, messages_of
from sideband.inbox.client.messages import IncomingMessage, MessageHandler

__all__ = ["FallbackBridgeTransport"]


class FallbackBridgeTransport:
    """Tries bridges in order and keeps the first that connects (docs/protocol/inbox.md, "Client").

    A bridge that is refused or fails at its first connect is passed over; one that stood once comes back by itself.

        bridge = FallbackBridgeTransport([WsBridge(origin), SseBridge(origin), LongPollBridge(origin)])
        async for message in bridge: ...

    Args:
        bridges: at least one, all for the same address, none of them connected.

    Raises:
        BridgeError: no bridge was given, or they are for different addresses (kind `invalid_state`).
    """

    def __init__(self, bridges: Sequence[Bridge]) -> None:
        if not bridges or len({bridge.origin.address for bridge in bridges}) != 1:
            raise BridgeError("invalid_state", "a chain needs at least one bridge, and all of them for one address")
        self._bridges = tuple(bridges)
        self._active: Bridge | None = None

    @property
    def active_kind(self) -> BridgeKind | None:
        """Which one carries the messages: `ws`, `sse` or `long-poll`; None before `connect` has returned."""
        return None if self._active is None else self._active.kind

    def get_cursor(self) -> int:
        """Return the cursor of the last message handled."""
        return (self._active or self._bridges[0]).get_cursor()

    async def connect(self, on_message: MessageHandler) -> None:
        """Connect by the first bridge that does.

        Raises:
            BridgeError: none did; the error is the last one's, with the others' texts as notes. Or one is connected
                already (kind `invalid_state`).
        """
        if self._active is not None:
            raise BridgeError("invalid_state", "a chain is connected once; make another one")
        failures: list[tuple[BridgeKind, BridgeError]] = []
        for bridge in self._bridges:
            try:
                await bridge.connect(on_message)
            except BridgeError as error:
                failures.append((bridge.kind, error))
            else:
                self._active = bridge
                return
        last = failures[-1][1]
        for kind, earlier in failures[:-1]:
            last.add_note(f"before it, {kind}: {earlier}")
        raise last

    async def wait_closed(self) -> None:
        """Return once closed.

        Raises:
            BridgeError: the bridge in use ended by itself.
        """
        if self._active is not None:
            await self._active.wait_closed()

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._active is not None:
            await self._active.close()

    def __aiter__(self) -> AsyncIterator[IncomingMessage]:
        """Connect, and yield messages; one counts as handled when the next is asked for."""
        return messages_of(self)
