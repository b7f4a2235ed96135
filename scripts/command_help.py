"""Write the help texts of all commands to docs/guide/commands.md: `python scripts/command_help.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from sideband.cli.main import app

PAGE = Path(__file__).parents[1] / "docs/guide/commands.md"
COLUMNS = 80

_HEAD = """\
# All commands

What `--help` says of each, written by `python scripts/command_help.py`; a test compares. [The command line](cli.md)
tells how they are used.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(f"## {name}\n\n```text\n{text}\n```\n" for name, text in help_texts())])


def help_texts() -> Iterator[tuple[str, str]]:
    """Yield each command's name with all its words, and its help text at the page's width."""
    yield from _below(typer.main.get_command(app), "sideband", None)


def _below(command: Any, name: str, parent: Any) -> Iterator[tuple[str, str]]:
    context = command.make_context(name, [], parent=parent, resilient_parsing=True, terminal_width=COLUMNS)
    text = command.get_help(context)
    yield context.command_path, "\n".join(line.rstrip() for line in text.strip().splitlines())
    for word, nested in getattr(command, "commands", {}).items():
        if not nested.hidden:
            yield from _below(nested, word, context)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
