"""What counts as a message, and that each is handed over once, in order."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import BridgeError
from sideband.inbox.client import messages
from sideband.inbox.client.messages import Delivery, IncomingMessage, parse_message


def fields(content: bytes = b"ciphertext", cursor: int = 3, **more: Any) -> dict[str, Any]:
    told = {
        "ciphertext": base64.b64encode(content).decode(),
        "msgId": sha256(content).hexdigest(),
        "receivedAt": cursor,
        "expiresAt": 1_777_900_000_000,
        "from": "56475aa75463474c",
    }
    return {**told, **more}


def message(cursor: int, content: bytes | None = None) -> IncomingMessage:
    return parse_message(fields(content or str(cursor).encode(), cursor))


def test_a_message_is_read() -> None:
    read = parse_message(fields())
    assert (read.bytes, read.received_at, read.from_) == (b"ciphertext", 3, "56475aa75463474c")
    assert read.msg_id == sha256(b"ciphertext").hexdigest()
    told = fields()
    del told["from"]
    assert parse_message(told).from_ is None


@pytest.mark.parametrize("name", ["ciphertext", "msgId", "receivedAt"])
@pytest.mark.parametrize("value", [None, [], {}, True, 1.5, "", "x", -1, 0, 2**63, "é"])
def test_a_wrong_field_is_refused(name: str, value: object) -> None:
    with pytest.raises(BridgeError) as refused:
        parse_message(fields(**{name: value}))
    assert refused.value.kind == "protocol"


@pytest.mark.parametrize("name", ["ciphertext", "msgId", "receivedAt"])
def test_a_missing_field_is_refused(name: str) -> None:
    told = fields()
    del told[name]
    with pytest.raises(BridgeError):
        parse_message(told)


def test_content_that_is_not_what_its_id_says_is_refused() -> None:
    with pytest.raises(BridgeError, match="not what its msgId says"):
        parse_message(fields(msgId=sha256(b"other").hexdigest()))


@given(st.lists(st.integers(1, 30), max_size=60))
async def test_whatever_arrives_each_is_handed_over_once_and_upwards(cursors: list[int]) -> None:
    handled: list[int] = []
    delivery = Delivery(lambda each: handled.append(each.received_at), 0)
    for cursor in cursors:
        await delivery.hand_over(message(cursor))
    assert handled == sorted(set(handled))
    assert delivery.cursor == max(cursors, default=0)


async def test_the_cursor_stays_while_the_handler_fails() -> None:
    failures = iter([RuntimeError("no"), None])
    handled = []

    async def handler(each: IncomingMessage) -> None:
        failure = next(failures)
        if failure is not None:
            raise failure
        handled.append(each.received_at)

    delivery = Delivery(handler, 4)
    with pytest.raises(RuntimeError):
        await delivery.hand_over(message(5))
    assert delivery.cursor == 4
    await delivery.hand_over(message(5))
    assert (delivery.cursor, handled) == (5, [5])


async def test_after_starting_over_what_is_known_by_id_is_left_out() -> None:
    handled: list[bytes] = []
    delivery = Delivery(lambda each: handled.append(each.bytes), 0)
    for cursor, content in [(1, b"a"), (2, b"b"), (3, b"c")]:
        await delivery.hand_over(message(cursor, content))
    delivery.start_over()
    for cursor, content in [(1, b"a"), (2, b"b"), (3, b"d")]:
        await delivery.hand_over(message(cursor, content))
    assert handled == [b"a", b"b", b"c", b"d"]
    assert delivery.cursor == 3


async def test_only_so_many_ids_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "RECENT_MESSAGES", 2)
    handled: list[bytes] = []
    delivery = Delivery(lambda each: handled.append(each.bytes), 0)
    for cursor, content in [(1, b"a"), (2, b"b"), (3, b"c")]:
        await delivery.hand_over(message(cursor, content))
    delivery.start_over()
    for cursor, content in [(1, b"a"), (2, b"b"), (3, b"c")]:
        await delivery.hand_over(message(cursor, content))
    assert handled == [b"a", b"b", b"c", b"a", b"b", b"c"]  # each is forgotten before it comes again
