"""Which names and paths are taken from the other side."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sideband.errors import FileTransferError
from sideband.sharing.names import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES, check_name, collision, parse_path

REFUSED = [
    "/etc/passwd",
    "//etc/passwd",
    "..",
    "../secret",
    "a/../../secret",
    "a/..",
    "a//b",
    "a/./b",
    "./../a",
    "a\0b",
    "a\nb",
    "a\x1b[31mb",
    "a\x7fb",
    "a\x9bb",
    "invoice\u202efdp.exe",
    "\u2066a",
    "a\u2028b",
    "a\ufeff",
    "a\ud800",
    "x" * (MAX_NAME_BYTES + 1),
    "ü" * 128,
    "/".join("a" * (MAX_DEPTH + 1)),
    "/".join(["x" * 200] * 21),
    ".x.sideband-part",
    "sub/.x.sideband-part.json",
]


@pytest.mark.parametrize("path", REFUSED, ids=ascii)
def test_what_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(FileTransferError) as refused:
        parse_path(path, allow_hidden=True)
    assert refused.value.code == "invalid_name"
    assert not any(ord(sign) < 32 or sign == "\u202e" for sign in str(refused.value))


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("", ()),
        (".", ()),
        ("./", ()),
        ("a", ("a",)),
        ("./a", ("a",)),
        ("a/b/", ("a", "b")),
        ("a b/c..d/...x", ("a b", "c..d", "...x")),
        ("~root/%2e%2e/$HOME", ("~root", "%2e%2e", "$HOME")),
        ("a\\..\\b", ("a\\..\\b",)),
        ("x" * MAX_NAME_BYTES, ("x" * MAX_NAME_BYTES,)),
        ("/".join("a" * MAX_DEPTH), ("a",) * MAX_DEPTH),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_stays_inside_is_taken(path: str, names: tuple[str, ...]) -> None:
    assert parse_path(path, allow_hidden=True) == names


def test_hidden_names_are_refused_unless_allowed() -> None:
    for path in (".ssh/id", "a/.git"):
        with pytest.raises(FileTransferError, match="hidden"):
            parse_path(path)
        assert parse_path(path, allow_hidden=True)


@given(st.text(max_size=40))
def test_a_name_that_is_taken_is_one_name(name: str) -> None:
    try:
        check_name(name, allow_hidden=True)
    except FileTransferError:
        return
    assert name not in ("", ".", "..")
    assert not {"/", "\0", "\n", "\x1b"} & set(name)
    assert parse_path(f"a/{name}", allow_hidden=True) == ("a", name)


@given(st.text(max_size=200).filter(lambda text: len(text.encode("utf-8", "surrogatepass")) <= MAX_PATH_BYTES))
def test_no_path_leads_up(path: str) -> None:
    try:
        names = parse_path(path)
    except FileTransferError:
        return
    assert all(name and not name.startswith(".") and "/" not in name for name in names)


def test_names_that_look_the_same_are_found() -> None:
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    assert collision(["a", composed, "b", decomposed]) == (composed, decomposed)
    assert collision(["a", "A", composed]) is None
