"""A peer that breaks the rules of stream/1 loses its stream, or its message, and nothing else."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sideband._native import (
    stream_decode,
    stream_encode_accept,
    stream_encode_done,
    stream_encode_end,
    stream_encode_open,
    stream_encode_reset,
    stream_encode_resume,
    stream_encode_window,
)
from sideband.protocol.streams.engine import Streams
from sideband.protocol.streams.events import StreamFailed, StreamOpened
from sideband.protocol.streams.limits import ResetCode, StreamLimits
from sideband.protocol.streams.metadata import pack_metadata
from tests.support.stream_network import StreamNetwork, read_all

TOKEN = bytes(range(16))


def data(stream_id: int, offset: int, content: bytes) -> bytes:
    return struct.pack("<BIQ", 2, stream_id, offset) + content


def resets(streams: Streams) -> list[tuple[int, int]]:
    """(id, code) of what the side would send."""
    found = [stream_decode(message) for message in streams.take_control()]
    return [(stream_id, body[0]) for op, stream_id, _, body in found if op == 5]


@pytest.fixture
def network() -> StreamNetwork:
    return StreamNetwork()


# Each is told to the daemon about its own end of a stream that it accepted, which has sent 10 bytes and received 5.
LIES: dict[str, Callable[[int], bytes]] = {
    "data past the window": lambda i: data(i, 5, bytes(262_144)),
    "data far past the window": lambda i: data(i, 2**63, b"x"),
    "more consumed than was sent": lambda i: stream_encode_window(i, 11, 1 << 20),
    "done before the end": lambda i: stream_encode_done(i, 10),
    "accept from the opener": lambda i: stream_encode_accept(i, 1000),
    "an end before what came": lambda i: stream_encode_end(i, 4),
    "a digest that was not agreed": lambda i: stream_encode_end(i, 5, bytes(32)),
    "a resume with another token": lambda i: stream_encode_resume(i, 10, TOKEN, 1000),
    "a broken message": lambda i: stream_encode_window(i, 0, 1)[:-1],
    "an op that does not exist": lambda i: struct.pack("<BIQ", 9, i, 0),
    "its open again": lambda i: stream_encode_open(i, TOKEN, 1000, "s"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_ends_its_stream_and_no_other(network: StreamNetwork, lie: Callable[[int], bytes]) -> None:
    ours, theirs = network.opened()
    other, far = network.opened("other")
    ours.write(b"12345")
    theirs.write(b"0123456789")
    network.settle()
    network.daemon.streams.receive(lie(theirs.id))
    network.settle()
    assert isinstance(theirs.failure, StreamFailed)
    assert (theirs.failure.code, theirs.failure.remote) == (ResetCode.PROTOCOL, False)
    assert ours.failure == StreamFailed(ours, ResetCode.PROTOCOL, theirs.failure.reason, remote=True)
    other.write(b"fine")
    network.settle()
    assert read_all(far) == b"fine"
    assert network.daemon.failures == network.client.failures == []
    other.reset()
    assert network.client.streams.held_bytes == network.daemon.streams.held_bytes == network.budget.held == 0


def test_a_resume_from_a_wrong_offset_ends_the_stream(network: StreamNetwork) -> None:
    for offset in (3, 11):
        ours, theirs = network.opened()
        theirs.write(b"0123456789")
        network.settle()
        read_all(ours)
        network.client.streams._credit.due[ours] = ours._incoming.window.limit
        network.settle()
        assert theirs.confirmed == 10
        theirs.write(b"x")
        network.daemon.streams.receive(stream_encode_resume(theirs.id, offset + 1, ours._token, 1000))
        assert theirs.failure is not None
        assert "can be repeated" in theirs.failure.reason


def test_a_false_end_is_refused_and_the_same_end_again_is_not(network: StreamNetwork) -> None:
    for again, code in ((7, None), (8, ResetCode.PROTOCOL)):
        _, theirs = network.opened()
        for offset in (7, again):
            network.daemon.streams.receive(stream_encode_end(theirs.id, offset))
        failed = theirs.failure
        assert (None if failed is None else failed.code) == code


def test_bytes_after_the_end_are_refused(network: StreamNetwork) -> None:
    _, theirs = network.opened()
    network.daemon.streams.receive(stream_encode_end(theirs.id, 3))
    network.daemon.streams.receive(data(theirs.id, 0, b"1234"))
    assert theirs.failure is not None
    assert theirs.failure.reason == "bytes come after its end"


def test_bytes_elsewhere_in_the_window_are_dropped(network: StreamNetwork) -> None:
    _, theirs = network.opened()
    for offset in (1, 5, 262_143):
        network.daemon.streams.receive(data(theirs.id, offset, b"x"))
    network.daemon.streams.receive(data(theirs.id, 0, b"ab"))
    network.daemon.streams.receive(data(theirs.id, 0, b"ab"))
    network.daemon.streams.receive(data(theirs.id, 1, b"b"))
    assert read_all(theirs) == b"ab"
    assert theirs.failure is None


def test_nothing_may_be_sent_before_the_stream_is_accepted(network: StreamNetwork) -> None:
    streams = network.daemon.streams
    streams.receive(stream_encode_open(2, TOKEN, 1000, "s"))
    streams.receive(data(2, 0, b"x"))
    assert [type(event) for event in streams.poll()] == [StreamOpened, StreamFailed]
    assert resets(streams) == [(2, ResetCode.PROTOCOL)]


def test_the_window_of_the_session_holds_over_all_streams() -> None:
    network = StreamNetwork(limits=StreamLimits(session_window=1000, session_bytes=500))
    _, first = network.opened()
    _, second = network.opened()
    streams = network.daemon.streams
    streams.receive(data(first.id, 0, bytes(501)))
    streams.receive(data(second.id, 0, bytes(499)))
    assert not streams.wants_write
    streams.receive(data(second.id, 499, b"x"))
    assert second.failure is not None
    assert second.failure.reason == "it ignores the session's window"
    assert first.failure is None
    read_all(first)
    assert streams.wants_write


@pytest.mark.parametrize(
    "message",
    [
        data(4, 0, b"x"),
        stream_encode_end(4, 0),
        stream_encode_done(4, 0),
        stream_encode_window(4, 0, 5),
        stream_encode_accept(4, 5),
        stream_encode_resume(4, 0, TOKEN, 5),
        stream_encode_accept(7, 5),
        data(7, 0, b"x"),
    ],
)
def test_streams_that_never_were_are_reset(network: StreamNetwork, message: bytes) -> None:
    network.daemon.streams.receive(message)
    ((stream_id, code),) = resets(network.daemon.streams)
    assert stream_id in (4, 7)
    assert code == ResetCode.UNKNOWN
    assert network.daemon.streams.poll() == []


def test_resets_are_never_answered(network: StreamNetwork) -> None:
    for stream_id in (2, 3, 1000, 1001):
        network.daemon.streams.receive(stream_encode_reset(stream_id, 4, "x"))
    assert network.daemon.streams.take_control() == []


def test_a_flood_of_wrong_messages_is_not_answered_one_by_one() -> None:
    network = StreamNetwork(limits=StreamLimits(refusals=5))
    for _ in range(1000):
        network.daemon.streams.receive(data(4, 0, b"x"))
    assert len(network.daemon.streams.take_control()) == 5
    network.daemon.streams.receive(data(4, 0, b"x"))
    assert len(network.daemon.streams.take_control()) == 1


@pytest.mark.parametrize("stream_id", [1, 3])
def test_ids_of_the_wrong_side_open_nothing(network: StreamNetwork, stream_id: int) -> None:
    network.daemon.streams.receive(stream_encode_open(stream_id, TOKEN, 1000, "s"))
    assert network.daemon.streams.live == []
    assert resets(network.daemon.streams) == [(stream_id, ResetCode.PROTOCOL)]


def test_an_id_is_used_once_and_gaps_are_bounded() -> None:
    network = StreamNetwork(limits=StreamLimits(streams=10))
    streams = network.daemon.streams
    streams.receive(stream_encode_open(22, TOKEN, 1000, "s"))
    assert len(streams.live) == 1
    streams.receive(stream_encode_open(24, bytes(16), 1000, "s"))
    streams.receive(stream_encode_open(24, bytes(15) + b"1", 1000, "s"))
    streams.receive(stream_encode_open(28, bytes(15) + b"2", 1000, "s"))
    assert [stream.id for stream in streams.live] == [22]
    assert resets(streams) == [(24, ResetCode.PROTOCOL), (28, ResetCode.PROTOCOL)]


@pytest.mark.parametrize(
    "packed", [b"\xc1", b"\x01", b"\x81\x01\x01", b"\x81\xa1a\xd4\x05\x00", b"\x80\x80", b"\x91" * 2000]
)
def test_broken_metadata_refuses_the_stream(network: StreamNetwork, packed: bytes) -> None:
    network.daemon.streams.receive(stream_encode_open(2, TOKEN, 1000, "s", packed))
    assert network.daemon.streams.live == []
    assert resets(network.daemon.streams) == [(2, ResetCode.PROTOCOL)]


def test_more_streams_than_allowed_are_refused() -> None:
    network = StreamNetwork(limits=StreamLimits(unaccepted=2, streams=3))
    streams = network.daemon.streams
    for number in range(1, 4):
        streams.receive(stream_encode_open(2 * number, number.to_bytes(16, "big"), 1000, "s"))
    assert resets(streams) == [(6, ResetCode.LIMIT)]
    for stream in streams.live:
        stream.accept()
    streams.receive(stream_encode_open(8, bytes(16), 1000, "s"))
    streams.receive(stream_encode_open(10, TOKEN, 1000, "s"))
    assert resets(streams) == [(10, ResetCode.LIMIT)]


@pytest.mark.parametrize("spoil", [0, 60_000, 99_999])
def test_a_wrong_digest_is_an_error_of_integrity_on_both_sides(network: StreamNetwork, spoil: int) -> None:
    ours, theirs = network.opened(digest=True)
    content = bytes(100_000)
    ours.write(content)
    ours.end()
    network.client.write(1 << 20)
    frames = [bytearray(frame) for frame in network.daemon.inbox]
    sizes = [len(frame) - 51 if frame[38] == 2 else 0 for frame in frames]
    at = spoil
    for frame, size in zip(frames, sizes, strict=True):
        if 0 <= at < size:
            frame[51 + at] ^= 1
        at -= size
    network.daemon.inbox.clear()
    network.daemon.inbox.extend(bytes(frame) for frame in frames)
    network.settle()
    assert theirs.failure is not None
    assert ours.failure is not None
    assert (theirs.failure.code, theirs.failure.remote) == (ResetCode.INTEGRITY, False)
    assert (ours.failure.code, ours.failure.remote) == (ResetCode.INTEGRITY, True)
    assert not ours.delivered


def test_an_agreed_digest_cannot_be_left_out(network: StreamNetwork) -> None:
    streams = network.daemon.streams
    streams.receive(stream_encode_open(2, TOKEN, 1000, "s", pack_metadata(None, digest=True)))
    streams.receive(stream_encode_end(2, 0))
    assert resets(streams) == [(2, ResetCode.PROTOCOL)]


@given(st.lists(st.binary(max_size=60), max_size=30))
@settings(deadline=None)
def test_no_bytes_raise(messages: list[bytes]) -> None:
    network = StreamNetwork()
    _ours, theirs = network.opened()
    for message in messages:
        for known in (b"", message[:1] + theirs.id.to_bytes(4, "little")):
            network.daemon.streams.receive(known + message)
            network.daemon.streams.receive_frame(known + message)
    for stream in network.daemon.streams.live:
        stream.reset()
    network.daemon.streams.poll()
    network.daemon.streams.take(1 << 20)
    assert network.daemon.streams.held_bytes == network.daemon.streams.unread_bytes == 0


IDS, TOKENS, OFFSETS = st.integers(1, 9), st.sampled_from([TOKEN, bytes(16)]), st.integers(0, 300)
LIMITS = st.integers(0, 10_000)
OPS = st.one_of(
    st.builds(stream_encode_open, IDS, TOKENS, LIMITS, st.just("n")),
    st.builds(stream_encode_accept, IDS, LIMITS),
    st.builds(data, IDS, OFFSETS, st.binary(min_size=1, max_size=300)),
    st.builds(stream_encode_window, st.integers(0, 9), OFFSETS, LIMITS),
    st.builds(stream_encode_end, IDS, OFFSETS),
    st.builds(stream_encode_reset, IDS, st.integers(0, 2000)),
    st.builds(stream_encode_resume, IDS, OFFSETS, TOKENS, LIMITS),
    st.builds(stream_encode_done, IDS, OFFSETS),
)


@given(st.lists(OPS, max_size=60), st.integers(0, 2**32))
@settings(deadline=None, max_examples=200)
def test_no_sequence_of_messages_breaks_the_books(messages: list[bytes], seed: int) -> None:
    network = StreamNetwork(seed=seed)
    streams, random = network.daemon.streams, network.random
    for number in range(2):
        streams.open(f"{number}").write(bytes(200))
    for message in messages:
        streams.receive(message)
        for stream in streams.live:
            match random.randrange(6):
                case 0 if not stream.ours and not stream.accepted:
                    stream.accept()
                case 1 if not stream._outgoing.ended:
                    stream.write(bytes(random.randrange(300)))
                case 2:
                    stream.end()
                case 3:
                    stream.read()
        streams.take(random.randrange(1000))
        if random.random() < 0.05:
            streams.resumed()
        assert streams.held_bytes == sum(stream._outgoing.held for stream in streams.live) == network.budget.held
        assert streams.unread_bytes == sum(stream.readable for stream in streams.live)
        assert streams._admission.unaccepted == sum(stream._unaccepted for stream in streams.live)
    streams.close()
    assert (
        network.budget.held
        == network.unread_budget.held
        == streams.held_bytes
        == streams.unread_bytes
        == streams._credit.granted
        == 0
    )
