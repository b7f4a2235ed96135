from __future__ import annotations

import asyncio
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sideband.errors import IdentityStoreError
from sideband.identity import FileIdentity, compute_fingerprint, generate_identity_key_pair

posix = os.name == "posix"


def test_makes_the_key_once_and_loads_it_after(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "identity.json"
    made = FileIdentity(path)
    loaded = FileIdentity(str(path))
    assert made.created
    assert not loaded.created
    assert loaded.public_key == made.public_key
    assert loaded.fingerprint == compute_fingerprint(made.public_key)
    assert list(path.parent.iterdir()) == [path], "no draft stays behind"
    if posix:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_shows_no_private_key(tmp_path: Path) -> None:
    identity = FileIdentity(tmp_path / "identity.json")
    secret = json.loads((tmp_path / "identity.json").read_text())["private_key"]
    assert secret not in repr(identity)
    assert secret not in repr(identity.key_pair)
    assert identity.fingerprint in repr(identity)


@pytest.mark.skipif(not posix, reason="file modes mean nothing on Windows")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o666, 0o601])
def test_refuses_a_file_that_others_can_touch(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity.json"
    FileIdentity(path)
    path.chmod(mode)
    with pytest.raises(IdentityStoreError, match="chmod 600"):
        FileIdentity(path)
    path.chmod(0o400)
    assert not FileIdentity(path).created


@pytest.mark.skipif(not posix, reason="file owners mean nothing on Windows")
def test_refuses_a_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "identity.json"
    FileIdentity(path)
    fields = list(path.stat())
    fields[stat.ST_UID] = 12345
    monkeypatch.setattr(os, "fstat", lambda _: os.stat_result(fields))
    with pytest.raises(IdentityStoreError, match="belongs to user 12345"):
        FileIdentity(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "else"}, "kind"),
        ({"v": 2}, "version 2"),
        ({"v": None}, "version None"),
        ({"private_key": None}, "private_key"),
        ({"private_key": "AAAA"}, "private_key is not 32 bytes"),
        ({"private_key": "!"}, "not base64"),
        ({"public_key": "A" * 43 + "="}, "do not belong together"),
    ],
)
def test_refuses_a_damaged_file_without_touching_it(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    path = tmp_path / "identity.json"
    FileIdentity(path)
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | change))
    before = path.read_bytes()
    with pytest.raises(IdentityStoreError, match=complaint) as caught:
        FileIdentity(path)
    assert path.read_bytes() == before
    assert fields["private_key"] not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"x" * 70_000])
def test_refuses_what_is_no_identity_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityStoreError):
        FileIdentity(path)
    assert path.read_bytes() == content


def test_refuses_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(IdentityStoreError):
        FileIdentity(tmp_path)


@pytest.mark.skipif(not posix, reason="FIFOs are of POSIX")
def test_refuses_a_fifo_at_once(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    os.mkfifo(path, 0o600)
    with pytest.raises(IdentityStoreError, match="regular file"):
        FileIdentity(path)


def test_rotate_replaces_the_key_and_gives_the_old_pair(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    identity = FileIdentity(path)
    first = identity.public_key
    old = identity.rotate()
    assert old.public_key == first
    assert identity.public_key != first
    assert FileIdentity(path).public_key == identity.public_key


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "identity.json"
    program = (
        "import sys; from sideband.identity import FileIdentity; sys.stdin.read(); "
        "i = FileIdentity(sys.argv[1]); print(i.fingerprint, i.created)"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
        child.stdin = None
    answers = [child.communicate(timeout=60)[0].split() for child in children]
    assert len({fingerprint for fingerprint, _ in answers}) == 1
    assert [created for _, created in answers].count("True") == 1
    assert list(tmp_path.iterdir()) == [path]


async def test_generate_gives_a_new_pair_each_time() -> None:
    pairs = await asyncio.gather(*(asyncio.to_thread(generate_identity_key_pair) for _ in range(4)))
    assert len({pair.public_key for pair in pairs}) == 4
