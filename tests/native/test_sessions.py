"""Sessions: batches, order, loss, replay, and several threads on one object."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from sideband import _native
from sideband.errors import SbrpBatchError, SbrpError

KEYS = bytes(32), bytes(range(32))


@pytest.fixture
def client() -> _native.DaemonSession:
    return _native.DaemonSession(_native.SessionKeys.from_bytes(*KEYS))


@pytest.fixture
def daemon() -> _native.ClientSession:
    return _native.ClientSession("client", _native.SessionKeys.from_bytes(*KEYS))


def sequence_of(frame: bytes) -> int:
    return _native.decode_data(_native.decode_frame(frame)[2])


def test_seal_frames_is_all_or_nothing(client: _native.DaemonSession) -> None:
    for buffers, session_id, code in (
        ([b"a", bytes(65509)], 1, "payload_too_large"),
        ([b"a", b"b"], 0, "malformed_frame"),
        ([b"a", b"b"], 2**64, "malformed_frame"),
    ):
        with pytest.raises(SbrpError) as caught:
            client.seal_frames(session_id, buffers)
        assert caught.value.code == code
    assert client.send_sequence == 0
    frames = client.seal_frames(1, [b"a", b"b"])
    assert [sequence_of(frame) for frame in frames] == [0, 1]


def test_open_frames_keeps_what_came_before_a_bad_frame(
    client: _native.DaemonSession, daemon: _native.ClientSession
) -> None:
    frames = client.seal_frames(1, [b"a", b"b", b"c", b"d"])
    forged = frames[2][:-1] + bytes([frames[2][-1] ^ 1])
    with pytest.raises(SbrpBatchError) as caught:
        daemon.open_frames([frames[0], frames[1], forged, frames[3]])
    assert (caught.value.code, caught.value.index, caught.value.opened) == ("decrypt_failed", 2, [b"a", b"b"])
    assert daemon.highest_received == 1
    assert daemon.open_frames(frames[2:]) == [b"c", b"d"]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (lambda good: good[:12], "malformed_frame"),
        (lambda good: good[:-1], "malformed_frame"),
        (lambda good: good + b"\0", "malformed_frame"),
        (lambda good: b"\x99" + good[1:], "invalid_frame_type"),
        (lambda good: _native.encode_ping(), "invalid_frame_type"),
        (lambda good: good[:1] + b"\xff" + good[2:], "payload_too_large"),
        (lambda good: good[:5] + bytes(8) + good[13:], "malformed_frame"),
        (lambda good: _native.encode_frame(3, 1, good[13:40]), "decrypt_failed"),
        (lambda good: good[:16] + b"\x02" + good[17:], "decrypt_failed"),
        (lambda good: good[:-1] + bytes([good[-1] ^ 0x80]), "decrypt_failed"),
    ],
)
def test_batch_and_single_check_the_same(
    client: _native.DaemonSession, daemon: _native.ClientSession, bad: Callable[[bytes], bytes], code: str
) -> None:
    first, second = client.seal_frames(1, [b"first", b"second"])
    with pytest.raises(SbrpError) as single:
        daemon.open_frame(bad(second))
    with pytest.raises(SbrpBatchError) as batch:
        daemon.open_frames([first, bad(second)])
    assert single.value.code == batch.value.code == code
    assert str(single.value) == str(batch.value)
    assert (batch.value.index, batch.value.opened) == (1, [b"first"])
    assert daemon.open_frame(second) == b"second"


def test_replayed_reflected_reordered_and_lost_frames(
    client: _native.DaemonSession, daemon: _native.ClientSession
) -> None:
    frames = client.seal_frames(1, [bytes([n]) for n in range(200)])
    assert daemon.open_frames(frames[10:0:-1]) == [bytes([n]) for n in range(10, 0, -1)]
    with pytest.raises(SbrpError) as caught:
        daemon.open_frame(frames[5])
    assert caught.value.code == "sequence_error"
    with pytest.raises(SbrpError) as caught:
        client.open_frame(frames[0])
    assert caught.value.code == "decrypt_failed"
    # 11 to 149 are lost, which is no error; 22 is the oldest number that the window of 128 covers.
    assert daemon.open_frame(frames[149]) == bytes([149])
    assert daemon.open_frame(frames[22]) == bytes([22])
    with pytest.raises(SbrpError) as caught:
        daemon.open_frame(frames[21])
    assert caught.value.code == "sequence_error"
    assert daemon.highest_received == 149


def test_the_window_size_is_chosen_at_construction() -> None:
    client = _native.DaemonSession(_native.SessionKeys.from_bytes(*KEYS))
    wide = _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS), replay_window=1024)
    frames = client.seal_frames(1, [b""] * 1025)
    wide.open_frame(frames[1024])
    assert wide.open_frame(frames[1]) == b""
    with pytest.raises(SbrpError):
        wide.open_frame(frames[0])


def test_another_sessions_key_opens_nothing(client: _native.DaemonSession) -> None:
    other = _native.ClientSession("c", _native.SessionKeys.from_bytes(bytes([1] * 32), bytes(32)))
    with pytest.raises(SbrpError) as caught:
        other.open(client.seal(b"secret"))
    assert caught.value.code == "decrypt_failed"


def test_integrity_survives_use(client: _native.DaemonSession, daemon: _native.ClientSession) -> None:
    assert client.check_integrity()
    frames = client.seal_frames(1, [b""] * 500)
    for frame in itertools.islice(frames, 0, None, 7):
        daemon.open_frame(frame)
        assert daemon.check_integrity()
    daemon.clear()
    assert not daemon.check_integrity()
    assert daemon.cleared
    assert daemon.highest_received is None


def test_sessions_are_told_apart(client: _native.DaemonSession, daemon: _native.ClientSession) -> None:
    assert isinstance(client, _native.Session)
    assert isinstance(daemon, _native.Session)
    assert daemon.client_id == "client"
    with pytest.raises(TypeError):
        _native.Session()


def test_threads_that_seal_on_one_session_never_share_a_nonce(
    client: _native.DaemonSession, daemon: _native.ClientSession
) -> None:
    threads, rounds = 4, 150
    start = threading.Barrier(threads)

    def work(number: int) -> list[bytes]:
        frames: list[bytes] = []
        start.wait()
        for turn in range(rounds):
            # Small (interpreter held), large (released), and batches, all at once.
            frames.append(client.seal_frame(1, bytes([number])))
            if turn % 10 == 0:
                frames.append(client.seal_frame(1, bytes([number]) * 20_000))
            frames.extend(client.seal_frames(1, [bytes([number]), bytes([number]) * 500]))
        return frames

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(work, range(threads)))
    sequences = [sequence_of(frame) for frames in results for frame in frames]
    assert sorted(sequences) == list(range(len(sequences)))
    assert client.send_sequence == len(sequences)
    wide = _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS), replay_window=65536)
    for number, frames in enumerate(results):
        assert {plaintext[0] for plaintext in wide.open_frames(frames)} == {number}
        # One thread's own messages stay in order.
        assert [sequence_of(frame) for frame in frames] == sorted(sequence_of(frame) for frame in frames)
    assert daemon.highest_received is None


def test_threads_that_open_on_one_session_accept_each_frame_once(client: _native.DaemonSession) -> None:
    daemon = _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS), replay_window=65536)
    frames = client.seal_frames(1, [bytes([n % 256]) * (1 if n % 9 else 20_000) for n in range(600)])
    start = threading.Barrier(3)

    def work(order: list[bytes]) -> list[str | None]:
        start.wait()
        return [code_of(lambda frame=frame: daemon.open_frame(frame)) for frame in order]

    with ThreadPoolExecutor(3) as pool:
        outcomes = [code for codes in pool.map(work, [frames, frames[::-1], frames]) for code in codes]
    assert outcomes.count(None) == len(frames)
    assert outcomes.count("sequence_error") == 2 * len(frames)


def test_sending_and_receiving_do_not_wait_for_each_other(
    client: _native.DaemonSession, daemon: _native.ClientSession
) -> None:
    up = client.seal_frames(1, [bytes(30_000)] * 100)
    start = threading.Barrier(2)

    def send() -> list[bytes]:
        start.wait()
        return [daemon.seal(bytes(30_000)) for _ in range(100)]

    def receive() -> list[bytes]:
        start.wait()
        return [daemon.open_frame(frame) for frame in up]

    with ThreadPoolExecutor(2) as pool:
        sent, received = pool.submit(send), pool.submit(receive)
        assert len(received.result()) == 100
        assert [client.open(payload) for payload in sent.result()] == [bytes(30_000)] * 100


def test_clearing_while_others_seal_ends_them_with_one_clear_error(client: _native.DaemonSession) -> None:
    under_way = threading.Event()

    def work() -> tuple[int, str | None]:
        for sealed in itertools.count():
            if code := code_of(lambda: client.seal(bytes(20_000))):
                return sealed, code
            under_way.set()
        raise AssertionError

    with ThreadPoolExecutor(2) as pool:
        workers = [pool.submit(work), pool.submit(work)]
        assert under_way.wait(timeout=60)
        client.clear()
        outcomes = [worker.result() for worker in workers]
    assert {code for _, code in outcomes} == {"session_cleared"}
    assert sum(sealed for sealed, _ in outcomes) == client.send_sequence


def code_of(call: Callable[[], object]) -> str | None:
    try:
        call()
    except SbrpError as error:
        return error.code.value
    return None
