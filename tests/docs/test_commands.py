"""Every command that a page shows after `$` exists."""

import re
import sys
from pathlib import Path

import pytest
import typer

sys.path.insert(0, str(Path(__file__).parent))
from pages import PAGES, ROOT, Block, blocks

from sideband.cli.main import app

WORDS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
COMMANDS = [
    pytest.param(block, command.strip(), id=f"{block}-{command.strip()[:40]}")
    for page in PAGES
    for block in blocks(page, "console")
    for command in re.findall(r"^[$#] ([^\n#]+)", block.text, re.MULTILINE)
]


@pytest.mark.parametrize(("block", "command"), COMMANDS)
def test_the_command_exists(block: Block, command: str) -> None:
    program, *words = command.split()
    if program == "make":
        assert {word for word in words if "=" not in word} <= WORDS
    elif program == "sideband":
        _check(typer.main.get_command(app), words)


def _check(command: object, words: list[str]) -> None:
    """Walk down the groups by the words, then look up the options in the command that they lead to."""
    for position, word in enumerate(words):
        if word.startswith("-") or not hasattr(command, "commands"):
            words = words[position:]
            break
        assert word in command.commands, f"{word} is not one of {sorted(command.commands)}"
        command = command.commands[word]
    else:
        words = []
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given <= known
