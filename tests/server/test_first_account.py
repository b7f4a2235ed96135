"""The account that a new server begins with, where only its own machine can reach it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sideband.cloud import ControlPlane
from sideband.server.first_account import API_KEY_FILE, TOKEN_FILE, first_credentials, make_first_account


async def test_its_secrets_work_and_are_private(serve: Any, tmp_path: Path) -> None:
    server = await serve()
    folder = first_credentials(tmp_path / "data")
    assert folder is not None
    key, token = ((folder / name).read_text().strip() for name in (API_KEY_FILE, TOKEN_FILE))
    plane = ControlPlane(server.url)
    registered = await plane.register(key, bytes(range(32)))
    assert [daemon.id for daemon in await plane.list_accessible(token)] == [registered.daemon_id]
    if os.name == "posix":
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


async def test_another_start_makes_no_other(serve: Any, tmp_path: Path) -> None:
    server = await serve()
    folder = first_credentials(tmp_path / "data")
    assert folder is not None
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    await server.end()
    await serve()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


async def test_secrets_that_were_taken_away_are_not_made_again(serve: Any, tmp_path: Path) -> None:
    server = await serve()
    folder = first_credentials(tmp_path / "data")
    assert folder is not None
    await server.end()
    for path in folder.iterdir():
        path.unlink()
    await serve()
    assert list(folder.iterdir()) == []
    assert first_credentials(tmp_path / "data") is None


async def test_it_can_be_switched_off(serve: Any, tmp_path: Path) -> None:
    await serve(first_account=False)
    assert first_credentials(tmp_path / "data") is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "relay.example"])
async def test_a_server_that_others_can_reach_has_none(tmp_path: Path, host: str) -> None:
    # Before the store is looked at: a plane is not even needed to decide.
    await make_first_account(None, tmp_path, host)  # type: ignore[arg-type]  # see above
    assert first_credentials(tmp_path) is None
    assert list(tmp_path.iterdir()) == []
