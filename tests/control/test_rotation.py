"""Rotation statements (docs/protocol/rotation.md)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband._native import IdentityKeyPair
from sideband.errors import ConfigError
from sideband.identity.rotation import STATEMENT_BYTES, RotationError, leads_to, make_statement, verify_statement

DAEMON = "d_0000000000000000000000"
PAIRS = [IdentityKeyPair.from_private_bytes(bytes([n]) * 32) for n in range(1, 6)]
KEYS = [bytes(pair.public_key) for pair in PAIRS]
CHAIN = [make_statement(DAEMON, PAIRS[n], KEYS[n + 1], n) for n in range(3)]


def test_a_statement_says_what_was_signed() -> None:
    statement = make_statement(DAEMON, PAIRS[0], KEYS[1], 1_790_000_000)
    assert len(statement) == STATEMENT_BYTES == 137
    found = verify_statement(statement, DAEMON, KEYS[0], KEYS[1])
    assert (found.old_key, found.new_key, found.issued_at) == (KEYS[0], KEYS[1], 1_790_000_000)
    assert statement == make_statement(DAEMON, PAIRS[0], KEYS[1], 1_790_000_000)


def test_what_is_signed_is_what_the_page_says() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    statement = CHAIN[0]
    signed = b"sideband identity rotation v1\0" + len(DAEMON).to_bytes(2, "big") + DAEMON.encode() + statement[:73]
    Ed25519PublicKey.from_public_bytes(KEYS[0]).verify(statement[73:], signed)


@given(st.integers(0, STATEMENT_BYTES - 1), st.integers(1, 255))
def test_any_changed_byte_is_refused(position: int, change: int) -> None:
    changed = bytearray(CHAIN[0])
    changed[position] ^= change
    # The time decides nothing, but it is signed like the rest.
    with pytest.raises(RotationError):
        verify_statement(bytes(changed), DAEMON, KEYS[0])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(RotationError):
        verify_statement(data, DAEMON, KEYS[0])


@pytest.mark.parametrize(
    ("daemon_id", "old", "new"),
    [("d_other", KEYS[0], None), (DAEMON, KEYS[1], None), (DAEMON, KEYS[0], KEYS[2])],
    ids=["another daemon", "another old key", "another new key"],
)
def test_a_statement_about_something_else_is_refused(daemon_id: str, old: bytes, new: bytes | None) -> None:
    with pytest.raises(RotationError):
        verify_statement(CHAIN[0], daemon_id, old, new)


@pytest.mark.parametrize("new", [b"", bytes(31), bytes(33), KEYS[0]], ids=["empty", "short", "long", "the same"])
def test_new_keys_that_are_refused(new: bytes) -> None:
    with pytest.raises(RotationError):
        make_statement(DAEMON, PAIRS[0], new, 0)


def test_a_daemon_id_is_needed() -> None:
    with pytest.raises(ConfigError):
        make_statement("", PAIRS[0], KEYS[1], 0)


@pytest.mark.parametrize("start", range(3))
@pytest.mark.parametrize("end", range(4))
def test_a_chain_leads_forward_only(start: int, end: int) -> None:
    assert leads_to(DAEMON, KEYS[start], KEYS[end], CHAIN) is (end == 3 and start < 3)


def test_a_chain_that_was_cut_or_mixed_leads_nowhere() -> None:
    assert not leads_to(DAEMON, KEYS[0], KEYS[3], [])
    assert not leads_to(DAEMON, KEYS[0], KEYS[3], [CHAIN[0], CHAIN[2]])
    assert not leads_to(DAEMON, KEYS[0], KEYS[3], [CHAIN[2], CHAIN[1], CHAIN[0]])
    forged = make_statement(DAEMON, PAIRS[4], KEYS[3], 0)
    assert not leads_to(DAEMON, KEYS[0], KEYS[3], [CHAIN[0], forged])
    assert not leads_to("d_other", KEYS[0], KEYS[3], CHAIN)


def test_what_is_no_statement_is_passed_over() -> None:
    assert leads_to(DAEMON, KEYS[0], KEYS[3], [b"", CHAIN[0], b"x" * 137, CHAIN[1], CHAIN[2]])


def test_a_key_that_came_back_is_followed_further() -> None:
    back = make_statement(DAEMON, PAIRS[1], KEYS[0], 1)
    onward = make_statement(DAEMON, PAIRS[0], KEYS[2], 2)
    assert leads_to(DAEMON, KEYS[0], KEYS[2], [CHAIN[0], back, onward])
