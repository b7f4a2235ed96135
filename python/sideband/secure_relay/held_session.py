"""One session as a daemon holds it: its keys, and what waits to be opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sideband._native import ClientSession, MessageBatch
from sideband.errors import SbrpBatchError, SbrpErrorCode

__all__ = ["HeldSession", "OpenedRun"]


class OpenedRun(NamedTuple):
    """What became of Data frames that stood in a row.

    `failure` is what stopped it at the frame `failed_at`, or None; `repeated` counts those that were replayed,
    duplicated or older than the window, and were left out.
    """

    plaintexts: list[bytes]
    repeated: int
    failure: SbrpBatchError | None
    failed_at: int


@dataclass(slots=True)
class HeldSession:
    """A session of a daemon; paused while the relay connection is gone."""

    session: ClientSession
    sid_bytes: bytes
    paused: bool = False
    data_waiting: list[bytes] = field(default_factory=list)

    def open_run(self, frames: list[bytes] | MessageBatch, start: int, stop: int) -> OpenedRun:
        """Open the Data frames from `start` up to `stop`, passing over those of a used sequence number."""
        opened: list[bytes] = []
        repeated = 0
        while start < stop:
            try:
                opened += self.session.open_frames(frames, start, stop)
                break
            except SbrpBatchError as error:
                opened += error.opened
                if error.code is not SbrpErrorCode.SEQUENCE_ERROR:
                    return OpenedRun(opened, repeated, error, start + error.index)
                repeated += 1
                start += error.index + 1
        return OpenedRun(opened, repeated, None, stop)
