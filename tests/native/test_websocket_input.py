"""An endpoint's input and output: frames in the memory that sockets are read into and written from."""

import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband._native import (
    BLOCK_SIZE,
    MAX_FRAME_SIZE,
    MAX_PLAINTEXT_SIZE,
    ClientSession,
    DaemonSession,
    EphemeralKeyPair,
    IdentityKeyPair,
    MessageBatch,
    WebSocketInput,
    WireFrames,
    encode_data,
    encode_ping,
    frame_messages,
    process_handshake_accept,
    process_handshake_init,
    seal_websocket_frames,
)
from sideband.errors import SbrpBatchError, SbrpError

SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]


def wire_of(*messages: bytes, masked: bool = False) -> bytes:
    return bytes(frame_messages(messages, masked).view())


def read_into(receiver: WebSocketInput, wire: bytes, size: int) -> list[tuple]:
    """Do as an event loop does: read up to `size` bytes at once, as far as there is room."""
    events = []
    while wire:
        room = receiver.room()
        count = min(size, len(room), len(wire))
        room[:count] = wire[:count]
        wire = wire[count:]
        events += receiver.received(count) or []
    return events


def taken(receiver: WebSocketInput) -> list[bytes]:
    batch = receiver.take()
    return [] if batch is None else list(batch)


def sessions() -> tuple[DaemonSession, ClientSession]:
    identity, ephemeral = IdentityKeyPair.generate(), EphemeralKeyPair.generate()
    accept, keys = process_handshake_init(ephemeral.public_key, "d_1", identity)
    return (
        DaemonSession(process_handshake_accept(accept, "d_1", identity.public_key, ephemeral)),
        ClientSession("1", keys),
    )


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_both_ways(masked: bool, size: int) -> None:
    message = os.urandom(size)
    wire = frame_messages([message], masked)
    header = 2 if size < 126 else 4 if size < 65_536 else 10
    assert (len(wire), wire.messages, wire.payload_bytes) == (header + 4 * masked + size, 1, size)
    assert wire.view().readonly
    receiver = WebSocketInput(70_000, masked=masked)
    assert read_into(receiver, bytes(wire.view()), 1 << 30) == []
    assert taken(receiver) == [message]
    assert receiver.held_bytes == 0


@given(
    messages=st.lists(st.binary(max_size=300) | st.sampled_from([bytes(n) for n in (20_000, 65_549, 100_000)])),
    size=st.sampled_from([1, 7, 1000, 65_536, 1 << 20]),
    masked=st.booleans(),
    take_each=st.booleans(),
)
def test_reads_of_any_size_change_nothing(messages: list[bytes], size: int, masked: bool, take_each: bool) -> None:
    wire = wire_of(*messages, masked=masked)
    if size < 1000:
        wire = wire[:3000]
        messages = messages[: wire_count(messages, len(wire), masked)]
    receiver, came, place = WebSocketInput(100_000, masked=masked), [], 0
    while place < len(wire):
        room = receiver.room()
        count = min(size, len(room), len(wire) - place)
        room[:count] = wire[place : place + count]
        place += count
        assert receiver.received(count) is None
        if take_each:
            came += taken(receiver)
    assert came + taken(receiver) == messages


def wire_count(messages: list[bytes], size: int, masked: bool) -> int:
    count = 0
    for message in messages:
        size -= len(wire_of(message, masked=masked))
        if size < 0:
            break
        count += 1
    return count


def test_masks_are_fresh_for_each_frame() -> None:
    wire = wire_of(*[bytes(8)] * 200, masked=True)
    keys = {wire[place + 2 : place + 6] for place in range(0, len(wire), 14)}
    assert len(keys) > 190


def test_parts_are_one_message() -> None:
    receiver = WebSocketInput(100, masked=False)
    receiver.feed(bytes(frame_messages([(b"a", memoryview(b"bc"), b""), (), b"d"], False).view()))
    assert taken(receiver) == [b"abc", b"", b"d"]


def test_only_text_and_binary_can_be_framed() -> None:
    assert bytes(frame_messages([b"x"], False, 1).view()) == b"\x81\x01x"
    for opcode in (0, 3, 8, 9):
        with pytest.raises(ValueError, match="is text"):
            frame_messages([b"x"], False, opcode)


@pytest.mark.parametrize(
    ("wire", "event"),
    [
        (b"\x89\x02hi", (0, 0, b"hi")),
        (b"\x88\x00", (1, 0, "")),
        (b"\x88\x05\x0f\xa1abc", (1, 4001, "abc")),
        (b"\x81\x01x", (2, 1003, "binary messages only")),
        (b"\x82\x7e\x00\x7e", (2, 1009, "the message is too long")),
        (b"\x82\x81\x00\x00\x00\x00x", (2, 1002, "a server's frames are not masked")),
        (b"\xc2\x01x", (2, 1002, "reserved bits are set")),
    ],
)
def test_what_is_no_message_is_told_behind_the_messages_before_it(wire: bytes, event: tuple) -> None:
    receiver = WebSocketInput(125, masked=False)
    assert receiver.feed(wire_of(b"one") + wire) == [event]
    assert taken(receiver) == [b"one"]


def test_text_where_it_is_taken() -> None:
    receiver = WebSocketInput(125, masked=False, text=True)
    assert receiver.feed(b"\x81\x01x\x82\x01y\x01\x01a\x80\x01b") is None
    batch = receiver.take()
    assert batch is not None
    assert [(batch[n], batch.is_text(n)) for n in range(3)] == [(b"x", True), (b"y", False), (b"ab", True)]
    assert not batch.is_text(3)
    assert receiver.feed(b"\x81\x01\xff") == [(2, 1007, "text is UTF-8")]


def test_a_message_in_fragments_and_one_larger_than_a_block() -> None:
    large = os.urandom(2 * BLOCK_SIZE)
    wire = b"\x02\x03one" + b"\x89\x00" + b"\x80\x03two" + wire_of(large, b"after")
    receiver = WebSocketInput(len(large), masked=False)
    assert read_into(receiver, wire, 100_000) == [(0, 0, b"")]
    assert taken(receiver) == [b"onetwo", large, b"after"]
    assert receiver.held_bytes == 0


def test_what_is_held_is_in_step_with_what_came() -> None:
    receiver = WebSocketInput(1 << 30, masked=False)
    announced = struct.pack("!BBQ", 0x82, 127, 1 << 29)
    receiver.feed(announced + bytes(1000))
    assert receiver.held_bytes < 4096
    receiver.feed(bytes(4096))
    assert receiver.held_bytes == BLOCK_SIZE
    small = WebSocketInput(1000, masked=False)
    small.feed(wire_of(b"x" * 100))
    # Alone it keeps no block: that may happen in many connections at once.
    assert small.held_bytes == 102
    for _ in range(999):
        # One read each, and nobody takes: they share a block.
        small.feed(wire_of(b"x" * 100))
    assert small.ready_cost == 1000 * 164
    assert small.held_bytes == BLOCK_SIZE + 102
    small.close()
    assert (small.ready_cost, small.take()) == (0, None)


@pytest.mark.parametrize("size", [1, 8188, 8189, 100_000])
def test_short_reads_come_whole_in_every_piece(size: int) -> None:
    messages = [os.urandom(size), os.urandom(3), os.urandom(size)]
    wire = wire_of(*messages)
    for cut in (1, 4, size, size + 5, len(wire)):
        receiver = WebSocketInput(1 << 20, masked=False)
        for start in range(0, len(wire), max(cut, len(wire) // 50)):
            receiver.feed(wire[start : start + max(cut, len(wire) // 50)])
        assert taken(receiver) == messages
        assert receiver.held_bytes == 0


def test_after_close_only_the_other_sides_close_counts() -> None:
    receiver = WebSocketInput(1000, masked=False)
    receiver.close()
    assert receiver.feed(wire_of(b"late") + b"\x89\x00" + b"\x88\x02\x03\xe8") == [(1, 0, "")]
    assert receiver.take() is None


def test_more_than_there_was_room_for_is_refused() -> None:
    receiver = WebSocketInput(1000, masked=False)
    with pytest.raises(ValueError, match="room for 0"):
        receiver.received(1)
    room = len(receiver.room())
    with pytest.raises(ValueError, match=f"room for {room}"):
        receiver.received(room + 1)
    with pytest.raises(ValueError, match="4 GiB"):
        WebSocketInput(1 << 32, masked=False)


def test_a_batch_outlives_its_input_and_the_reads_after_it() -> None:
    receiver = WebSocketInput(1000, masked=False)
    receiver.feed(wire_of(b"one", b"two"))
    batch = receiver.take()
    assert batch is not None
    for _ in range(2000):
        receiver.feed(wire_of(b"x" * 900))
        receiver.take()
    del receiver
    assert list(batch) == [b"one", b"two"]


def test_a_batch_is_read_as_a_sequence() -> None:
    receiver = WebSocketInput(1000, masked=False)
    receiver.feed(wire_of(b"a", b"bb", b"ccc"))
    batch = receiver.take()
    assert isinstance(batch, MessageBatch)
    assert (len(batch), batch.nbytes) == (3, 6)
    assert [batch[0], batch[-1], batch[1:], batch[::-2]] == [b"a", b"ccc", [b"bb", b"ccc"], [b"ccc", b"a"]]
    for place in (3, -4):
        with pytest.raises(IndexError):
            batch[place]
    with pytest.raises(TypeError):
        batch["0"]  # type: ignore[call-overload]


def test_runs_of_data_of_a_session() -> None:
    receiver = WebSocketInput(1000, masked=False)
    one, two = encode_data(1, bytes(28)), encode_data(2, bytes(28))
    receiver.feed(wire_of(one, one, two, encode_ping(b""), one, b"", one[:13]))
    batch = receiver.take()
    assert batch is not None
    assert [batch.session_of(n) for n in range(8)] == [1, 1, 2, None, 1, None, None, None]
    assert [batch.data_run(n, 1) for n in range(8)] == [2, 1, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("masked", [True, False])
def test_sealed_frames_are_those_of_the_session(masked: bool) -> None:
    client, daemon = sessions()
    plaintexts = [b"", b"x" * 99, bytes(MAX_PLAINTEXT_SIZE), (b"in ", b"parts")]
    wire = seal_websocket_frames(client, 7, plaintexts, masked)
    assert isinstance(wire, WireFrames)
    assert (wire.messages, client.send_sequence) == (4, 4)
    receiver = WebSocketInput(MAX_FRAME_SIZE, masked=masked)
    receiver.feed(bytes(wire.view()))
    batch = receiver.take()
    assert batch is not None
    assert batch.data_run(0, 7) == 4
    assert daemon.open_frames(batch, 0, 1) == [b""]
    assert daemon.open_frames(batch, 1) == [b"x" * 99, bytes(MAX_PLAINTEXT_SIZE), b"in parts"]
    with pytest.raises(SbrpBatchError, match="sequence_error") as caught:
        daemon.open_frames(batch, 2, 4)
    assert (caught.value.index, caught.value.opened) == (0, [])


def test_nothing_is_sealed_when_one_message_is_too_large() -> None:
    client, _ = sessions()
    with pytest.raises(SbrpError, match="payload_too_large"):
        seal_websocket_frames(client, 7, [b"x", bytes(MAX_PLAINTEXT_SIZE + 1)], True)
    assert client.send_sequence == 0
    client.clear()
    with pytest.raises(SbrpError, match="session_cleared"):
        seal_websocket_frames(client, 7, [b"x"], True)
