"""Credit, bounds and fairness of streams at their edges."""

import pytest

from sideband._native import stream_decode
from sideband.errors import PeerError
from sideband.protocol.streams.events import StreamWritable
from sideband.protocol.streams.limits import StreamBudget, StreamLimits
from tests.support.stream_network import StreamNetwork, read_all

KIB, MIB = 1024, 1024 * 1024


def transfer(network: StreamNetwork, size: int, *, read_every: float, round_trip: float) -> list[int]:
    """Send so many bytes over a path with that delay, reading at a pace; returns the windows in between."""
    ours, theirs = network.opened()
    windows, got, sent = [], 0, 0
    content = bytes(size)
    while got < size:
        sent += ours.write(memoryview(content)[sent:])
        network.clock.now += round_trip / 2
        network.client.write(8 * MIB)
        network.daemon.read()
        network.clock.now += read_every
        got += len(read_all(theirs))
        windows.append(theirs._incoming.window.size)
        network.daemon.write(MIB)
        network.clock.now += round_trip / 2
        network.client.read()
    return windows


def test_the_window_grows_while_full_ones_are_consumed_within_two_round_trips() -> None:
    network = StreamNetwork(limits=StreamLimits(max_session_window=64 * MIB))
    windows = transfer(network, 60 * MIB, read_every=0.0, round_trip=0.1)
    assert windows[0] == 256 * KIB
    assert max(windows) == network.limits.max_window
    assert windows == sorted(windows)


def test_the_window_stays_small_for_a_slow_reader() -> None:
    windows = transfer(StreamNetwork(), 3 * MIB, read_every=0.3, round_trip=0.1)
    assert set(windows) == {256 * KIB}


def test_a_sender_stops_at_the_session_window_and_goes_on_with_credit() -> None:
    network = StreamNetwork()
    pairs = [network.opened(str(number)) for number in range(8)]
    for ours, _ in pairs:
        ours.write(bytes(256 * KIB))
    sent = 0
    while frames := network.client.streams.take(MIB):
        sent += sum(len(b"".join(frame)) - 51 for frame in frames)
        network.daemon.inbox.extend(b"".join(frame) for frame in frames)
    assert MIB - 65_457 < sent <= MIB
    assert not network.client.streams.wants_write
    network.settle()
    assert sum(theirs.received for _, theirs in pairs) > 8 * 256 * KIB - 8 * 65_457


def test_the_session_counts_anew_after_each_resume() -> None:
    network = StreamNetwork()
    ours, theirs = network.opened()
    got = 0
    for _ in range(6):
        ours.write(bytes(700 * KIB))
        network.settle()
        got += len(read_all(theirs))
        ours.write(bytes(100))
        network.client.write()
        network.cut()
        network.resume()
        network.settle()
    assert ours.written > 2 * MIB
    while chunk := read_all(theirs):
        got += len(chunk)
        network.settle()
    assert got == ours.written


def test_one_stream_holds_at_most_its_bound_whatever_the_window() -> None:
    limits = StreamLimits(window=4 * MIB, max_window=4 * MIB, session_window=64 * MIB, max_session_window=64 * MIB)
    network = StreamNetwork(limits=StreamLimits(stream_bytes=MIB, session_window=64 * MIB, window=4 * MIB))
    ours, _ = network.opened()
    assert limits.window > network.limits.stream_bytes
    assert ours.write(bytes(2 * MIB)) == MIB
    network.settle()
    assert ours.write(b"x") == 0


def test_the_session_holds_at_most_its_bound_and_leaves_room_for_new_streams() -> None:
    network = StreamNetwork(limits=StreamLimits(session_bytes=8 * MIB, stream_bytes=4 * MIB, window=4 * MIB))
    greedy = [network.opened(f"{number}")[0] for number in range(4)]
    for ours in greedy:
        while ours.write(bytes(MIB)):
            pass
    network.settle()
    assert network.client.streams.held_bytes <= 8 * MIB
    late, far = network.opened("late")
    assert late.write(bytes(512 * KIB)) > 0
    network.settle()
    assert far.readable > 0


def test_the_process_holds_at_most_its_bound_and_others_are_told_of_room() -> None:
    budget = StreamBudget(limit=MIB)
    networks = [StreamNetwork(seed=seed, budget=budget) for seed in range(2)]
    (first, far), (second, _) = (network.opened() for network in networks)
    assert first.write(bytes(2 * MIB)) == MIB
    assert second.write(b"x") == 0
    networks[0].settle()
    networks[1].client.woken = 0
    read_all(far)
    networks[0].settle()
    assert networks[1].client.woken > 0
    assert networks[1].client.streams.poll() == [StreamWritable(second)]
    assert second.write(b"x") == 1
    first.reset()
    second.reset()
    assert budget.held == 0


def test_the_smallest_windows_still_make_progress() -> None:
    for window in (1, 2, 3, 10, 1000):
        network = StreamNetwork(limits=StreamLimits(window=window, session_window=window, max_window=window))
        ours, theirs = network.opened()
        content = bytes(range(200))
        assert ours.write(content) == 200
        ours.end()
        got = b""
        for _ in range(500):
            network.settle()
            got += read_all(theirs)
        assert got == content
        assert ours.delivered


def test_credit_is_not_told_for_what_will_not_come() -> None:
    network = StreamNetwork()
    ours, theirs = network.opened()
    ours.write(bytes(200 * KIB))
    ours.end()
    network.settle()
    read_all(theirs)
    network.daemon.streams.take_control()
    messages = [stream_decode(bytes(frame)[38:]) for frame in network.daemon.streams.take(MIB)]
    assert [message[1] for message in messages] in ([], [0])


@pytest.mark.parametrize(("size", "ended", "told"), [(256, True, False), (256, False, True), (257, True, True)])
def test_credit_is_told_unless_the_end_is_inside_what_is_taken_anyway(size: int, *, ended: bool, told: bool) -> None:
    network = StreamNetwork()
    ours, theirs = network.opened()
    ours.write(bytes(size * KIB))
    if ended:
        ours.end()
    network.settle()
    theirs.read(100 * KIB)
    theirs.read(100 * KIB)
    frames = [bytes(frame) for frame in network.daemon.streams.take(MIB) if isinstance(frame, bytes)]
    assert (theirs.id in [stream_decode(frame[38:])[1] for frame in frames]) is told
    network.client.inbox.extend(frames)
    for _ in range(3):
        network.settle()
        read_all(theirs)
    network.settle()
    assert ours.confirmed == size * KIB


def test_what_a_full_session_takes_of_each_stream_is_whole_messages() -> None:
    network = StreamNetwork(limits=StreamLimits(session_bytes=4 * MIB, session_window=64 * MIB))
    pairs = [network.opened(str(number)) for number in range(30)]
    content = memoryview(bytes(192 * KIB))
    taken = [ours.write(content) for ours, _ in pairs]
    assert taken[0] == content.nbytes
    assert taken[-1] == 65_457
    sizes = [sum(map(len, frame)) - 51 for frame in network.client.streams.take(MIB // 2)]
    assert set(sizes) == {65_457}
    assert network.client.streams.held_bytes <= 4 * MIB


def test_streams_in_turn_get_the_same_share_whatever_their_writes() -> None:
    network = StreamNetwork(limits=StreamLimits(session_window=64 * MIB))
    large, far_large = network.opened("large")
    small, far_small = network.opened("small")
    large.write(bytes(250_000))
    for _ in range(250):
        small.write(bytes(1000))
    for _ in range(6):
        network.client.write(65_508)
    network.daemon.read()
    assert far_large.received == far_small.received == 3 * 65_457


def test_a_name_of_the_largest_size_and_the_largest_metadata_fit() -> None:
    network = StreamNetwork()
    ours, theirs = network.opened("n" * 1024, metadata={"x": "y" * 8180})
    assert (theirs.name, theirs.metadata) == (ours.name, {"x": "y" * 8180})
    with pytest.raises(PeerError):
        network.client.streams.open("n", {"x": "y" * 8190})
