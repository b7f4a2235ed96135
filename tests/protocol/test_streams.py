"""Byte streams between two sides that keep to the rules (docs/protocol/streams.md)."""

import pytest

from sideband.errors import PeerError
from sideband.protocol.streams.events import (
    StreamAccepted,
    StreamDelivered,
    StreamFailed,
    StreamOpened,
    StreamReadable,
    StreamWritable,
)
from sideband.protocol.streams.limits import ResetCode, StreamLimits
from tests.support.stream_network import StreamNetwork, read_all

KIB, MIB = 1024, 1024 * 1024


@pytest.fixture
def network() -> StreamNetwork:
    return StreamNetwork()


def code_of(error: pytest.ExceptionInfo[PeerError]) -> str:
    return error.value.code


def test_bytes_go_both_ways_and_both_ends_close(network: StreamNetwork) -> None:
    ours = network.client.streams.open("files/get", {"path": "a"})
    assert ours.write(b"early") == 5
    network.settle()
    opened = network.daemon.events.pop()
    assert isinstance(opened, StreamOpened)
    theirs = opened.stream
    assert (theirs.name, theirs.metadata, theirs.ours, theirs.readable) == ("files/get", {"path": "a"}, False, 0)
    theirs.accept()
    assert theirs.write(b"answer") == 6
    network.settle()
    assert [type(event) for event in network.client.events] == [StreamAccepted, StreamReadable]
    assert read_all(theirs) == b"early"
    assert read_all(ours) == b"answer"

    ours.end()
    network.settle()
    assert theirs.at_end
    assert not theirs.closed
    assert ours.delivered
    assert not ours.closed
    theirs.write(b" and more after your end")
    theirs.end()
    network.settle()
    assert not ours.at_end
    assert read_all(ours) == b" and more after your end"
    network.settle()
    assert ours.at_end
    assert ours.closed
    assert theirs.closed
    assert network.client.streams.live == network.daemon.streams.live == []
    assert network.budget.held == network.client.streams.held_bytes == 0
    assert isinstance(network.client.events[-2], StreamDelivered | StreamReadable)


def test_a_whole_stream_of_more_than_every_window_arrives(network: StreamNetwork) -> None:
    content = network.random.randbytes(5 * MIB + 3)
    ours, theirs = network.opened(digest=True)
    at, got = 0, bytearray()
    while not theirs.at_end:
        at += ours.write(memoryview(content)[at : at + 300_000])
        if at == len(content):
            ours.end()
        network.settle()
        got += read_all(theirs)
    network.settle()
    assert got == content
    assert ours.delivered
    assert ours.confirmed == len(content)


def test_data_messages_fill_a_frame_and_hold_no_copy(network: StreamNetwork) -> None:
    ours, _ = network.opened()
    content = bytes(200_000)
    ours.write(content)
    frames = network.client.streams.take(MIB)
    assert [sum(map(len, frame)) for frame in frames] == [65_508, 65_508, 65_508, 200_000 - 3 * 65_457 + 51]
    assert all(isinstance(part, memoryview) and part.obj is content for frame in frames for part in frame[1:])


def test_what_can_change_is_copied_when_written(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    for size in (10, 100_000):
        content = bytearray(b"a" * size)
        assert ours.write(content) == size
        content[:] = b"b" * size
        network.settle()
        assert read_all(theirs) == b"a" * size


def test_small_writes_share_messages_in_their_order(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    numbers = b"".join(number.to_bytes(4, "big") for number in range(2000))
    for at in range(0, len(numbers), 4):
        ours.write(numbers[at : at + 4])
    ours.write(b"x" * 5000)
    ours.write(b"tail")
    network.client.write()
    assert len(network.daemon.inbox) == 1
    network.daemon.read()
    assert read_all(theirs) == numbers + b"x" * 5000 + b"tail"


def test_streams_take_turns(network: StreamNetwork) -> None:
    pairs = [network.opened(str(number)) for number in range(4)]
    for ours, _ in pairs:
        ours.write(bytes(200_000))
    for _ in range(8):
        network.client.write(65_508)
        network.daemon.read()
    assert [theirs.received for _, theirs in pairs] == [2 * 65_457] * 4


def test_a_receiver_that_does_not_read_stops_its_own_stream_only(network: StreamNetwork) -> None:
    slow, idle = network.opened("slow")
    quick, reading = network.opened("quick")
    moved = 0
    for _ in range(50):
        slow.write(bytes(MIB))
        quick.write(bytes(MIB))
        network.settle()
        moved += len(read_all(reading))
    assert network.limits.window - 65_457 < idle.received <= network.limits.window
    assert slow.written <= network.limits.window + network.limits.ahead_bytes
    assert moved > 10 * MIB
    assert network.client.streams.round_trip is None or network.client.streams.round_trip >= 0


def test_a_short_write_is_followed_by_room(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    taken = ours.write(bytes(2 * MIB))
    assert taken == network.limits.window + network.limits.ahead_bytes
    assert ours.room == 0
    assert ours.write(b"more") == 0
    network.settle()
    network.client.events.clear()
    read_all(theirs)
    network.settle()
    assert [event for event in network.client.events if type(event) is StreamWritable] == [StreamWritable(ours)]
    assert ours.room > 0


def test_a_reset_drops_both_directions_and_tells_both_sides(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    ours.write(bytes(1000))
    theirs.write(bytes(1000))
    network.settle()
    theirs.reset(1234, "disk full")
    network.settle()
    assert network.client.events[-1] == StreamFailed(ours, 1234, "disk full", remote=True)
    assert network.daemon.events[-1] == StreamFailed(theirs, 1234, "disk full", remote=False)
    for stream in (ours, theirs):
        for use in (stream.read, stream.end, lambda stream=stream: stream.write(b"x")):
            with pytest.raises(PeerError, match="1234: disk full") as caught:
                use()
            assert code_of(caught) == "stream_reset"
        stream.reset()
    assert network.budget.held == network.unread_budget.held == 0
    assert network.client.streams.unread_bytes == network.daemon.streams.unread_bytes == 0


def test_bytes_under_way_to_a_stream_that_is_over_are_dropped_silently(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    ours.write(bytes(100_000))
    network.client.write()
    theirs.reset()
    network.settle()
    assert [type(event) for event in network.client.events if type(event) is StreamFailed] == [StreamFailed]
    assert network.daemon.failures == []
    other, far = network.opened("next")
    other.write(b"fine")
    network.settle()
    assert read_all(far) == b"fine"


def test_refusing_a_stream(network: StreamNetwork) -> None:
    ours = network.client.streams.open("secret")
    network.settle()
    network.daemon.streams.live[0].reset(ResetCode.REFUSED, "no handler")
    network.settle()
    assert network.client.events[-1] == StreamFailed(ours, ResetCode.REFUSED, "no handler", remote=True)


def test_what_makes_no_sense_is_refused_with_nothing_changed(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    for stream in (ours, theirs):
        with pytest.raises(PeerError) as caught:
            stream.accept()
        assert code_of(caught) == "invalid_state"
    ours.end()
    ours.end()
    with pytest.raises(PeerError) as caught:
        ours.write(b"x")
    assert code_of(caught) == "invalid_state"
    with pytest.raises(ValueError, match="1 to 65535"):
        ours.reset(0)
    with pytest.raises(ValueError, match="name has"):
        network.client.streams.open("")
    with pytest.raises(ValueError, match="name has"):
        network.client.streams.open("é" * 513)
    with pytest.raises(ValueError, match="metadata cannot be sent"):
        network.client.streams.open("s", {"x": object()})
    with pytest.raises(PeerError) as caught:
        network.client.streams.open("s", {"x": "y" * 8200})
    assert code_of(caught) == "message_too_large"
    network.settle()
    assert not ours.closed
    assert theirs.at_end


def test_neither_side_can_open_more_streams_than_allowed() -> None:
    network = StreamNetwork(limits=StreamLimits(streams=10, unaccepted=3))
    streams = [network.client.streams.open(str(number)) for number in range(10)]
    with pytest.raises(PeerError) as caught:
        network.client.streams.open("one more")
    assert code_of(caught) == "buffer_overflow"
    network.settle()
    assert len(network.daemon.streams.live) == 3
    for _ in range(10):
        for theirs in network.daemon.streams.live:
            if not theirs.accepted:
                theirs.accept()
        network.settle()
    assert all(stream.accepted for stream in streams)
    assert [theirs.name for theirs in network.daemon.streams.live] == [str(number) for number in range(10)]


def test_a_stream_that_waits_to_be_opened_can_be_written_ended_and_given_up() -> None:
    network = StreamNetwork(limits=StreamLimits(unaccepted=1))
    first, second, third = (network.client.streams.open(name) for name in ("first", "second", "third"))
    second.write(b"content")
    second.end()
    third.reset()
    network.settle()
    assert [theirs.name for theirs in network.daemon.streams.live] == ["first"]
    first.reset()
    network.settle()
    (theirs,) = network.daemon.streams.live
    theirs.accept()
    network.settle()
    assert (theirs.name, read_all(theirs), theirs.at_end) == ("second", b"content", True)


def test_the_token_is_never_shown(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    assert ours._token == theirs._token
    for text in (repr(ours), repr(StreamAccepted(theirs))):
        assert ours._token.hex() not in text
        assert repr(ours._token) not in text


def test_writes_and_reads_wake_the_driver_only_when_there_is_something_to_send(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    network.client.woken = network.daemon.woken = 0
    ours.write(b"x")
    assert network.client.woken == 1
    ours.write(b"y")
    assert network.client.woken == 1
    network.settle()
    read_all(theirs)
    assert network.daemon.woken == 0
    ours.write(bytes(100_000))
    network.settle()
    read_all(theirs)
    assert network.daemon.woken > 0


def test_closing_gives_up_every_stream(network: StreamNetwork) -> None:
    ours, _ = network.opened()
    ours.write(bytes(1000))
    network.client.streams.close(reason="disconnected")
    assert network.client.streams.poll()[-1] == StreamFailed(ours, ResetCode.CANCELLED, "disconnected", remote=False)
    assert network.budget.held == network.unread_budget.held == 0
    assert not network.client.streams.wants_write
