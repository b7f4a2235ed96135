"""Streams that outlive their session, for a while."""

import pytest

from sideband._native import stream_encode_open, stream_encode_resume
from sideband.errors import PeerError
from sideband.protocol.streams.events import StreamFailed
from sideband.protocol.streams.limits import ResetCode, StreamLimits
from tests.support.stream_network import StreamNetwork, read_all


@pytest.fixture
def network() -> StreamNetwork:
    return StreamNetwork()


def test_a_new_session_goes_on_where_the_last_one_was_lost(network: StreamNetwork) -> None:
    ours, theirs = network.opened(digest=True)
    content = network.random.randbytes(900_000)
    ours.write(content)
    ours.end()
    network.client.write()
    network.daemon.read()
    got = read_all(theirs)
    network.client.write()
    old = ours.id
    network.renew()
    assert (ours.room, len(network.client.kept), len(network.daemon.kept)) == (0, 1, 1)
    network.settle()
    assert theirs in network.daemon.streams.live
    assert ours.id == old
    while not theirs.at_end:
        got += read_all(theirs)
        network.settle()
    assert got == content
    assert ours.delivered
    assert len(network.client.kept) == len(network.daemon.kept) == 0


def test_what_happens_while_no_session_has_the_stream(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    theirs.write(b"for you")
    ours.write(b"before")
    network.settle()
    network.renew()
    assert ours.write(b"not now") == 0
    assert read_all(theirs) == b"before"
    assert read_all(ours) == b"for you"
    ours.end()
    network.settle()
    assert theirs.at_end
    assert ours.delivered
    theirs.end()
    network.settle()
    assert ours.closed
    assert theirs.closed


def test_a_stream_given_up_in_between_is_unknown_afterwards(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    ours.write(bytes(1000))
    network.settle()
    network.renew()
    theirs.reset(1000, "no longer wanted")
    assert network.daemon.kept.events == [StreamFailed(theirs, 1000, "no longer wanted", remote=False)]
    network.settle()
    assert ours.failure is not None
    assert (ours.failure.code, ours.failure.remote) == (ResetCode.UNKNOWN, True)
    assert network.budget.held == network.unread_budget.held == 0


def test_streams_wait_120_seconds_and_no_longer(network: StreamNetwork) -> None:
    ours, _ = network.opened()
    ours.write(bytes(1000))
    network.renew()
    deadline = network.clock.now + 120
    for end in (network.client, network.daemon):
        assert end.kept.next_deadline() == deadline
        end.kept.expire(deadline - 0.001)
        assert len(end.kept) == 1
        end.kept.expire(deadline)
        assert len(end.kept) == 0
        assert end.kept.next_deadline() is None
    (failed,) = network.client.kept.events
    assert failed == StreamFailed(ours, ResetCode.UNKNOWN, "no session came back within 120 s", remote=False)
    with pytest.raises(PeerError, match="120 s"):
        ours.read()
    assert network.budget.held == network.unread_budget.held == 0
    network.settle()
    assert network.client.streams.live == []


def test_another_identity_key_forgets_everything(network: StreamNetwork) -> None:
    ours, _ = network.opened()
    network.renew()
    network.client.kept.clear("the daemon has another identity key")
    assert ours.failure is not None
    assert ours.failure.reason == "the daemon has another identity key"
    network.settle()
    assert network.client.streams.live == []


def test_a_stream_moves_from_a_session_that_is_not_known_to_be_lost(network: StreamNetwork) -> None:
    """The client is back before the daemon has noticed that it was gone: the older copy ends."""
    ours, theirs = network.opened()
    ours.write(b"one ")
    network.settle()
    network.client.streams.detach()
    older = network.daemon.streams
    for end in (network.client, network.daemon):
        end.inbox.clear()
        end.begin()
    network.settle()
    assert older.live == []
    assert network.daemon.streams.live == [theirs]
    ours.write(b"two")
    network.settle()
    assert read_all(theirs) == b"one two"
    older.detach()
    assert network.daemon.streams.live == [theirs]


def test_a_token_that_is_not_known_finds_nothing(network: StreamNetwork) -> None:
    _, theirs = network.opened()
    token = bytearray(theirs._token)
    token[15] ^= 1
    network.daemon.streams.receive(stream_encode_resume(4, 0, token, 1000))
    network.settle()
    assert network.daemon.streams.live == [theirs]


def test_a_token_in_use_opens_no_second_stream(network: StreamNetwork) -> None:
    ours, theirs = network.opened()
    ours.write(b"x")
    network.settle()
    network.daemon.streams.receive(stream_encode_open(4, theirs._token, 1000, "s"))
    assert network.daemon.streams.live == [theirs]
    assert theirs.id == 2


def test_only_so_many_finished_streams_are_remembered() -> None:
    network = StreamNetwork(limits=StreamLimits(finished_streams=3))
    for _ in range(10):
        ours, theirs = network.opened()
        ours.end()
        theirs.end()
        network.settle()
        assert ours.closed
    assert len(network.client.kept._finished) == len(network.daemon.kept._finished) == 3
    assert len(network.client.kept._by_key) == 0
    network.renew()
    network.settle()
    assert network.client.streams.live == network.daemon.streams.live == []
    assert not any(isinstance(event, StreamFailed) for event in network.client.events + network.daemon.events)
