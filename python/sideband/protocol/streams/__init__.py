"""Byte streams inside a session, without I/O (docs/protocol/streams.md)."""

from sideband.protocol.streams.engine import Streams
from sideband.protocol.streams.events import (
    StreamAccepted,
    StreamDelivered,
    StreamEvent,
    StreamFailed,
    StreamOpened,
    StreamReadable,
    StreamWritable,
)
from sideband.protocol.streams.kept import KeptStreams
from sideband.protocol.streams.limits import (
    DEFAULT_STREAM_LIMITS,
    DIRECT_SESSION_WINDOW,
    PROCESS_STREAMS,
    PROCESS_UNREAD,
    ResetCode,
    StreamBudget,
    StreamLimits,
)
from sideband.protocol.streams.stream import ByteStream

__all__ = [
    "DEFAULT_STREAM_LIMITS",
    "DIRECT_SESSION_WINDOW",
    "PROCESS_STREAMS",
    "PROCESS_UNREAD",
    "ByteStream",
    "KeptStreams",
    "ResetCode",
    "StreamAccepted",
    "StreamBudget",
    "StreamDelivered",
    "StreamEvent",
    "StreamFailed",
    "StreamLimits",
    "StreamOpened",
    "StreamReadable",
    "StreamWritable",
    "Streams",
]
