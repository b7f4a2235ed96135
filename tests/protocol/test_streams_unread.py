"""Bytes that nobody reads: what one session, and all sessions of a process, may have waiting."""

from sideband.protocol.streams.limits import StreamBudget, StreamLimits
from sideband.protocol.streams.stream import ByteStream
from tests.support.stream_network import StreamNetwork, read_all

MIB = 1024 * 1024
LIMITS = StreamLimits(window=4 * MIB, max_window=4 * MIB, session_window=MIB, max_session_window=MIB)


def full(network: StreamNetwork) -> tuple[ByteStream, ByteStream]:
    """A stream that was given all that leaves, and of which nothing is read."""
    ours, theirs = network.opened()
    while ours.write(bytes(MIB)):
        network.settle()
    return ours, theirs


def test_a_session_gets_no_credit_while_too_much_of_all_sessions_is_unread() -> None:
    unread = StreamBudget(limit=2 * MIB)
    first, second = (StreamNetwork(LIMITS, seed=seed, unread_budget=unread) for seed in range(2))
    _, theirs = full(first)
    # It stops within a window of the bound, though its stream's own window has room.
    assert 2 * MIB <= theirs.readable <= 3 * MIB < LIMITS.window
    assert first.daemon.streams.unread_bytes == unread.held == theirs.readable
    # Another session goes on with what it has at first, and its reader is quick.
    ours, others = second.opened()
    got = 0
    while got < 8 * MIB:
        ours.write(bytes(MIB))
        second.settle()
        got += len(read_all(others))
    # What is read makes room again.
    before = theirs.received
    read_all(theirs)
    first.settle()
    assert theirs.received > before


def test_a_session_goes_on_when_another_has_read() -> None:
    unread = StreamBudget(limit=2 * MIB)
    first, second = (StreamNetwork(LIMITS, seed=seed, unread_budget=unread) for seed in range(2))
    _, theirs = full(first)
    _, others = full(second)
    assert MIB < others.readable <= 2 * MIB
    second.daemon.woken = 0
    read_all(theirs)
    assert second.daemon.woken > 0
    before = others.received
    second.settle()
    assert others.received > before


def test_what_is_dropped_unread_is_given_back_with_and_without_a_session() -> None:
    unread = StreamBudget(limit=2 * MIB)
    network = StreamNetwork(LIMITS, unread_budget=unread)
    _, reset = full(network)
    reset.reset()
    assert unread.held == 0
    _, lost = full(network)
    network.renew()
    waiting = unread.held
    assert waiting == lost.readable > 0
    # No session has it, and yet it can be read.
    chunk = lost.read()
    assert chunk is not None
    assert unread.held == waiting - chunk.nbytes
    lost.reset()
    assert unread.held == 0
    _, kept = full(network)
    network.renew()
    assert unread.held == kept.readable > 0
    network.daemon.kept.expire(network.clock() + LIMITS.kept_seconds)
    assert unread.held == 0


def test_a_stream_that_goes_on_in_a_new_session_is_counted_once() -> None:
    unread = StreamBudget(limit=2 * MIB)
    network = StreamNetwork(LIMITS, unread_budget=unread)
    _, theirs = full(network)
    network.renew()
    network.settle()
    assert network.daemon.streams.unread_bytes == unread.held == theirs.readable > 0
    read_all(theirs)
    network.settle()
    read_all(theirs)
    assert network.daemon.streams.unread_bytes == unread.held == 0
