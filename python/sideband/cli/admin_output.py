"""How admin commands print: tables for people, one JSON object a line for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sideband.cli.output import console, print_event

__all__ = ["print_made", "print_rows"]

_SECRETS = ("apiKey", "token")


def print_made(event: str, made: Mapping[str, Any], json_output: bool) -> None:
    """Print the result of one action; a secret in it is shown this once."""
    if json_output:
        print_event("ready", done=event, **made)
        return
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in made.items():
        table.add_row(name, _text(name, value))
    terminal = console()
    terminal.print(table, soft_wrap=True)
    if any(name in made for name in _SECRETS):
        terminal.print("Keep the secret now: it is not shown again.")


def print_rows(event: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], json_output: bool) -> None:
    """Print a list: a table of `columns`, or with `--json` every field of every row."""
    if json_output:
        print_event("ready", entries=len(rows))
        for row in rows:
            print_event(event, **{name: _plain(value) for name, value in row.items()})
        return
    from rich.table import Table

    table = Table(box=None)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(_text(column, row.get(column)) for column in columns))
    console().print(table)


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if (name == "at" or name.endswith(("_at", "At", "since", "_from"))) and isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, bytes):
        return value.hex()
    return json.dumps(value) if isinstance(value, dict) else str(value)
