"""The store that admin commands work on: that of a data folder, whether its server runs or not."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from sideband.control.administration import Administration
    from sideband.control.store import Database

__all__ = ["Config", "DataDir", "Json", "now", "with_administration", "with_store"]

DataDir = Annotated[Path | None, typer.Option("--data-dir", metavar="DIR", help="The server's data folder.")]
Config = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The server's TOML file.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]

_T = TypeVar("_T")


def now() -> int:
    """Return the time in milliseconds."""
    return int(time.time() * 1000)


def with_administration(
    config: Path | None, data_dir: Path | None, action: Callable[[Administration], Awaitable[_T]]
) -> _T:
    """Run one admin action on the store and return its result.

    Raises:
        ConfigError, NotFoundError, StoreError: as the action and the store do.
    """
    from sideband.control.administration import Administration
    from sideband.control.plane import open_store
    from sideband.server.settings import load_settings

    async def run() -> _T:
        settings = load_settings(config, {"data_dir": data_dir})
        database, secret = await open_store(settings.data_dir, settings.store_url())
        try:
            return await action(Administration(database, secret, actor=f"cli:{getpass.getuser()}", now=now()))
        finally:
            await database.close()

    return asyncio.run(run())


def with_store(config: Path | None, data_dir: Path | None, action: Callable[[Database], Awaitable[_T]]) -> _T:
    """Run one reading action on the store and return its result."""

    async def read(administration: Administration) -> _T:
        return await action(administration.database)

    return with_administration(config, data_dir, read)
