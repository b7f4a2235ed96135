"""The bindings of direct sessions: what the Rust tests cannot see."""

from __future__ import annotations

import copy
import json
import pickle
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband import _native
from sideband._native import NoiseHandshake, NoiseKeyPair, NoiseSession
from sideband.errors import SbdpError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "noise-xx.json").read_text())["vectors"]


def sessions(**options: int) -> tuple[NoiseSession, NoiseSession]:
    one = NoiseHandshake(NoiseKeyPair.generate(), initiator=True, prologue=b"p")
    two = NoiseHandshake(NoiseKeyPair.generate(), initiator=False, prologue=b"p")
    two.read(one.write())
    one.read(two.write(b"two"))
    assert two.read(one.write(b"one")) == b"one"
    assert one.hash == two.hash
    return one.session(**options), two.session(**options)


def test_keys_are_never_shown_copied_or_pickled() -> None:
    pair = NoiseKeyPair.from_private_bytes(bytes.fromhex(VECTORS[0]["init_static"]))
    handshake = NoiseHandshake(pair, initiator=True, prologue=b"")
    assert pair.private_bytes().hex() == VECTORS[0]["init_static"]
    assert pair.private_bytes().hex() not in repr(pair).lower()
    for secret in (pair, handshake, sessions()[0]):
        with pytest.raises(TypeError):
            pickle.dumps(secret)
        with pytest.raises(TypeError):
            copy.copy(secret)


def test_a_session_is_taken_once_and_only_at_the_end() -> None:
    one = NoiseHandshake(NoiseKeyPair.generate(), initiator=True, prologue=b"")
    two = NoiseHandshake(NoiseKeyPair.generate(), initiator=False, prologue=b"")
    with pytest.raises(SbdpError) as failed:
        one.session()
    assert failed.value.code == "handshake_failed"
    two.read(one.write())
    one.read(two.write())
    one.write()
    assert one.finished
    one.session()
    assert not one.finished
    with pytest.raises(SbdpError):
        one.session()


def test_payloads_end_at_4000_bytes() -> None:
    one = NoiseHandshake(NoiseKeyPair.generate(), initiator=True, prologue=b"")
    two = NoiseHandshake(NoiseKeyPair.generate(), initiator=False, prologue=b"")
    with pytest.raises(SbdpError, match="message_too_large"):
        one.write(b"1")
    two.read(one.write())
    with pytest.raises(SbdpError, match="message_too_large"):
        two.write(bytes(_native.NOISE_MAX_PAYLOAD + 1))
    assert one.read(two.write(bytes(_native.NOISE_MAX_PAYLOAD))) == bytes(4000)


@given(
    contents=st.lists(st.binary(max_size=200), max_size=20),
    parted=st.integers(0, 200),
    cut=st.integers(1, 500),
    records=st.integers(2, 6),
)
def test_both_framings_carry_the_same_contents(contents: list[bytes], parted: int, cut: int, records: int) -> None:
    one, two = sessions(rekey_records=records)
    parts = [(content[:parted], memoryview(content)[parted:]) for content in contents]
    stream = one.seal_stream(parts)
    pieces = [stream[at : at + cut] for at in range(0, len(stream), cut)]
    assert [content for piece in pieces for content in two.push(piece)] == contents
    assert one.open_messages(two.seal_messages(parts)) == contents
    assert one.sent == two.received
    assert two.sent == one.received


def test_control_records_are_told_apart_from_data() -> None:
    one, two = sessions()
    ping = one.seal_control(1, b"12345678")
    data = one.seal_messages([b""])
    assert two.open_messages([*ping, *data]) == [(1, b"12345678"), b""]
    for kind in (0, 4, 5):
        with pytest.raises(ValueError, match="control record"):
            one.seal_control(kind, b"")


@pytest.mark.parametrize(("option", "epochs"), [("rekey_records", 4), ("rekey_bytes", 19)])
def test_control_records_reach_the_limits_of_a_key_too(option: str, epochs: int) -> None:
    """Of five records under a key one is the next-key record; of five bytes two pings of 2 bytes are too many."""
    one, two = sessions(**{option: 5})
    for number in range(20):
        messages = one.seal_control(1, b"12") if number % 2 else one.seal_messages([b"12"])
        assert len(two.open_messages(messages)) == 1
    assert one.sent == two.received
    assert one.sent[0] == epochs
    assert two.sent == one.received == (0, 0)
    stream = two.seal_stream([b"other way"])
    assert one.push(stream) == [b"other way"]


def test_what_came_before_a_bad_record_is_delivered_and_the_failure_stays() -> None:
    one, two = sessions()
    good, bad = one.seal_messages([b"good", b"bad"])
    assert two.open_messages([good, bad[:-1] + bytes([bad[-1] ^ 1]), good]) == [b"good"]
    for _ in range(2):
        with pytest.raises(SbdpError, match="decrypt_failed"):
            two.open_messages([bad])
    one, two = sessions()
    stream = one.seal_stream([b"good", b"bad"])
    assert two.push(stream[:-1] + bytes([stream[-1] ^ 1])) == [b"good"]
    for _ in range(2):
        with pytest.raises(SbdpError, match="decrypt_failed"):
            two.push(stream)


@pytest.mark.parametrize("message", [b"", b"\x10", b"\x10" + bytes(16), b"\x01" + bytes(32), b"\x11" + bytes(32)])
def test_messages_that_are_no_records_end_the_session(message: bytes) -> None:
    one, two = sessions()
    with pytest.raises(SbdpError, match="protocol_violation"):
        two.open_messages([message])
    with pytest.raises(SbdpError):
        two.open_messages(one.seal_messages([b"later"]))


def test_a_record_has_a_limit_and_nothing_is_sealed_over_it() -> None:
    one, two = sessions(max_record=65_535)
    assert one.max_content == 65_518
    for seal in (one.seal_stream, one.seal_messages):
        with pytest.raises(SbdpError, match="message_too_large"):
            seal([b"small", bytes(65_519)])
    assert one.sent == (0, 0)
    assert two.open_messages(one.seal_messages([bytes(65_518)])) == [bytes(65_518)]
    for wrong in (17, _native.NOISE_MAX_RECORD + 1):
        with pytest.raises(ValueError, match="max_record"):
            sessions(max_record=wrong)


def test_a_cleared_session_neither_seals_nor_opens() -> None:
    one, two = sessions()
    stream = one.seal_stream([b"x"])
    one.clear()
    two.clear()
    with pytest.raises(SbdpError, match="session_cleared"):
        one.seal_stream([b"y"])
    with pytest.raises(SbdpError, match="session_cleared"):
        two.push(stream)


def test_threads_that_seal_at_once_never_share_a_number() -> None:
    one, two = sessions(rekey_records=50)
    sealed: list[bytes] = []

    def work() -> None:
        sealed.extend(one.seal_stream([bytes(20_000)] * 3) for _ in range(30))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    epoch, sequence = one.sent
    assert epoch == 7
    assert (epoch * 50 + sequence) == 4 * 30 * 3 + epoch
    assert two.received == (0, 0)
