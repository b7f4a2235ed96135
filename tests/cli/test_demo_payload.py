from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sideband.cli.demo.payload import FilePayload, GeneratedPayload, describe, parse_size, restore
from sideband.errors import ConfigError

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1", 1),
        ("1B", 1),
        ("64KiB", 65_536),
        ("256MiB", 268_435_456),
        ("1GiB", 1 << 30),
        ("2TiB", 2 << 40),
        ("1kb", 1000),
        ("3 MB", 3_000_000),
        ("1.5GiB", 3 << 29),
        ("0.1KiB", 102),
        (" 7 mib ", 7 * MIB),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1 potato", "1e3", "1.MiB", ".5MiB", "0x10", "1KiB2", "١KiB", "inf"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ConfigError, match="a size is a number and a unit"):
        parse_size(text)


@settings(max_examples=50, deadline=None)
@given(offset=st.integers(0, 3 * MIB + 10), length=st.integers(0, 2 * MIB))
def test_generated_bytes_are_the_same_wherever_one_begins_to_read(offset: int, length: int) -> None:
    payload = GeneratedPayload(3 * MIB + 5, "ab" * 32)
    assert payload.read(offset, length) == payload.read(0, payload.size)[offset : offset + length]


def test_generated_blocks_differ_and_other_seeds_give_other_bytes() -> None:
    payload = GeneratedPayload(8 * MIB)
    blocks = [payload.read(index * MIB, MIB) for index in range(8)]
    assert len(set(blocks)) == 8
    assert len({block[1000:1100] for block in blocks}) == 8
    assert GeneratedPayload(MIB).read(0, 100) != GeneratedPayload(MIB).read(0, 100)


@pytest.mark.parametrize("size", [0, 1, 15, MIB - 1, MIB, MIB + 1])
def test_generated_sizes_are_exact(size: int) -> None:
    payload = GeneratedPayload(size)
    assert len(payload.read(0, size + 100)) == size
    assert payload.read(size, 10) == b""


def test_a_payload_survives_the_way_to_another_process(tmp_path: Path) -> None:
    generated = GeneratedPayload(12345)
    assert restore(describe(generated)).read(0, 12345) == generated.read(0, 12345)
    (tmp_path / "file").write_bytes(b"content")
    file = FilePayload.of(tmp_path / "file")
    assert restore(describe(file)) == file


def test_a_file_is_read_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(100)))
    payload = FilePayload.of(path)
    assert payload.size == 100
    assert payload.read(90, 100) == bytes(range(90, 100))
    assert payload.read(100, 1) == b""


def test_a_file_that_grows_is_sent_as_long_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    payload = FilePayload.of(path)
    path.write_bytes(b"abcdef")
    assert payload.read(0, 100) == b"abc"


def test_a_file_that_shrinks_or_vanishes_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abcdef")
    payload = FilePayload.of(path)
    path.write_bytes(b"abc")
    with pytest.raises(ConfigError, match="became shorter"):
        payload.read(0, 6)
    path.unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        payload.read(0, 6)


def test_what_is_no_file(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ConfigError, match=r"cannot read|not a regular file"):
            FilePayload.of(path)
