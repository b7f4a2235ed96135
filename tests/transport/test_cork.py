"""What is gathered is written in order, and soon."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sideband.transport.cork import GATHERED_BYTES, LARGE_BYTES, Cork


class Written:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return False


def test_a_batch_of_small_writes_is_one() -> None:
    transport = Written()
    cork = Cork(transport)  # type: ignore[arg-type]
    cork.write(b"before")
    cork.hold()
    for number in range(100):
        cork.write(bytes([number]))
    assert transport.writes == [b"before"]
    cork.release()
    assert transport.writes == [b"before", bytes(range(100))]
    cork.write(b"after")
    assert transport.writes[2:] == [b"after"]
    assert not cork.is_closing()


def test_what_is_gathered_is_bounded() -> None:
    transport = Written()
    cork = Cork(transport)  # type: ignore[arg-type]
    cork.hold()
    for _ in range(9):
        cork.write(bytes(GATHERED_BYTES // 8))
    assert [len(write) for write in transport.writes] == [GATHERED_BYTES]
    cork.write(b"x")
    cork.write(bytes(LARGE_BYTES))
    assert [len(write) for write in transport.writes[1:]] == [GATHERED_BYTES // 8 + 1, LARGE_BYTES]
    cork.release()
    assert len(transport.writes) == 3


@given(st.lists(st.one_of(st.sampled_from(["hold", "release"]), st.integers(0, 2 * LARGE_BYTES))))
def test_nothing_is_lost_or_overtaken(steps: list[str | int]) -> None:
    transport, holders, expected = Written(), 0, b""
    cork = Cork(transport)  # type: ignore[arg-type]
    for number, step in enumerate(steps):
        if step == "hold":
            cork.hold()
            holders += 1
        elif step == "release":
            if holders:
                cork.release()
                holders -= 1
                assert b"".join(transport.writes) == expected
        elif isinstance(step, int):
            data = bytes([number % 256]) * step
            expected += data
            cork.write(data)
    for _ in range(holders):
        cork.release()
    assert b"".join(transport.writes) == expected
