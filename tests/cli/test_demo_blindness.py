from __future__ import annotations

import os
from pathlib import Path

import pytest

from sideband._native import ClientSession, DaemonSession, SessionKeys, encode_data
from sideband.cli.demo.blindness import MAX_BLOCKS, BlindnessTap, Samples, take_samples
from sideband.cli.demo.payload import FilePayload, GeneratedPayload, Payload

CHUNK = 65_508
MIB = 1024 * 1024


def chunks(payload: Payload) -> list[bytes]:
    return [payload.read(offset, CHUNK) for offset in range(0, payload.size, CHUNK)]


def file_of(tmp_path: Path, content: bytes) -> FilePayload:
    (tmp_path / "payload").write_bytes(content)
    return FilePayload.of(tmp_path / "payload")


def contents() -> dict[str, bytes]:
    words = b" ".join(b"line %d of a log, with words and numbers %d\n" % (n, n * n) for n in range(4000))
    return {
        "random": os.urandom(MIB),
        "text": words,
        "zeros": bytes(MIB),
        "one letter": b"a" * 200_000,
        "two letters": b"ab" * 100_000,
        "mostly zeros": (bytes(1000) + os.urandom(24)) * 200,
    }


@pytest.mark.parametrize("kind", contents())
def test_every_frame_of_plaintext_is_caught_whatever_the_content_and_alignment(tmp_path: Path, kind: str) -> None:
    payload = file_of(tmp_path, contents()[kind])
    tap = BlindnessTap(take_samples(payload))
    whole = [chunk for chunk in chunks(payload) if len(chunk) == CHUNK]
    for index, chunk in enumerate(whole):
        tap.forwarded(1, True, bytes(13 + index) + chunk)
    assert tap.plaintext_frames == len(whole) > 0
    assert tap.frames_up == len(whole)


@pytest.mark.parametrize("size", [16 * MIB, 300 * MIB])
def test_generated_payloads_are_caught_too(size: int) -> None:
    payload = GeneratedPayload(size)
    tap = BlindnessTap(take_samples(payload))
    for offset in (0, 5 * MIB + 77, size - CHUNK):
        tap.forwarded(1, False, b"head" + payload.read(offset, CHUNK))
    assert tap.plaintext_frames == 3


@pytest.mark.parametrize("kind", contents())
def test_ciphertext_is_not(tmp_path: Path, kind: str) -> None:
    payload = file_of(tmp_path, contents()[kind])
    tap = BlindnessTap(take_samples(payload))
    up = DaemonSession(SessionKeys.from_bytes(os.urandom(32), os.urandom(32)))
    down = ClientSession("c", SessionKeys.from_bytes(os.urandom(32), os.urandom(32)))
    for frame in up.seal_frames(1, chunks(payload)):
        tap.forwarded(1, True, frame)
    for frame in down.seal_frames(1, chunks(payload)):
        tap.forwarded(1, False, frame)
    assert tap.plaintext_frames == 0
    assert tap.places_searched > 0, "it did look"
    count = len(chunks(payload))
    assert (tap.frames_up, tap.frames_down) == (count, count)
    assert tap.bytes_up == tap.bytes_down == payload.size + count * 41


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100])
def test_the_marker_is_caught_even_with_the_smallest_payload(size: int) -> None:
    samples = take_samples(GeneratedPayload(size))
    assert samples.blocks
    tap = BlindnessTap(samples)
    tap.forwarded(1, True, encode_data(1, b"sb-demo1" + samples.marker + bytes(8)))
    assert tap.plaintext_frames == 1


def test_a_short_leak_inside_a_sealed_frame_is_caught() -> None:
    payload = GeneratedPayload(MIB)
    tap = BlindnessTap(take_samples(payload))
    sealed = bytearray(os.urandom(CHUNK))
    sealed[20_000:40_000] = payload.read(300_000, 20_000)
    tap.forwarded(1, True, bytes(sealed))
    assert tap.plaintext_frames == 1


def test_samples_survive_the_way_to_another_process() -> None:
    samples = take_samples(GeneratedPayload(MIB))
    assert Samples.unpack(samples.pack()) == samples


def test_blocks_are_bounded(tmp_path: Path) -> None:
    text = b"".join(b"e%06d" % n for n in range(400_000))
    samples = take_samples(file_of(tmp_path, text))
    assert 1000 < len(samples.blocks) <= MAX_BLOCKS + 1


def test_a_report_holds_counts_and_no_content() -> None:
    tap = BlindnessTap(take_samples(GeneratedPayload(MIB)))
    report = tap.report()
    assert set(report) == {
        *("frames_up", "frames_down", "bytes_up", "bytes_down", "places_searched", "plaintext_frames", "blocks")
    }
    assert all(isinstance(value, int) for value in report.values())
