"""frag/1: pieces repeated, missing, interleaved and never finished, and every bound at its edge."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import SbpError
from sideband.protocol.fragments import GIVE_UP, FragmentBudget, Fragmented, Reassembler, abandon_piece, piece_header
from sideband.protocol.limits import MAX_FRAME_BYTES, MIN_PIECE_BYTES, SbpLimits

STEP = MIN_PIECE_BYTES


def pieces_of(frame: bytes, frag_id: int, step: int = STEP) -> list[bytes]:
    cut = Fragmented(frame, step)
    found = []
    while cut.sent < cut.count:
        found.append(piece_header(frag_id, cut.sent, cut.count) + cut.next_piece())
        cut.sent += 1
    return found


def reassembler(budget: FragmentBudget | None = None, **limits: int) -> Reassembler:
    return Reassembler(SbpLimits(**limits), budget or FragmentBudget())


def refused(target: Reassembler, data: bytes, match: str) -> None:
    with pytest.raises(SbpError, match=match) as caught:
        target.add(data)
    assert caught.value.code == 1000
    assert caught.value.fatal


@given(size=st.integers(1, 5 * STEP), step=st.integers(STEP, 2 * STEP))
def test_pieces_make_the_frame_again(size: int, step: int) -> None:
    frame = bytes(range(256)) * (size // 256 + 1)
    frame = frame[:size]
    budget = FragmentBudget()
    target = reassembler(budget)
    pieces = pieces_of(frame, 3, step)
    assert all(len(piece) == 16 + step for piece in pieces[:-1])
    assert [target.add(piece) for piece in pieces] == [None] * (len(pieces) - 1) + [frame]
    assert (target.unfinished, target.held, budget.held) == (0, 0, 0)


@given(order=st.permutations([0] * 3 + [1] * 3 + [2] * 3 + [3] * 3))
def test_four_frames_interleaved_in_any_way(order: list[int]) -> None:
    target = reassembler()
    frames = [bytes([i]) * (2 * STEP + i + 1) for i in range(4)]
    queues = [pieces_of(frame, 10 + i) for i, frame in enumerate(frames)]
    done = [whole for i in order if (whole := target.add(queues[i].pop(0))) is not None]
    assert sorted(done) == frames
    assert target.unfinished == target.held == 0


def test_a_repeated_piece_is_fatal() -> None:
    target = reassembler()
    first, *_ = pieces_of(b"x" * 3 * STEP, 1)
    target.add(first)
    refused(target, first, "piece 0 of 3 came where 1 of 3 was due")


def test_a_missing_piece_is_fatal() -> None:
    target = reassembler()
    first, _, third = pieces_of(b"x" * 3 * STEP, 1)
    target.add(first)
    refused(target, third, "piece 2 of 3 came where 1 of 3 was due")


def test_a_count_that_changes_is_fatal() -> None:
    target = reassembler()
    target.add(pieces_of(b"x" * 3 * STEP, 1)[0])
    refused(target, piece_header(1, 1, 4) + b"x" * STEP, "piece 1 of 4")


def test_a_piece_of_an_unknown_frame_is_dropped_silently() -> None:
    target = reassembler()
    assert target.add(piece_header(9, 1, 3) + b"x" * STEP) is None
    assert target.unfinished == target.held == 0


def test_a_fifth_frame_is_fatal() -> None:
    target = reassembler()
    for frag_id in range(4):
        target.add(piece_header(frag_id, 0, 2) + b"x" * STEP)
    refused(target, piece_header(4, 0, 2) + b"x" * STEP, "more than 4 unfinished")


def test_giving_up_makes_room_for_a_fifth() -> None:
    budget = FragmentBudget()
    target = reassembler(budget)
    for frag_id in range(4):
        target.add(piece_header(frag_id, 0, 2) + b"x" * STEP)
    assert target.add(abandon_piece(2, 2)) is None
    assert target.add(struct.pack("<QII", 77, GIVE_UP, 0)) is None  # never begun: nothing to do
    assert (target.unfinished, target.held, budget.held) == (3, 3 * STEP, 3 * STEP)
    target.add(piece_header(4, 0, 2) + b"x" * STEP)
    assert target.add(piece_header(2, 1, 2) + b"x") is None
    assert target.unfinished == 4


@pytest.mark.parametrize(("size", "ok"), [(MIN_PIECE_BYTES, True), (MIN_PIECE_BYTES - 1, False)])
def test_the_smallest_piece(size: int, ok: bool) -> None:
    target = reassembler()
    data = piece_header(1, 0, 2) + b"x" * size
    if ok:
        assert target.add(data) is None
    else:
        refused(target, data, "at least 16384")


def test_a_single_piece_and_a_last_piece_may_be_small() -> None:
    target = reassembler()
    assert target.add(piece_header(1, 0, 1) + b"y") == b"y"
    target.add(piece_header(2, 0, 2) + b"x" * STEP)
    assert target.add(piece_header(2, 1, 2) + b"z") == b"x" * STEP + b"z"


@pytest.mark.parametrize("size", [STEP - 1, STEP + 1])
def test_pieces_are_of_one_size(size: int) -> None:
    target = reassembler()
    target.add(piece_header(1, 0, 3) + b"x" * STEP)
    refused(target, piece_header(1, 1, 3) + b"x" * size, f"a piece of {size} bytes")


def test_the_last_piece_is_not_larger() -> None:
    target = reassembler()
    target.add(piece_header(1, 0, 2) + b"x" * STEP)
    refused(target, piece_header(1, 1, 2) + b"x" * (STEP + 1), "a piece of")


@pytest.mark.parametrize("data", [b"", b"x" * 15, piece_header(1, 0, 2), piece_header(1, 0, 0) + b"x"])
def test_malformed(data: bytes) -> None:
    refused(reassembler(), data, "frag/1")


def test_a_frame_may_have_exactly_16_mib() -> None:
    step = 4 * 1024 * 1024
    frame = b"\x07" * MAX_FRAME_BYTES
    target = reassembler()
    assert [target.add(piece) for piece in pieces_of(frame, 1, step)][-1] == frame


def test_a_frame_that_announces_more_is_refused_with_its_first_piece() -> None:
    step = 4 * 1024 * 1024
    target = reassembler()
    refused(target, piece_header(1, 0, 6) + b"x" * step, "over 16777216")
    # Four whole pieces and a fifth of one byte: 16 MiB and one byte at least.
    refused(target, piece_header(1, 0, 5) + b"x" * step, "over 16777216")
    assert target.held == 0


def test_a_lower_agreed_maximum_counts() -> None:
    target = reassembler()
    target.max_frame = 2 * STEP
    assert [target.add(piece) for piece in pieces_of(b"x" * 2 * STEP, 1)][-1] is not None
    refused(target, piece_header(2, 0, 3) + b"x" * STEP, "over")


def test_all_unfinished_frames_together_are_bounded() -> None:
    target = reassembler(unfinished_bytes=3 * STEP)
    for frag_id in range(3):
        target.add(piece_header(frag_id, 0, 3) + b"x" * STEP)
    refused(target, piece_header(0, 1, 3) + b"x" * STEP, "unfinished frames over")


def test_the_shared_budget_drops_the_frame_and_says_so() -> None:
    budget = FragmentBudget(3 * STEP)
    one, other = reassembler(budget), reassembler(budget)
    one.add(piece_header(1, 0, 3) + b"x" * STEP)
    one.add(piece_header(1, 1, 3) + b"x" * STEP)
    other.add(piece_header(1, 0, 3) + b"x" * STEP)
    assert other.add(piece_header(1, 1, 3) + b"x" * STEP) is None
    assert other.refused
    assert (other.unfinished, other.held) == (0, 0)
    # What it let go is there for the one that goes on.
    assert one.add(piece_header(1, 2, 3) + b"x" * STEP) == b"x" * 3 * STEP
    assert not one.refused
    assert budget.held == 0


def test_clearing_gives_everything_back() -> None:
    budget = FragmentBudget()
    target = reassembler(budget)
    for frag_id in range(4):
        target.add(piece_header(frag_id, 0, 2) + b"x" * STEP)
    assert budget.held == 4 * STEP
    target.clear()
    assert (target.unfinished, target.held, budget.held) == (0, 0, 0)


@given(pieces=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3) | st.just(GIVE_UP), st.integers(0, 4))))
def test_any_sequence_keeps_the_accounts(pieces: list[tuple[int, int, int]]) -> None:
    budget = FragmentBudget()
    target = reassembler(budget)
    for frag_id, index, count in pieces:
        try:
            target.add(piece_header(frag_id, index, count) + b"x" * STEP)
        except SbpError:
            break
        assert budget.held == target.held == sum(e.size for e in target._frames.values())
        assert target.unfinished <= 4
    target.clear()
    assert budget.held == 0
