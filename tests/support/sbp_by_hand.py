"""A connection of SBP whose other side is written by hand."""

from __future__ import annotations

import json
from typing import Any

from sideband._native import sbp_decode, sbp_encode_control, sbp_encode_message
from sideband.protocol.connection import SbpConnection
from sideband.protocol.events import HandshakeReceived
from sideband.protocol.handshake import HandshakePayload

ID = bytes(range(16))
CID = bytes.fromhex("00112233445566778899aabbccddeeff")
HELLO = sbp_encode_control(ID, 0, b'{"protocol":"sideband","version":"1","peerId":"them"}')


def message(subject: str, data: bytes | str | dict[str, Any], frame_id: bytes = ID) -> bytes:
    if isinstance(data, dict):
        data = json.dumps(data)
    return sbp_encode_message(frame_id, subject, data.encode() if isinstance(data, str) else data)


def plain(**options: Any) -> SbpConnection:
    """A connection whose peer lists nothing, its handshake behind it."""
    connection = SbpConnection(
        local=HandshakePayload("us", ("resume/1", "frag/1", "bin/1")),
        opener=True,
        max_frame_payload=options.pop("max_frame_payload", 65_508),
        resumable=True,
        **options,
    )
    connection.start()
    connection.take(1 << 20)
    assert connection.receive(HELLO) == [HandshakeReceived(HandshakePayload("them"))]
    return connection


def written(connection: SbpConnection) -> list[Any]:
    return [sbp_decode(frame, 16 << 20) for frame in connection.take(1 << 24)]


def only_error(connection: SbpConnection) -> tuple[int, str]:
    (frame,) = written(connection)
    assert frame.kind == 3
    return frame.code, frame.message
