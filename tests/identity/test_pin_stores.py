from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keyring.backend import KeyringBackend
from keyring.errors import KeyringLocked, PasswordDeleteError

from sideband.errors import ConfigError, IdentityStoreError
from sideband.identity import (
    FileIdentityKeyStore,
    IdentityKeyStore,
    KeyringIdentityKeyStore,
    MemoryIdentityKeyStore,
    SqliteIdentityKeyStore,
)

KEY = bytes(range(32))
OTHER = bytes(range(1, 33))
HOSTILE_IDS = [
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "C:\\x",
    "CON",
    "nul.txt",
    ".hidden",
    "a.",
    " ",
    "a'; DROP TABLE pins; --",
    "%00",
    "é",
    "e\u0301",
    "😀",
    "x" * 255,
    "机" * 85,
]


class FileKeyring(KeyringBackend):
    """A working keyring over one file, as keyring's own interface asks."""

    priority = 1

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.locked = False

    def _load(self) -> dict[str, str]:
        if self.locked:
            raise KeyringLocked("locked by its user")
        return json.loads(self.path.read_text()) if self.path.exists() else {}

    def get_password(self, service: str, username: str) -> str | None:
        return self._load().get(f"{service}\n{username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self.path.write_text(json.dumps(self._load() | {f"{service}\n{username}": password}))

    def delete_password(self, service: str, username: str) -> None:
        entries = self._load()
        if entries.pop(f"{service}\n{username}", None) is None:
            raise PasswordDeleteError("not found")
        self.path.write_text(json.dumps(entries))


Opener = Callable[[], Any]


@pytest.fixture(params=["memory", "file", "sqlite", "keyring"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the same pins again, as a second process would."""
    if request.param == "memory":
        store = MemoryIdentityKeyStore()
        return lambda: store
    return {
        "file": lambda: FileIdentityKeyStore(tmp_path / "pins"),
        "sqlite": lambda: SqliteIdentityKeyStore(tmp_path / "deep" / "pins.db"),
        "keyring": lambda: KeyringIdentityKeyStore(backend=FileKeyring(tmp_path / "keyring.json")),
    }[request.param]


async def test_a_pin_lasts_until_replaced_or_deleted(reopen: Opener) -> None:
    assert isinstance(reopen(), IdentityKeyStore)
    assert await reopen().get("d_one") is None
    await reopen().set("d_one", KEY)
    await reopen().set("d_two", OTHER)
    assert await reopen().get("d_one") == KEY
    await reopen().set("d_one", OTHER)
    assert await reopen().get("d_one") == OTHER
    await reopen().delete("d_one")
    await reopen().delete("d_one")
    assert await reopen().get("d_one") is None
    assert await reopen().get("d_two") == OTHER


async def test_ids_never_meet_and_never_leave(reopen: Opener, tmp_path: Path) -> None:
    outside = set(tmp_path.parent.iterdir())
    ids = [*HOSTILE_IDS, "abc", "ABC", "Abc"]
    keys = {daemon_id: bytes([index]) * 32 for index, daemon_id in enumerate(ids)}
    store = reopen()
    for daemon_id, key in keys.items():
        await store.set(daemon_id, key)
    for daemon_id, key in keys.items():
        assert await reopen().get(daemon_id) == key
    if hasattr(store, "entries"):
        assert await reopen().entries() == keys
    assert set(tmp_path.parent.iterdir()) == outside


@pytest.mark.parametrize("daemon_id", ["", "a" * 256, "a\x00b", "\ud800"])
async def test_refuses_what_is_no_daemon_id(reopen: Opener, daemon_id: str) -> None:
    with pytest.raises(ConfigError):
        await reopen().get(daemon_id)
    with pytest.raises(ConfigError):
        await reopen().set(daemon_id, KEY)
    with pytest.raises(ConfigError):
        await reopen().delete(daemon_id)


@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"x", "k" * 32])
async def test_refuses_what_is_no_key(reopen: Opener, key: Any) -> None:
    with pytest.raises(IdentityStoreError, match=r"32 bytes|is bytes"):
        await reopen().set("d", key)
    assert await reopen().get("d") is None


async def test_takes_any_bytes_like_key_and_keeps_its_own_copy(reopen: Opener) -> None:
    key = bytearray(KEY)
    await reopen().set("d", key)
    key[0] ^= 0xFF
    assert await reopen().get("d") == KEY


def test_memory_checks_the_pins_it_begins_with() -> None:
    with pytest.raises(IdentityStoreError):
        MemoryIdentityKeyStore({"d": b"short"})


async def test_file_names_are_digests_in_private_files(tmp_path: Path) -> None:
    store = FileIdentityKeyStore(tmp_path / "pins")
    await store.set("../../x", KEY)
    (path,) = (tmp_path / "pins").iterdir()
    assert path.suffix == ".pin"
    assert len(path.stem) == 64
    assert json.loads(path.read_text())["daemon_id"] == "../../x"
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o600


async def test_file_refuses_a_pin_moved_from_another_daemon(tmp_path: Path) -> None:
    store = FileIdentityKeyStore(tmp_path)
    await store.set("one", KEY)
    (one,) = tmp_path.iterdir()
    await store.set("two", OTHER)
    (two,) = set(tmp_path.iterdir()) - {one}
    one.replace(two)
    with pytest.raises(IdentityStoreError, match="another daemon"):
        await store.get("two")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"v":1}',
        '{"v":2,"daemon_id":"d","identity_key":""}',
        '{"v":1,"daemon_id":"d","identity_key":"AA=="}',
    ],
)
async def test_file_never_takes_damage_for_a_first_contact(tmp_path: Path, content: str) -> None:
    store = FileIdentityKeyStore(tmp_path)
    await store.set("d", KEY)
    (path,) = tmp_path.iterdir()
    path.write_text(content)
    with pytest.raises(IdentityStoreError):
        await store.get("d")


@pytest.mark.skipif(os.name != "posix", reason="file modes mean nothing on Windows")
async def test_file_and_sqlite_refuse_pins_that_others_could_change(tmp_path: Path) -> None:
    files = FileIdentityKeyStore(tmp_path / "pins")
    await files.set("d", KEY)
    (path,) = (tmp_path / "pins").iterdir()
    path.chmod(0o666)
    with pytest.raises(IdentityStoreError, match="chmod 600"):
        await files.get("d")
    database = SqliteIdentityKeyStore(tmp_path / "pins.db")
    await database.set("d", KEY)
    (tmp_path / "pins.db").chmod(0o664)
    with pytest.raises(IdentityStoreError, match="chmod 600"):
        await database.get("d")


async def test_sqlite_refuses_a_newer_version_and_a_foreign_file(tmp_path: Path) -> None:
    path = tmp_path / "pins.db"
    store = SqliteIdentityKeyStore(path)
    await store.set("d", KEY)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA user_version = 2")
    with pytest.raises(IdentityStoreError, match="version 2"):
        await store.get("d")
    path.write_bytes(b"no database at all, but long enough to be looked at" * 4)
    with pytest.raises(IdentityStoreError, match="failed"):
        await store.get("d")


async def test_sqlite_waits_for_another_writer_only_so_long(tmp_path: Path) -> None:
    store = SqliteIdentityKeyStore(tmp_path / "pins.db", busy_timeout=0.01)
    await store.set("d", KEY)
    with closing(sqlite3.connect(tmp_path / "pins.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(IdentityStoreError, match="locked"):
            await store.set("d", OTHER)
    assert await store.get("d") == KEY


async def test_sqlite_refuses_a_pin_of_a_wrong_size(tmp_path: Path) -> None:
    store = SqliteIdentityKeyStore(tmp_path / "pins.db")
    await store.set("d", KEY)
    for value in (b"short", "text", 7):
        with closing(sqlite3.connect(tmp_path / "pins.db")) as connection, connection:
            connection.execute("UPDATE pins SET identity_key = ?", (value,))
        with pytest.raises(IdentityStoreError):
            await store.get("d")


async def test_keyring_that_is_locked_is_an_error_not_a_first_contact(tmp_path: Path) -> None:
    backend = FileKeyring(tmp_path / "keyring.json")
    store = KeyringIdentityKeyStore(backend=backend)
    await store.set("d", KEY)
    backend.locked = True
    for call in (store.get("d"), store.set("d", OTHER), store.delete("d")):
        with pytest.raises(IdentityStoreError, match="unlock it"):
            await call
    backend.locked = False
    assert await store.get("d") == KEY


async def test_keyring_refuses_an_entry_of_another_daemon(tmp_path: Path) -> None:
    backend = FileKeyring(tmp_path / "keyring.json")
    store = KeyringIdentityKeyStore(backend=backend)
    await store.set("one", KEY)
    await store.set("two", OTHER)
    entries = json.loads(backend.path.read_text())
    first, second = entries
    backend.path.write_text(json.dumps({first: entries[second], second: entries[first]}))
    with pytest.raises(IdentityStoreError, match="another daemon"):
        await store.get("one")


def test_keyring_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "keyring", None)
    with pytest.raises(ConfigError, match=r"pip install 'sideband\[keyring\]'"):
        KeyringIdentityKeyStore()


ids = st.text(min_size=1, max_size=60).filter(
    lambda text: not any(ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000 for c in text)
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pins=st.dictionaries(ids, st.binary(min_size=32, max_size=32), max_size=5))
async def test_stores_agree_with_a_dictionary(tmp_path_factory: pytest.TempPathFactory, pins: dict[str, bytes]) -> None:
    folder = tmp_path_factory.mktemp("pins")
    for store in (FileIdentityKeyStore(folder / "files"), SqliteIdentityKeyStore(folder / "pins.db")):
        for daemon_id, key in pins.items():
            await store.set(daemon_id, key)
        assert await store.entries() == pins
