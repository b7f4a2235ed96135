"""What TARGET means."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.cli.target import checked_fingerprint, resolve_target
from sideband.errors import ConfigError

CODE = "abcd-efgh-jkmn"
FINGERPRINT = "SHA256:" + ":".join(["AB"] * 32)


@pytest.mark.parametrize("text", [CODE, "abcdefghjkmn", "ABCD-EFGH-JKMN", " abcd efgh jkmn ", "AbCdEfGh-jkmn"])
def test_a_code_in_any_writing(text: str) -> None:
    target = resolve_target(text)
    assert (target.code, target.daemon_id, target.api_url) == (CODE, None, None)
    assert "abcd" not in repr(target)
    assert "abcd" not in target.name


@pytest.mark.parametrize(
    ("address", "api_url"),
    [
        (f"https://relay.example/connect#qc={CODE}", "https://relay.example"),
        (f"http://127.0.0.1:8080/connect#qc={CODE.upper()}", "http://127.0.0.1:8080"),
        (f"https://relay.example:444/behind/connect#qc={CODE}", "https://relay.example:444/behind"),
        (f"https://[::1]:8443/connect/#qc={CODE}", "https://[::1]:8443"),
    ],
)
def test_the_address_of_a_code(address: str, api_url: str) -> None:
    target = resolve_target(address)
    assert (target.code, target.api_url) == (CODE, api_url)


def test_a_daemons_id() -> None:
    assert resolve_target("d_r6ho5y6aN90CTEqZD3tOrp").daemon_id == "d_r6ho5y6aN90CTEqZD3tOrp"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{CODE}\n"))
    assert resolve_target("-").code == CODE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "abcd-efgh-jkm",
        "abcd-efgh-jkmnp",
        "abcd-efgh-jkm1",
        "äbcd-efgh-jkmn",
        "d_",
        "d_../../etc",
        "https://relay.example/connect",
        f"https://relay.example/connect?qc={CODE}",
        "https:///connect#qc=abcdefghjkmn",
        "ftp://relay.example/connect#qc=abcdefghjkmn",
        "\x1b[31mabcd",
    ],
)
def test_what_is_none_is_told(text: str) -> None:
    with pytest.raises(ConfigError) as told:
        resolve_target(text)
    assert "\x1b" not in str(told.value)


@given(st.text(max_size=60))
def test_any_text_is_a_target_or_told(text: str) -> None:
    if text.strip() == "-":
        return
    try:
        target = resolve_target(text)
    except ConfigError:
        return
    assert (target.code is None) != (target.daemon_id is None)


def test_fingerprints_have_one_form() -> None:
    assert checked_fingerprint(f" {FINGERPRINT.lower()} ") == FINGERPRINT
    for wrong in ("", FINGERPRINT[:-3], FINGERPRINT + ":00", FINGERPRINT.replace(":", ""), "MD5" + FINGERPRINT[6:]):
        with pytest.raises(ConfigError, match="32 pairs of hex digits"):
            checked_fingerprint(wrong)
