"""What ids, credentials and codes look like."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.control import ids


def test_credentials_have_their_prefix_and_43_digits() -> None:
    for make, prefix in ((ids.new_api_key, "sbnd_dak_"), (ids.new_user_token, "sbnd_usr_")):
        made = {make() for _ in range(200)}
        assert len(made) == 200
        assert all(re.fullmatch(prefix + r"[0-9A-Za-z]{43}", value) for value in made)


def test_ids_have_their_letter_and_22_digits() -> None:
    for make, letter in ((ids.new_daemon_id, "d"), (ids.new_account_id, "a"), (ids.new_user_id, "u")):
        assert re.fullmatch(letter + r"_[0-9A-Za-z]{22}", make())


def test_no_daemon_id_looks_like_a_code() -> None:
    assert all(ids.normalize_code(ids.new_daemon_id()) is None for _ in range(200))


def test_codes_use_every_letter_of_the_alphabet_and_no_other() -> None:
    seen = set("".join(ids.new_code().replace("-", "") for _ in range(500)))
    assert seen == set(ids.CODE_ALPHABET) == set("abcdefghjkmnpqrstuvwxyz")


@given(st.text(ids.CODE_ALPHABET, min_size=12, max_size=12))
def test_a_code_is_read_however_it_is_typed(letters: str) -> None:
    code = ids.format_code(letters)
    assert code.replace("-", "") == letters
    for typed in (code, code.upper(), letters, code.replace("-", " "), f" {code}\n", code.replace("-", "--")):
        assert ids.normalize_code(typed) == letters


@given(st.text())
def test_what_is_no_code_is_none(text: str) -> None:
    normalized = ids.normalize_code(text)
    assert normalized is None or re.fullmatch(r"[a-z]{12}", normalized)


@pytest.mark.parametrize(
    "text", ["abcdefghjkm", "abcdefghjkmnp", "abcdefghjkm1", "\u0430bcdefghjkmn", "abcd_efgh_jkmn"]
)
def test_texts_that_are_no_codes(text: str) -> None:
    assert ids.normalize_code(text) is None


def test_a_code_s_digest_depends_on_the_key() -> None:
    assert ids.code_digest(b"one", "abcdefghjkmn") != ids.code_digest(b"two", "abcdefghjkmn")


def test_a_hint_is_the_end_of_a_secret() -> None:
    assert ids.secret_hint("sbnd_dak_0123456789") == "6789"
