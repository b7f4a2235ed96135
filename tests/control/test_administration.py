"""What must hold when several admins act at once."""

from collections.abc import Callable
from typing import Any

import pytest

from sideband.control.administration import Administration
from sideband.control.store import directory
from sideband.control.store.audit import list_audit
from sideband.control.store.signing_keys import all_signing_keys
from sideband.errors import ConfigError, NotFoundError


async def outcome(action: Any) -> str:
    try:
        await action
    except ConfigError:
        return "refused"
    return "done"


async def test_one_of_many_accounts_with_a_name_is_made(
    admin: Callable[[], Administration], database: Any, gather_all: Any
) -> None:
    outcomes = await gather_all(*(outcome(admin().create_account("home")) for _ in range(8)))
    assert sorted(outcomes) == ["done"] + ["refused"] * 7
    assert len(await database.reading(directory.list_accounts)) == 1


async def test_one_of_many_rotations_begins(plane: Any, admin: Callable[[], Administration], gather_all: Any) -> None:
    outcomes = await gather_all(*(outcome(admin().rotate_signing_key()) for _ in range(8)))
    assert sorted(outcomes) == ["done"] + ["refused"] * 7
    assert len(await plane.database.reading(all_signing_keys)) == 2


async def test_rotating_keys_at_once_leaves_at_least_one(
    admin: Callable[[], Administration], home: Any, database: Any, gather_all: Any
) -> None:
    await gather_all(*(admin().rotate_key(home.daemon) for _ in range(4)))
    keys = await database.reading(directory.list_keys)
    assert any(key["revoked_at"] is None for key in keys)
    assert next(key for key in keys if key["id"] == home.key_id)["revoked_at"] is not None


async def test_ids_go_before_names_and_doubtful_names_are_refused(admin: Callable[[], Administration]) -> None:
    await admin().create_account("home")
    first = await admin().create_daemon("home", name="nas")
    second = await admin().create_daemon("home", name="nas")
    with pytest.raises(NotFoundError, match="several"):
        await admin().kick_daemon("nas")
    third = await admin().create_daemon("home", name=first["id"])
    assert (await admin().kick_daemon(first["id"]))["id"] == first["id"]
    assert (await admin().kick_daemon(third["id"]))["id"] == third["id"]
    assert second["id"] != first["id"]


async def test_a_failed_action_leaves_nothing_not_even_a_record(
    admin: Callable[[], Administration], database: Any
) -> None:
    with pytest.raises(NotFoundError):
        await admin().create_user("me", accounts=["nowhere"])
    assert await database.reading(directory.list_users) == []
    assert await database.reading(list_audit) == []


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "a\x00b", "x" * 129, "\ud800"])
async def test_names_that_are_refused(admin: Callable[[], Administration], name: str) -> None:
    with pytest.raises(ConfigError, match="a name has"):
        await admin().create_account(name)
