"""A relayed session of a client as a link for SBP frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from typing_extensions import override

from sideband._native import MAX_PLAINTEXT_SIZE
from sideband.errors import SbrpError, SbrpErrorCode
from sideband.peer.link import Link, LinkInfo, LinkSignal
from sideband.peer.relay_client import RelayClient
from sideband.protocol.streams.schedule import Frame
from sideband.secure_relay.client_events import DataReceived, Paused, Pending, Resumed

__all__ = ["RelayLink", "relay_link_info"]


def relay_link_info(session_id: int, identity_key: bytes | None = None, replaced_key: bytes | None = None) -> LinkInfo:
    """Return what a session over a relay needs to know."""
    return LinkInfo(
        max_frame_payload=MAX_PLAINTEXT_SIZE,
        resumable=True,
        path="relay",
        identity_key=identity_key,
        session_id=session_id,
        replaced_key=replaced_key,
    )


class RelayLink(Link):
    """One SBP frame is one SBRP Data plaintext.

    Args:
        client: the established session.
    """

    def __init__(self, client: RelayClient) -> None:
        self._client = client
        self._info = relay_link_info(client.endpoint.session_id, client.established.identity_key, client.trust.replaced)
        self._news: deque[Sequence[bytes] | LinkSignal] = deque()

    @property
    @override
    def info(self) -> LinkInfo:
        return self._info

    @override
    async def receive(self) -> Sequence[bytes] | LinkSignal:
        while not self._news:
            for event in await self._client.receive():
                match event:
                    case DataReceived():
                        self._news.append(event.plaintexts)
                    case Paused():
                        self._news.append(LinkSignal.PAUSED)
                    case Pending():
                        self._news.append(LinkSignal.PENDING)
                    case Resumed():
                        self._news.append(LinkSignal.RESUMED)
                    case _:
                        pass  # the relay slows down by itself; nothing is to be done here
        return self._news.popleft()

    @override
    async def send(self, frames: Sequence[Frame]) -> None:
        try:
            await self._client.send(frames)
        except SbrpError as error:
            # The pause came between taking the frames and sealing them: they count as swallowed by the cut, and
            # `receive` is about to tell.
            if error.code is not SbrpErrorCode.SESSION_PAUSED:
                raise

    @override
    async def close(self) -> None:
        await self._client.close()

    @override
    async def leave(self) -> None:
        await self._client.leave()
