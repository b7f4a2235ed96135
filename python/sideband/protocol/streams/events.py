"""What `Streams` reports to the layer above. A consumer dispatches on `type(event)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, final

if TYPE_CHECKING:
    from sideband.protocol.streams.stream import ByteStream

__all__ = [
    "StreamAccepted",
    "StreamDelivered",
    "StreamEvent",
    "StreamFailed",
    "StreamOpened",
    "StreamReadable",
    "StreamWritable",
]


@final
@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The other side opened a stream: `accept` or `reset` it. Until then it may not send."""

    stream: ByteStream


@final
@dataclass(frozen=True, slots=True)
class StreamAccepted:
    """The other side took a stream of ours."""

    stream: ByteStream


@final
@dataclass(frozen=True, slots=True)
class StreamReadable:
    """Bytes, or the end, can be read where there was nothing before."""

    stream: ByteStream


@final
@dataclass(frozen=True, slots=True)
class StreamWritable:
    """There is room again after a `write` that took less than it was given."""

    stream: ByteStream


@final
@dataclass(frozen=True, slots=True)
class StreamDelivered:
    """After our `end`: the other side has consumed everything, and the digest, if any, was right."""

    stream: ByteStream


@final
@dataclass(frozen=True, slots=True)
class StreamFailed:
    """The stream was given up, both directions. What was not read is gone.

    `remote` tells whether the other side did it; `code` is a `ResetCode`, or from 1000 the application's.
    """

    stream: ByteStream
    code: int
    reason: str
    remote: bool


StreamEvent: TypeAlias = (
    StreamOpened | StreamAccepted | StreamReadable | StreamWritable | StreamDelivered | StreamFailed
)
