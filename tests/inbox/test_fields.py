"""Whatever comes is either a request whose every part is what it has to be, or a refusal with its code."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import InboxError
from sideband.inbox.address import normalise_address
from sideband.inbox.client.requests import InboxOrigin
from sideband.inbox.fields import BRIDGE_KINDS, Signed, bridge_fields, parse_json, signed_fields
from sideband.inbox.signing import MAX_NUMBER, canonical_bytes, check_signature

from .served import BOB, text64

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
GOOD: dict[str, Any] = {"address": "bob", "signedAt": 1, "signature": text64(bytes(64)), "since": 0}


def outcome(call: Any, *words: Any) -> Signed | str:
    try:
        signed: Signed = call(*words)
    except InboxError as error:
        return error.code
    return signed


@given(st.binary(max_size=200))
def test_any_body_is_an_object_or_refused(body: bytes) -> None:
    try:
        value = parse_json(body)
    except InboxError as error:
        refused = error.code
    else:
        refused = "SHADE_VALIDATION" if not isinstance(json.loads(body), dict) else ""
        assert isinstance(value, dict)
    assert refused in ("", "SHADE_VALIDATION")


@given(st.dictionaries(st.sampled_from(["address", "signedAt", "signature", "since", "limit", "x"]), ANYTHING))
def test_any_object_is_a_request_or_refused(changed: dict[str, Any]) -> None:
    signed = outcome(signed_fields, GOOD | changed, {}, frozenset({"since"}), frozenset({"limit"}))
    if isinstance(signed, str):
        assert signed == "SHADE_VALIDATION"
        return
    assert "x" not in changed
    assert normalise_address(signed.address) == signed.address
    assert 0 <= signed.signed_at <= MAX_NUMBER
    assert len(signed.signature) == 64
    for read in (signed.number, signed.key, lambda name: signed.addresses(name, 5)):
        assert not isinstance(outcome(read, "since"), Signed)


@given(
    st.dictionaries(st.sampled_from(["address", "kind", "since", "signedAt", "signature", "x"]), st.text(max_size=20))
)
def test_any_query_is_a_request_or_refused(changed: dict[str, str]) -> None:
    query = {name: [str(value)] for name, value in ({**GOOD, "kind": "poll"} | changed).items()}
    signed = outcome(bridge_fields, query, "poll")
    if isinstance(signed, str):
        assert signed in ("SHADE_VALIDATION", "SHADE_UNAUTHORIZED")
    else:
        assert isinstance(signed.fields["since"], int)
        assert json.loads(canonical_bytes(signed.fields))["since"] == int(query["since"][0])


@given(st.sampled_from(["ws", "stream", "poll"]), st.integers(0, MAX_NUMBER))
def test_what_a_client_signs_a_server_verifies(kind: Any, since: int) -> None:
    origin = InboxOrigin("http://inbox.example", "ｂｏｂ", BOB, wall_clock=lambda: 1_790_000_000.5)
    query = {name: [value] for name, value in origin.signed_query(kind, since).items()}
    signed = bridge_fields(query, kind)
    check_signature(BOB.public_key, signed.fields, signed.signature)
    assert (signed.address, signed.number("since")) == ("bob", since)
    for other in BRIDGE_KINDS:
        if other != kind:
            assert outcome(bridge_fields, query, other) == "SHADE_UNAUTHORIZED"


@pytest.mark.parametrize(("value", "fits"), [(0, True), (MAX_NUMBER, True), (MAX_NUMBER + 1, False), (-1, False)])
def test_the_edges_of_numbers(value: int, fits: bool) -> None:
    signed = outcome(signed_fields, GOOD | {"since": value}, {}, frozenset({"since"}))
    assert isinstance(signed, Signed)
    assert (outcome(signed.number, "since") == value) is fits


def test_a_name_that_is_there_twice_in_a_query_is_refused() -> None:
    query = {name: [str(value)] for name, value in {**GOOD, "kind": "poll"}.items()}
    assert isinstance(outcome(bridge_fields, query, "poll"), Signed)
    assert outcome(bridge_fields, query | {"since": ["0", "1"]}, "poll") == "SHADE_VALIDATION"
