"""The help texts: the page that shows them, and that they say the same thing in the same words."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from scripts.command_help import PAGE, help_texts, page
from sideband.cli.main import app

TEXTS = dict(help_texts())
FIRST_LEVEL = [name for name in TEXTS if name.count(" ") == 1]
# What an option of this name means depends on the command; everything else means the same everywhere.
OWN_MEANING = {
    "--direct",
    "--account",
    "--daemon",
    "--fingerprint",
    "--hidden",
    "--name",
    "--size",
    "--user",
    "--config",
    "--data-dir",
}
JSON_OUTPUTS = {
    "One JSON object a line; the first is ready.",
    "One JSON object a line.",  # admin: nothing is connected to
    "One JSON object a line; the last is done.",  # demo
    "One JSON object a line, times in seconds.",  # bench
    "Events on standard error, one JSON object a line; the first is ready.",  # pipe
}


def test_the_page_shows_what_help_says() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python scripts/command_help.py`"


def test_an_option_means_the_same_in_every_command() -> None:
    told = defaultdict(set)
    for _, command in _commands():
        for option in _options(command):
            for name in option.opts:
                told[name].add((option.metavar, option.help))
    different = {name: what for name, what in told.items() if len(what) > 1 and name not in OWN_MEANING | {"--json"}}
    assert different == {}
    assert {text for _, text in told["--json"]} == JSON_OUTPUTS


@pytest.mark.parametrize("name", FIRST_LEVEL)
def test_a_command_shows_examples_and_exit_codes(name: str) -> None:
    text = TEXTS[name]
    assert "\n  Examples:\n" in text
    assert re.search(r"\n\n  Exit codes: 0 .*130\s+interrupted\.", text, re.DOTALL)


def test_every_command_says_what_it_does_and_speaks_json() -> None:
    assert [name for name, command in _commands() if command.callback is not None and not command.help] == []
    leaves = [(name, command) for name, command in _commands() if not hasattr(command, "commands")]
    assert [name for name, command in leaves if not any("--json" in option.opts for option in _options(command))] == []


@pytest.mark.parametrize(
    "example",
    sorted({line for text in TEXTS.values() for line in re.findall(r"^    (.*\bsideband .*)$", text, re.MULTILINE)}),
)
def test_an_example_is_a_command(example: str) -> None:
    (given,) = (
        part.split()
        for part in re.split(r" {2,}", example)[0].removeprefix("SIDEBAND_API_KEY=... ").split(" | ")
        if part.startswith("sideband")
    )
    words = given[1:]
    if words[:1] == ["COMMAND"]:
        return
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    known = {name for option in _options(command) for name in (*option.opts, *option.secondary_opts)}
    assert {word for word in words if re.fullmatch(r"--?[a-z-]+", word)} <= known


def _commands() -> Iterator[tuple[str, Any]]:
    todo: list[tuple[str, Any]] = [("sideband", typer.main.get_command(app))]
    while todo:
        name, command = todo.pop()
        yield name, command
        todo += [(f"{name} {word}", nested) for word, nested in getattr(command, "commands", {}).items()]


def _options(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "option"]
