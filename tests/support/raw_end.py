"""The other side of a session, frame by frame, so that it can say what no peer says."""

from __future__ import annotations

import json
import os
from typing import Any

from sideband._native import sbp_decode, sbp_encode_control, sbp_encode_message
from sideband.peer import Peer
from sideband.transport import Connection
from tests.support.manual_clock import settle
from tests.support.memory_world import MemoryWorld

CID = bytes(range(16))
FRAG = "app/sb.frag.v1"


def control(op: int, data: bytes = b"") -> bytes:
    return sbp_encode_control(os.urandom(16), op, data or None)


def handshake(**more: Any) -> bytes:
    return control(0, json.dumps({"protocol": "sideband", "version": "1", "peerId": "raw", **more}).encode())


def message(subject: str, data: bytes | dict[str, Any], frame_id: bytes | None = None) -> bytes:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return sbp_encode_message(frame_id or os.urandom(16), subject, body)


def request(method: str, cid: bytes = CID, **more: Any) -> bytes:
    return message("rpc", {"t": "r", "m": method, "cid": cid.hex(), **more}, cid)


class Raw:
    """The other side, frame by frame."""

    def __init__(self, connection: Connection, world: MemoryWorld) -> None:
        self.connection = connection
        self.world = world

    async def send(self, *frames: bytes) -> None:
        await self.connection.send_many(frames)

    async def frame(self) -> Any:
        return sbp_decode(await self.connection.receive())

    async def envelope(self) -> dict[str, Any]:
        frame = await self.frame()
        assert frame.kind == 1, frame
        found: dict[str, Any] = json.loads(frame.data)
        return found

    async def error_code(self) -> int:
        frame = await self.frame()
        assert frame.kind == 3, frame
        code: int = frame.code
        return code

    async def answers(self, cid: bytes = b"\x07" * 16) -> None:
        """The session goes on: a call is answered, and nothing else came before."""
        await self.send(request("echo", cid, p=[1]))
        assert await self.envelope() == {"t": "R", "cid": cid.hex(), "result": [1]}

    async def is_closed(self) -> None:
        """The session closes, without another word but perhaps a close."""
        rest = [sbp_decode(frame).kind async for frame in self.connection]
        assert set(rest) <= {0}
        await settle()
        assert self.world.server.connections == ()

    @property
    def peer(self) -> Peer:
        return self.world.peers[-1]
