"""Bytes-like arguments: what is taken, what is refused, and that mutable memory is safe to change."""

import array
import ctypes
import mmap
from collections.abc import Callable
from typing import Any

import pytest

from sideband import _native

KEYS = bytes(32), bytes(range(32))


def client() -> _native.DaemonSession:
    return _native.DaemonSession(_native.SessionKeys.from_bytes(*KEYS))


def anonymous_map(content: bytes) -> mmap.mmap:
    area = mmap.mmap(-1, len(content))
    area[:] = content
    return area


PLAINTEXT = b"0123456789abcdef"
MAKERS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview of bytes": memoryview,
    "slice of a memoryview": lambda b: memoryview(b"__" + b + b"__")[2:-2],
    "memoryview of a bytearray": lambda b: memoryview(bytearray(b)),
    "read-only memoryview of a bytearray": lambda b: memoryview(bytearray(b)).toreadonly(),
    "array of bytes": lambda b: array.array("B", b),
    "array of ints": lambda b: array.array("I", b),
    "memoryview cast to ints": lambda b: memoryview(b).cast("I"),
    "ctypes": lambda b: (ctypes.c_char * len(b)).from_buffer_copy(b),
    "mmap": anonymous_map,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_any_bytes_like_object(make: Callable[[bytes], Any]) -> None:
    expected = client().seal(PLAINTEXT)
    assert client().seal(make(PLAINTEXT)) == expected
    frame = client().seal_frame(1, make(PLAINTEXT))
    assert client().seal_frames(1, [make(PLAINTEXT)]) == [frame]
    daemon = _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS))
    padded = expected + bytes(-len(expected) % 4)
    assert _native.decode_frame(make(_native.encode_frame(0x20, 0, padded[:31])))[2] == padded[:31]
    assert daemon.open_frames([make(frame)] if len(frame) % 4 == 0 else [frame]) == [PLAINTEXT]


@pytest.mark.parametrize("size", [0, 1, 2, 15, 16, 17, 16383, 16384, 16385, 65507, 65508])
def test_every_size_survives_the_round_trip(size: int) -> None:
    """One byte and none are special to the interpreter; 16 KiB is where it is released."""
    plaintext = bytes(i * 7 % 256 for i in range(size))
    sealer, opener = client(), _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS))
    assert opener.open(sealer.seal(plaintext)) == plaintext
    assert opener.open_frame(sealer.seal_frame(3, plaintext)) == plaintext
    assert opener.open_frames(sealer.seal_frames(3, [plaintext, b"", plaintext])) == [plaintext, b"", plaintext]
    assert opener.check_integrity()
    assert plaintext == bytes(i * 7 % 256 for i in range(size))


def test_the_interpreters_shared_bytes_stay_as_they_are() -> None:
    sealer, opener = client(), _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS))
    for value in range(256):
        assert opener.open(sealer.seal(bytes([value]))) == bytes([value])
    assert [bytes([value])[0] for value in range(256)] == list(range(256))
    assert opener.open(sealer.seal(b"")) == b""


@pytest.mark.parametrize("wrong", ["text", 5, None, [1, 2], object()], ids=lambda wrong: type(wrong).__name__)
def test_other_objects_are_refused(wrong: Any) -> None:
    session = client()
    for call in (
        lambda: session.seal(wrong),
        lambda: session.open(wrong),
        lambda: session.seal_frame(1, wrong),
        lambda: session.seal_frames(1, [b"fine", wrong]),
        lambda: session.open_frames([wrong]),
        lambda: _native.decode_frame(wrong),
        lambda: _native.inspect_frame(wrong, 0),
        lambda: _native.sbp_decode(wrong),
        lambda: _native.FrameDecoder().push(wrong),
        lambda: _native.IdentityKeyPair.from_private_bytes(wrong),
    ):
        with pytest.raises(TypeError):
            call()
    assert session.send_sequence == 0


def test_batches_take_any_iterable_but_not_one_buffer() -> None:
    session = client()
    assert len(session.seal_frames(1, iter((b"a", b"b")))) == 2
    assert session.seal_frames(1, []) == []
    one_buffer: Any = b"not a list"
    not_iterable: Any = 5
    for wrong in (one_buffer, not_iterable):
        with pytest.raises(TypeError):
            session.seal_frames(1, wrong)
    assert session.send_sequence == 2


def test_memory_that_is_not_contiguous_is_refused() -> None:
    with pytest.raises(BufferError, match="contiguous"):
        client().seal(memoryview(b"0123456789")[::2])
    # A view with a hole is fine once it is whole again.
    client().seal(bytes(memoryview(b"0123456789")[::2]))


def test_buffers_are_given_back() -> None:
    data = bytearray(64)
    session = client()
    session.seal(data)
    session.seal_frames(1, [data, memoryview(data)])
    # A buffer still exported could not be resized.
    data.extend(b"more")
    view = memoryview(b"immutable")
    session.seal(view)
    view.release()


def test_a_buffer_whose_export_fails_spends_nothing() -> None:
    view = memoryview(b"gone")
    view.release()
    session = client()
    with pytest.raises(ValueError, match="released"):
        session.seal_frames(1, [b"fine", view])
    assert session.send_sequence == 0
