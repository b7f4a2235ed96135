"""Batches that a second thread works on: the same bytes, in the same order, and the same errors."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sideband import _native
from sideband.errors import SbrpBatchError
from sideband.secure_relay import batch_threads, set_batch_threads

KEYS = bytes(32), bytes(range(32))
LARGE = _native.MAX_PLAINTEXT_SIZE


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    before = batch_threads()
    yield
    set_batch_threads(before)


def client() -> _native.DaemonSession:
    return _native.DaemonSession(_native.SessionKeys.from_bytes(*KEYS))


def daemon() -> _native.ClientSession:
    return _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS))


def unmasked(wire: _native.WireFrames) -> list[bytes]:
    """The payloads of WebSocket frames, all of them of more than 65,535 bytes or fewer than 126."""
    view, payloads = bytes(wire.view()), []
    while view:
        size = view[1] & 127
        mask_at = 2 + {126: 2, 127: 8}.get(size, 0)
        size = int.from_bytes(view[2:mask_at], "big") if mask_at > 2 else size
        mask, masked = view[mask_at : mask_at + 4], view[mask_at + 4 : mask_at + 4 + size]
        keys = (mask * (size // 4 + 1))[:size]
        payloads.append((int.from_bytes(masked, "big") ^ int.from_bytes(keys, "big")).to_bytes(size, "big"))
        view = view[mask_at + 4 + size :]
    return payloads


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 65_508), min_size=1, max_size=6), st.booleans())
def test_both_threads_make_the_bytes_of_one(sizes: list[int], in_parts: bool) -> None:
    whole = [bytes([index]) * size for index, size in enumerate([*sizes, LARGE, LARGE, LARGE, LARGE, LARGE])]
    messages = [(message[:29], memoryview(message)[29:]) for message in whole] if in_parts else whole
    frames, wires, opened = [], [], []
    for threads in (1, 2):
        set_batch_threads(threads)
        frames.append(client().seal_frames(7, messages))
        wires.append(unmasked(_native.seal_websocket_frames(client(), 7, messages, masked=True)))
        opened.append(daemon().open_frames(frames[0]))
    assert frames[0] == frames[1] == wires[0] == wires[1]
    assert opened[0] == opened[1] == whole


@pytest.mark.parametrize("bad", range(5))
def test_a_forged_message_stops_both_threads_where_it_lies(bad: int) -> None:
    set_batch_threads(2)
    frames = client().seal_frames(1, [bytes([index]) * 65_508 for index in range(5)])
    forged = [*frames]
    forged[bad] = frames[bad][:-1] + bytes([frames[bad][-1] ^ 1])
    receiver = daemon()
    with pytest.raises(SbrpBatchError) as caught:
        receiver.open_frames(forged)
    assert (caught.value.code, caught.value.index) == ("decrypt_failed", bad)
    assert caught.value.opened == [bytes([index]) * 65_508 for index in range(bad)]
    # Nothing behind it was taken as received.
    assert [message[0] for message in receiver.open_frames(frames[bad:])] == list(range(bad, 5))


def test_a_repeated_message_is_refused_within_a_batch_of_two_threads() -> None:
    set_batch_threads(2)
    frames = client().seal_frames(1, [bytes(65_508)] * 5)
    with pytest.raises(SbrpBatchError) as caught:
        daemon().open_frames([*frames[:4], frames[1]])
    assert (caught.value.code, caught.value.index) == ("sequence_error", 4)


def test_the_number_of_threads_is_one_two_or_automatic() -> None:
    for threads in (1, 2, None):
        set_batch_threads(threads)
        assert batch_threads() == threads
    for threads in (0, 3, 255):
        with pytest.raises(ValueError, match="1 or 2 threads"):
            set_batch_threads(threads)


@pytest.mark.parametrize(("wanted", "told"), [("1", "1"), ("2", "2"), ("auto", "None"), ("", "None")])
def test_the_environment_sets_it(wanted: str, told: str) -> None:
    assert _in_a_process(wanted).stdout.strip() == told


def test_the_environment_is_told_what_it_may_ask_for() -> None:
    process = _in_a_process("3")
    assert process.returncode != 0
    assert 'ConfigError: SIDEBAND_BATCH_THREADS: "3" is not 1, 2 or auto' in process.stderr


def _in_a_process(wanted: str) -> subprocess.CompletedProcess[str]:
    program = "from sideband.secure_relay import batch_threads; print(batch_threads())"
    environment = {**os.environ, "SIDEBAND_BATCH_THREADS": wanted}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
