"""The proof that the relay is blind: it searches all that it forwards for blocks of the payload.

Before the run, blocks of 16 bytes are taken from the payload, by their content: every place where an anchor of two
bytes stands. The relay looks at every place of every forwarded frame where such an anchor stands, whatever the
alignment, and asks whether the block there is one of them. Ciphertext gives it about as many places to look at as
random plaintext would; only plaintext gives it blocks it knows.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from dataclasses import asdict, dataclass, field
from itertools import islice, pairwise
from typing import Any

from sideband.cli.demo.payload import Payload

__all__ = ["BLOCK_BYTES", "MAX_BLOCKS", "BlindnessTap", "Samples", "take_samples"]

BLOCK_BYTES = 16
"""Size of a block, the anchor included."""

MAX_BLOCKS = 65_536
"""Most blocks that are kept; what a random payload of 256 MiB has."""

_TAIL_BYTES = BLOCK_BYTES - 2
_REGION_BYTES = 256 * 1024
_MAX_REGIONS = 1024
_SECOND_BYTES = 16


@dataclass(frozen=True, slots=True)
class Samples:
    """Blocks of a payload, and the marker that is sent with it so that there is a block to find in the smallest one.

    Attributes:
        first: the anchor's first byte.
        seconds: the bytes that may be the anchor's second one.
        blocks: the 14 bytes of each block that follow its anchor.
        marker: 32 bytes that the client sends to the daemon and back, encrypted like everything.
    """

    first: int
    seconds: bytes
    blocks: frozenset[bytes]
    marker: bytes

    def pack(self) -> bytes:
        """Return the samples as bytes, for a file of mode 0600."""
        head = bytes([self.first, len(self.seconds)]) + self.seconds + self.marker
        return head + b"".join(sorted(self.blocks))

    @classmethod
    def unpack(cls, packed: bytes) -> Samples:
        """Return the samples that `pack` packed."""
        first, count = packed[0], packed[1]
        seconds, marker = packed[2 : 2 + count], packed[2 + count : 34 + count]
        rest = packed[34 + count :]
        blocks = frozenset(rest[start : start + _TAIL_BYTES] for start in range(0, len(rest), _TAIL_BYTES))
        return cls(first, seconds, blocks, marker)


def take_samples(payload: Payload) -> Samples:
    """Take blocks from all over `payload`: all of its first 256 MiB, spread evenly over a larger one."""
    regions = _regions(payload.size)
    probe = b"".join(payload.read(offset, 4096) for offset in regions[:: max(1, len(regions) // 64)])
    first, seconds = _anchor(probe)
    search = _pattern(first, seconds)
    blocks: set[bytes] = set()
    # A file of zeros or of text has an anchor at nearly every place: twice of what is kept is looked at, evenly.
    places = 2 * MAX_BLOCKS // max(1, len(regions))
    for offset in regions:
        found = search.finditer(payload.read(offset, _REGION_BYTES))
        blocks.update(match[1] for match in islice(found, places))
    # The marker holds an anchor at its begin, and so is found like any block.
    marker = bytes([first, seconds[0]]) + secrets.token_bytes(30)
    kept = sorted(blocks)[:: len(blocks) // MAX_BLOCKS + 1]
    return Samples(first, seconds, frozenset(kept) | {marker[2:BLOCK_BYTES]}, marker)


@dataclass(slots=True)
class BlindnessTap:
    """Counts what the relay forwards, and searches it for the blocks of `samples`."""

    samples: Samples
    frames_up: int = 0
    frames_down: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    places_searched: int = 0
    plaintext_frames: int = 0
    _search: re.Pattern[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._search = _pattern(self.samples.first, self.samples.seconds)

    def forwarded(self, session_id: int, up: bool, frame: bytes) -> None:
        """Look at one forwarded frame, header included; `up` is client to daemon."""
        del session_id
        if up:
            self.frames_up += 1
            self.bytes_up += len(frame)
        else:
            self.frames_down += 1
            self.bytes_down += len(frame)
        found = self._search.findall(frame)
        self.places_searched += len(found)
        if not self.samples.blocks.isdisjoint(found):
            self.plaintext_frames += 1

    def report(self) -> dict[str, Any]:
        """Return the counts, and how many blocks were searched for."""
        counts = {name: value for name, value in asdict(self).items() if name not in ("samples", "_search")}
        return {**counts, "blocks": len(self.samples.blocks)}


def _regions(size: int) -> list[int]:
    count = min(_MAX_REGIONS, -(-size // _REGION_BYTES))
    return [size * index // count for index in range(count)]


def _anchor(probe: bytes) -> tuple[int, bytes]:
    """Return the byte whose successors vary most, so that blocks differ even in text or in a file of mostly zeros."""
    if len(probe) < BLOCK_BYTES:
        return 0, bytes(range(_SECOND_BYTES))
    successors: dict[int, Counter[int]] = {}
    for first, second in pairwise(probe):
        successors.setdefault(first, Counter())[second] += 1
    common = sorted(successors, key=lambda byte: -successors[byte].total())[:16]
    first = max(common, key=lambda byte: len(successors[byte]))
    return first, bytes(byte for byte, _ in successors[first].most_common(_SECOND_BYTES))


def _pattern(first: int, seconds: bytes) -> re.Pattern[bytes]:
    # It begins with a literal byte, which the engine finds at memchr's speed. The tail is looked at without being
    # consumed, so that anchors inside it are found as well.
    successor = b"".join(b"\\x%02x" % byte for byte in seconds)
    return re.compile(re.escape(bytes([first])) + b"[" + successor + b"](?=(.{14}))", re.DOTALL)
