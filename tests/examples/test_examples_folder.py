"""What holds for the folder as a whole: short programs, each named on its page."""

from __future__ import annotations

import ast

from tests.support.served_platform import ROOT

PROGRAMS = {path.name: path.read_text("utf-8") for path in (ROOT / "examples").glob("*.py")}
SHARED = "environment.py"
LINES = 80


def test_every_program_is_short() -> None:
    lengths = {name: len(text.splitlines()) for name, text in PROGRAMS.items() if name != SHARED}
    assert {name: length for name, length in lengths.items() if length > LINES} == {}


def test_every_program_says_what_it_is_for() -> None:
    assert [name for name, text in PROGRAMS.items() if not ast.get_docstring(ast.parse(text))] == []


def test_every_program_is_on_the_page() -> None:
    page = (ROOT / "examples/README.md").read_text("utf-8")
    assert [name for name in PROGRAMS if f"[{name}]({name})" not in page] == []


def test_every_variable_of_the_environment_is_on_the_page() -> None:
    page = (ROOT / "examples/README.md").read_text("utf-8")
    read = {
        node.value
        for node in ast.walk(ast.parse(PROGRAMS[SHARED]))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("SIDEBAND_")
    }
    assert {name for name in read if f"`{name.split()[0]}`" not in page} == set()
