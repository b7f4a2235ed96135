"""Bad input: thousands of mutations of every vector end in a value or in the decoder's own error, never otherwise."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sideband import _native
from sideband import secure_relay as sr
from sideband.errors import SbpError, SbrpError

VECTORS = Path(__file__).parents[1] / "vectors"
MUTATIONS = 1000
# Not zeros: the reference seals with those after clearing, and a vector of that would open.
KEYS = bytes(range(1, 33)), bytes(range(32))


def hex_values(node: Any) -> Iterator[bytes]:
    """Every string of a vector file that is hex, as bytes."""
    if isinstance(node, dict):
        for value in node.values():
            yield from hex_values(value)
    elif isinstance(node, list):
        for value in node:
            yield from hex_values(value)
    elif isinstance(node, str) and len(node) >= 8 and len(node) % 2 == 0:
        try:
            yield bytes.fromhex(node)
        except ValueError:
            return


def corpus(name: str) -> list[bytes]:
    return sorted(set(hex_values(json.loads((VECTORS / name).read_text()))), key=lambda data: (len(data), data))


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(changed))
        match chance.randrange(6):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << chance.randrange(8)
            case 1 if changed:
                changed[at % len(changed)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del changed[at : at + chance.randint(1, 16)]
            case 3:
                changed[at:at] = chance.randbytes(chance.randint(1, 16))
            case 4:
                del changed[at:]
            case _:
                changed[at : at + 4] = chance.choice((b"\xff" * 4, b"\0" * 4, b"\0\1\0\0", b"\0\1\0\1"))
    return bytes(changed)


def sbrp(data: bytes) -> None:
    for call in (
        lambda: _native.decode_frame(data),
        lambda: _native.decode_frame_header(data),
        lambda: _native.inspect_frame(data, 0),
        lambda: _native.inspect_frame(data, 1),
        lambda: _native.decode_handshake_init(data),
        lambda: _native.decode_handshake_accept(data),
        lambda: _native.decode_control(data),
        lambda: _native.decode_signal(data),
        lambda: _native.decode_data(data),
        lambda: list(sr.FrameDecoder().push(data)),
    ):
        assert code_of(call) in {
            None,
            "malformed_frame",
            "payload_too_large",
            "invalid_frame_type",
            "invalid_session_id",
            "disallowed_sender",
        }


def session(data: bytes) -> None:
    opener = _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS))
    for call in (lambda: opener.open(data), lambda: opener.open_frame(data), lambda: opener.open_frames([data])):
        assert code_of(call) is not None
    # Nothing that was not sealed for this session changes it.
    assert opener.highest_received is None
    assert opener.check_integrity()


IDENTITY = _native.IdentityKeyPair.from_private_bytes(bytes(range(32)))


def handshake(data: bytes) -> None:
    assert code_of(lambda: _native.verify_handshake_accept(data, "d", bytes(32))) == "handshake_failed"
    answered = code_of(lambda: _native.process_handshake_init(data, "d", IDENTITY))
    assert answered == "handshake_failed" or (answered is None and len(data) == 32)


def sbp(data: bytes) -> None:
    assert code_of(lambda: _native.sbp_decode(data)) in {None, 1000, 1002}


def code_of(call: Callable[[], object]) -> str | int | None:
    """Return the code of the error that `call` raises, or None."""
    try:
        call()
    except (SbrpError, SbpError) as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("name", "decode"),
    [
        ("sbrp-frames.json", sbrp),
        ("sbrp-data.json", session),
        ("sbrp-handshake.json", handshake),
        ("sbp-frames.json", sbp),
    ],
)
def test_mutations_of_every_vector(name: str, decode: Callable[[bytes], None]) -> None:
    samples = corpus(name)
    assert len(samples) > 50
    chance = random.Random(20240229)
    for sample in samples:
        for _ in range(MUTATIONS):
            decode(mutated(sample, chance))


FRAMES = st.builds(
    lambda kind, session_id, payload: (kind, session_id if kind < 0x10 else 0, payload),
    st.sampled_from([1, 2, 3, 4, 0x10, 0x11, 0x20]),
    st.integers(1, 2**64 - 1),
    st.binary(max_size=8),
)


@given(frames=st.lists(FRAMES, max_size=8), data=st.data())
def test_a_stream_decodes_the_same_however_it_is_cut(frames: list[tuple[int, int, bytes]], data: st.DataObject) -> None:
    stream = b"".join(_native.encode_frame(*frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    decoder = _native.FrameDecoder()
    decoded: list[tuple[int, int, bytes]] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        decoded += decoder.push(stream[start:end])
        assert decoder.buffered_bytes <= 13 + 65536
    assert decoded == frames
    assert decoder.buffered_bytes == 0


@given(frame_type=st.integers(0, 255), session_id=st.integers(0, 2**64 - 1), payload=st.binary(max_size=200))
def test_what_encodes_decodes_to_itself(frame_type: int, session_id: int, payload: bytes) -> None:
    refused = code_of(lambda: _native.encode_frame(frame_type, session_id, payload))
    if refused:
        assert refused in {"malformed_frame", "payload_too_large"}
        return
    frame = _native.encode_frame(frame_type, session_id, payload)
    if frame_type in set(sr.FrameType):
        assert _native.decode_frame(frame) == (frame_type, session_id, payload)
    else:
        assert code_of(lambda: _native.decode_frame(frame)) == "invalid_frame_type"


@given(data=st.binary(max_size=100), sender=st.sampled_from([0, 1]))
def test_what_a_relay_passes_an_endpoint_decodes(data: bytes, sender: int) -> None:
    try:
        inspected = _native.inspect_frame(data, sender)
    except SbrpError:
        return
    assert _native.decode_frame(data)[:2] == inspected


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    frame_id=st.binary(min_size=16, max_size=16),
    subject=st.one_of(st.sampled_from(["rpc", "event", "stream"]), TEXTS.map(lambda text: "app/" + text)),
    data=st.binary(max_size=100),
    timestamp=st.none() | st.integers(-(2**63), 2**63 - 1),
)
def test_sbp_messages_survive_the_round_trip(frame_id: bytes, subject: str, data: bytes, timestamp: int | None) -> None:
    frame = _native.sbp_encode_message(frame_id, subject, data, timestamp)
    if "\0" in subject:
        with pytest.raises(SbpError):
            _native.sbp_decode(frame)
        return
    decoded = _native.sbp_decode(frame)
    assert (decoded.kind, decoded.frame_id, decoded.subject, decoded.data, decoded.timestamp) == (
        1,
        frame_id,
        subject,
        data,
        timestamp,
    )


@given(code=st.integers(0, 65535), message=TEXTS, details=st.binary(max_size=20))
def test_sbp_errors_survive_the_round_trip(code: int, message: str, details: bytes) -> None:
    decoded = _native.sbp_decode(_native.sbp_encode_error(bytes(16), code, message, details))
    assert (decoded.kind, decoded.code, decoded.details) == (3, code, details or None)
    assert decoded.message == message.removeprefix("\ufeff")


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_arbitrary_bytes(data: bytes) -> None:
    sbrp(data)
    session(data)
    sbp(data)


@given(plaintexts=st.lists(st.binary(max_size=300), max_size=10), session_id=st.integers(1, 2**64 - 1))
def test_batches_survive_the_round_trip(plaintexts: list[bytes], session_id: int) -> None:
    sealer = _native.DaemonSession(_native.SessionKeys.from_bytes(*KEYS))
    opener = _native.ClientSession("c", _native.SessionKeys.from_bytes(*KEYS))
    frames = sealer.seal_frames(session_id, plaintexts)
    assert all(_native.decode_frame(frame)[:2] == (3, session_id) for frame in frames)
    assert opener.open_frames(frames) == plaintexts
