"""What is signed, what a signature proves, and what base64 and addresses may be."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband._native import IdentityKeyPair
from sideband.errors import InboxError
from sideband.inbox.address import normalise_address
from sideband.inbox.signing import (
    canonical_bytes,
    check_signature,
    check_signed_at,
    decode_base64,
    encode_base64,
    sign_fields,
)

IDENTITY = IdentityKeyPair.from_private_bytes(bytes(range(32)))
NOW = 1_777_900_000_000
SIGNATURES = {
    "poll": "EJ9G0b9+9NVZAvrcQPNctwpVuXp6/sZu0mtibOkQzowcwLg5777r0GyTimDR0WVJGzIGfp0BLnu7bvvCq1SXBA==",
    "stream": "0782CPklKpA5Sepwffurhfs+LYQ61WzC5iYbz/TrYN40oGZ/Xt7KZkhKsJGn0bvyjvs5pRs4bfxbfbRxTZWYDQ==",
    "ws": "7WqT5JIxbSzVqIUtqReytzsLf7EIrVB8FWVbWXT0xIidhMrIsz6u5tMUdFsD9tTzH7EcGU74yHcUhg5OnR1NCQ==",
}


def fields(**changed: Any) -> dict[str, Any]:
    return {"since": 0, "signedAt": NOW, "kind": "poll", "address": "bob", **changed}


def refused(call: Any, *words: Any, **named: Any) -> str:
    with pytest.raises(InboxError) as caught:
        call(*words, **named)
    return caught.value.code


def test_the_public_key_of_the_vectors() -> None:
    assert encode_base64(IDENTITY.public_key) == "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="


def test_the_canonical_form_of_the_vectors() -> None:
    assert canonical_bytes(fields()) == b'{"address":"bob","kind":"poll","signedAt":1777900000000,"since":0}'
    assert canonical_bytes(fields(signature="x")) == canonical_bytes(fields())


@pytest.mark.parametrize("kind", SIGNATURES)
def test_the_signatures_of_the_vectors(kind: str) -> None:
    assert sign_fields(IDENTITY, fields(kind=kind)) == SIGNATURES[kind]
    check_signature(IDENTITY.public_key, fields(kind=kind), base64.b64decode(SIGNATURES[kind]))


@pytest.mark.parametrize(
    "changed", [{"kind": "ws"}, {"address": "rob"}, {"since": 1}, {"signedAt": NOW + 1}, {"since": "0"}, {"more": 1}]
)
def test_a_signature_is_for_one_request_only(changed: dict[str, Any]) -> None:
    signature = base64.b64decode(SIGNATURES["poll"])
    assert refused(check_signature, IDENTITY.public_key, fields(**changed), signature) == "SHADE_UNAUTHORIZED"


def test_a_signature_is_of_one_key_only_and_strict() -> None:
    signature = base64.b64decode(SIGNATURES["poll"])
    other = IdentityKeyPair.generate().public_key
    assert refused(check_signature, other, fields(), signature) == "SHADE_UNAUTHORIZED"
    # S + L is a signature that lax verifiers take for the same.
    order = 2**252 + 27742317777372353535851937790883648493
    malleable = signature[:32] + (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    assert refused(check_signature, IDENTITY.public_key, fields(), malleable) == "SHADE_UNAUTHORIZED"
    identity_point = b"\x01" + bytes(31)
    assert refused(check_signature, identity_point, fields(), identity_point + bytes(32)) == "SHADE_UNAUTHORIZED"
    assert refused(check_signature, IDENTITY.public_key, fields(), b"") == "SHADE_UNAUTHORIZED"


def test_text_is_not_escaped() -> None:
    assert canonical_bytes({"b": "ü\u2028", "a": 'q"'}) == '{"a":"q\\"","b":"ü\u2028"}'.encode()


@pytest.mark.parametrize("value", ["\ud800", float("nan"), float("inf")])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    assert refused(canonical_bytes, {"a": value}) == "SHADE_VALIDATION"


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers() | st.text(st.characters(codec="utf-8"))))
def test_the_canonical_form_says_the_same_and_depends_on_no_order(some: dict[str, Any]) -> None:
    without = {name: value for name, value in some.items() if name != "signature"}
    assert json.loads(canonical_bytes(some)) == without
    assert canonical_bytes(dict(reversed(some.items()))) == canonical_bytes(some)


@pytest.mark.parametrize("offset", [-300_000, 0, 60_000])
def test_times_inside_the_window(offset: int) -> None:
    check_signed_at(NOW + offset, NOW)


@pytest.mark.parametrize("offset", [-300_001, 60_001, -(10**12), 10**15])
def test_times_outside_the_window(offset: int) -> None:
    assert refused(check_signed_at, NOW + offset, NOW) == "SHADE_REPLAY"


@given(st.binary(max_size=100))
def test_base64_of_every_kind_is_read(data: bytes) -> None:
    standard, url_safe = base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()
    for text in (standard, url_safe, standard.rstrip("="), url_safe.rstrip("=")):
        assert decode_base64(text, "x") == data
    assert encode_base64(data) == standard


@given(st.text(max_size=40) | st.text("AQgw+/-_=", max_size=9))
def test_base64_is_read_or_refused_and_one_value_has_one_text(text: str) -> None:
    try:
        data = decode_base64(text, "x")
    except InboxError:
        assert refused(decode_base64, text, "x") == "SHADE_VALIDATION"
    else:
        assert text.rstrip("=").translate(str.maketrans("-_", "+/")) == base64.b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    ["A", "AAAAA", "AA=", "AA===", "=AAA", "AA==AA==", "A A=", "AAA\n", "+_AA", "AB", "AAB", "AB==", 7, None, b"AAAA"],
)
def test_what_is_no_base64(text: object) -> None:
    assert refused(decode_base64, text, "x") == "SHADE_VALIDATION"


def test_a_size_is_exact() -> None:
    assert decode_base64(encode_base64(bytes(32)), "x", size=32) == bytes(32)
    for size in (31, 33):
        assert refused(decode_base64, encode_base64(bytes(size)), "x", size=32) == "SHADE_VALIDATION"


@pytest.mark.parametrize("address", ["b", "bob", "a" * 256, "A.b-c_d:e9"])
def test_addresses(address: str) -> None:
    assert normalise_address(address) == address


def test_addresses_that_normalise_together() -> None:
    assert {normalise_address(text) for text in ("bob", "ｂｏｂ", "𝐛𝐨𝐛", "ⓑⓞⓑ")} == {"bob"}
    assert normalise_address("ﬁ") == "fi"
    assert normalise_address("⒈") == "1."


@pytest.mark.parametrize(
    "address",
    [
        "",
        "a" * 257,
        "ﬁ" * 129,
        "a" * 100_000,
        "a/b",
        "a b",
        "a\n",
        "bоb",
        "bøb",
        "a\x00",
        "..%2f",
        "a*",
        "*",
        ">",
        "\ud800",
    ],
)
def test_what_is_no_address(address: str) -> None:
    assert refused(normalise_address, address) == "SHADE_VALIDATION"


@given(st.text(max_size=300))
def test_normalising_twice_is_normalising_once(text: str) -> None:
    try:
        normal = normalise_address(text)
    except InboxError:
        return
    assert normalise_address(normal) == normal
    assert normal.isascii()
