"""How much stream data leaves at once: much where nothing else is about, one chunk beside calls and events."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sideband._native import sbp_encode_message
from sideband.peer.link import LinkInfo
from sideband.peer.options import PeerOptions
from sideband.peer.session import is_of_streams
from sideband.peer.streams import SessionStreams, StreamKeeper
from sideband.protocol.resume import RESUME_SUBJECT
from sideband.protocol.streams import StreamLimits, Streams
from sideband.protocol.subjects import RPC, STREAM_SUBJECT
from tests.support.manual_clock import ManualClock

CHUNK = 1_000
LIMITS = StreamLimits(chunk_bytes=CHUNK, batch_bytes=8 * CHUNK, quiet_seconds=0.5, window=1 << 20)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def streams(clock: ManualClock) -> SessionStreams:
    options = PeerOptions(clock=clock, streams=LIMITS)
    session = SimpleNamespace(connection=SimpleNamespace(opener=True, closed=False), wake=lambda: None)
    keeper = StreamKeeper(options)
    made = SessionStreams(session, LinkInfo(), keeper, options, lambda _: None)  # type: ignore[arg-type]  # what is used
    stream = made.open("bulk", None, digest=False)
    engine: Streams = made._engine
    other = Streams(opener=False, max_frame_payload=1 << 20, limits=LIMITS, clock=clock.time)
    for message in engine.take_control():
        other.receive(message)
    [opened] = other.poll()
    opened.stream.accept()
    for message in other.take_control():
        engine.receive(message)
    stream._bytes.write(bytes(100 * CHUNK))
    return made


def test_data_leaves_in_batches_while_nothing_else_does(streams: SessionStreams) -> None:
    frames = streams.take(behind_others=False)
    assert 7 * CHUNK <= _size(frames) <= 8 * CHUNK
    assert all(_size([frame]) <= CHUNK for frame in frames)


async def test_beside_something_else_a_chunk_at_a_time_until_it_is_quiet(
    streams: SessionStreams, clock: ManualClock
) -> None:
    assert _size(streams.take(behind_others=True)) <= CHUNK
    await clock.advance(0.49)
    assert _size(streams.take(behind_others=False)) <= CHUNK
    await clock.advance(0.01)
    assert _size(streams.take(behind_others=False)) > CHUNK


@pytest.mark.parametrize(
    ("subject", "neutral"), [(STREAM_SUBJECT, True), (RESUME_SUBJECT, True), (RPC, False), ("app/sb.stream.v10", False)]
)
def test_only_messages_of_streams_and_acks_leave_the_session_quiet(subject: str, *, neutral: bool) -> None:
    assert is_of_streams(sbp_encode_message(bytes(16), subject, b"data")) is neutral


def test_the_smallest_of_the_latest_round_trips_counts() -> None:
    streams = Streams(opener=True, max_frame_payload=1 << 16)
    assert streams.round_trip is None
    for seconds in (0.001, 0.5, 0.4):
        streams.observe_round_trip(seconds)
    assert streams.round_trip == 0.001
    for _ in range(8):
        streams.observe_round_trip(0.3)
    assert streams.round_trip == 0.3


def _size(frames: list[bytes | tuple[bytes | memoryview, ...]]) -> int:
    return sum(len(part) for frame in frames for part in ([frame] if isinstance(frame, bytes) else frame))
