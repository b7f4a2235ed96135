"""The decoder of server-sent events: any cut, any line end, and its limit."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import BridgeError
from sideband.inbox.client.event_stream import EventStreamDecoder, ServerSentEvent

LINE = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=30)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@given(
    st.lists(st.tuples(st.sampled_from(["envelope", "other"]), st.lists(LINE, min_size=1, max_size=3)), max_size=5),
    ENDS,
    st.lists(st.integers(0, 400), max_size=8),
)
def test_events_arrive_whatever_the_cuts(events: list[tuple[str, list[str]]], end: str, cuts: list[int]) -> None:
    text = ""
    for number, (name, lines) in enumerate(events):
        text += f": comment{end}event: {name}{end}id: {number}{end}"
        text += "".join(f"data: {line}{end}" for line in lines) + end
    stream = text.encode()
    places = sorted({0, *(cut for cut in cuts if cut < len(stream)), len(stream)})
    decoder = EventStreamDecoder()
    seen = [event for a, b in pairwise(places) for event in decoder.push(stream[a:b])]
    assert seen == [ServerSentEvent(name, "\n".join(lines), str(n)) for n, (name, lines) in enumerate(events)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data\n\n", [ServerSentEvent("message", "", None)]),
        (b"data:a\ndata: b\ndata:  c\n\n", [ServerSentEvent("message", "a\nb\n c", None)]),
        (b"event: x\n\n", []),
        (b"event: x\n\ndata: y\n\n", [ServerSentEvent("message", "y", None)]),
        (
            b"id: 7\ndata: a\n\ndata: b\n\n",
            [ServerSentEvent("message", "a", "7"), ServerSentEvent("message", "b", "7")],
        ),
        (b"id: 7\nid: \0\ndata: a\n\n", [ServerSentEvent("message", "a", "7")]),
        (b"\xef\xbb\xbfdata: a\n\n", [ServerSentEvent("message", "a", None)]),
        (b"retry: 1\nunknown: 2\ndata: a\n\n", [ServerSentEvent("message", "a", None)]),
        (b"data: a", []),
        (b"data: \xff\n\n", [ServerSentEvent("message", "\ufffd", None)]),
        ("data: a\u2028b\x0bc\n\n".encode(), [ServerSentEvent("message", "a\u2028b\x0bc", None)]),
    ],
)
def test_what_the_standard_says(stream: bytes, events: list[ServerSentEvent]) -> None:
    assert EventStreamDecoder().push(stream) == events


def test_an_event_may_be_as_long_as_the_limit() -> None:
    line = b"data: " + b"x" * (100 - 7) + b"\n"
    assert len(line) == 100
    decoder = EventStreamDecoder(max_event_bytes=101)
    assert len(decoder.push(line + b"\n")) == 1
    assert len(decoder.push(line + b"\n")) == 1  # counted anew for each
    decoder = EventStreamDecoder(max_event_bytes=99)
    with pytest.raises(BridgeError, match="more than 99 bytes"):
        decoder.push(line)


def test_a_line_without_an_end_is_refused_before_it_grows() -> None:
    decoder = EventStreamDecoder(max_event_bytes=1000)
    for size in (600, 400):
        assert decoder.push(b"x" * size) == []
    with pytest.raises(BridgeError):
        decoder.push(b"x")


def test_comments_alone_never_reach_the_limit() -> None:
    decoder = EventStreamDecoder(max_event_bytes=64)
    for _ in range(1000):
        assert decoder.push(b": still here \xe2\x98\x83\r\n\r\n") == []
        assert decoder.push(b": no empty line after this one\n") == []
    assert len(decoder.push(b"data: a\n\n")) == 1
