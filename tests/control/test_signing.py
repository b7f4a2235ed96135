"""Signing keys: sealed at rest, published before they sign and until their tokens are over."""

from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from sideband.control.plane import ControlPlane, open_store
from sideband.control.secrets import ServerSecret, private_text
from sideband.control.signing import EdDSARegistry, SigningKeys
from sideband.errors import ConfigError, StoreError
from sideband.jwks import LocalKeys
from sideband.relay.tokens import TokenVerifier


def kids(plane: ControlPlane) -> list[str]:
    return [key["kid"] for key in plane.keys.jwks()["keys"]]


def signer(plane: ControlPlane) -> str:
    token = plane.keys.sign({"typ": "JWT"}, {})
    return jwt.decode(token, KeySet.import_key_set(plane.keys.jwks()), registry=EdDSARegistry()).header["kid"]


async def test_the_first_start_makes_one_key(plane: ControlPlane) -> None:
    [published] = plane.keys.jwks()["keys"]
    assert set(published) == {"kty", "crv", "x", "kid", "alg", "use"}
    assert (published["kty"], published["crv"], published["alg"], published["use"]) == (
        "OKP",
        "Ed25519",
        "EdDSA",
        "sig",
    )


async def test_a_second_process_uses_the_same_key(plane: ControlPlane, secret: ServerSecret, clock: Any) -> None:
    other = SigningKeys(plane.database, secret, clock)
    await other.load()
    assert other.jwks() == plane.keys.jwks()


async def test_two_processes_that_start_at_once_make_one_key(
    database: Any, secret: ServerSecret, clock: Any, gather_all: Any
) -> None:
    both = [SigningKeys(database, secret, clock) for _ in range(2)]
    await gather_all(*(keys.load() for keys in both))
    assert both[0].jwks() == both[1].jwks()
    assert len(both[0].jwks()["keys"]) == 1


async def test_another_secret_does_not_open_the_keys(plane: ControlPlane, tmp_path: Path, clock: Any) -> None:
    stranger = SigningKeys(plane.database, ServerSecret.load(tmp_path / "other.key"), clock)
    with pytest.raises(StoreError, match=r"server\.key"):
        await stranger.load()


async def test_a_rotation_refuses_nobody(plane: ControlPlane, admin: Any, clock: Any) -> None:
    [old] = kids(plane)
    long_lived = plane.tokens.daemon_token("d_x", "dk_x", resume=False)
    new = (await admin().rotate_signing_key())["kid"]
    await plane.keys.refresh()
    assert set(kids(plane)) == {old, new}
    assert signer(plane) == old
    clock.advance(599)
    assert signer(plane) == old
    last_by_old = plane.tokens.daemon_token("d_x", "dk_x", resume=False)
    clock.advance(1)
    assert signer(plane) == new
    assert set(kids(plane)) == {old, new}
    verifier = TokenVerifier(plane.config.issuer, LocalKeys(plane.keys.jwks), clock=clock)
    assert (await verifier.verify(long_lived)).daemon_id == "d_x"
    clock.advance(3598)
    assert (await verifier.verify(last_by_old)).daemon_id == "d_x"
    clock.advance(302)
    assert kids(plane) == [new]


async def test_one_rotation_at_a_time(plane: ControlPlane, admin: Any, clock: Any) -> None:
    await admin().rotate_signing_key()
    with pytest.raises(ConfigError, match="under way"):
        await admin().rotate_signing_key()
    clock.advance(600 + 3600 + 300 + 1)
    await admin().rotate_signing_key()


async def test_a_key_that_leaked_goes_at_once(plane: ControlPlane, admin: Any) -> None:
    for _ in range(2):
        new = (await admin().rotate_signing_key(immediately=True))["kid"]
        await plane.keys.refresh()
        assert kids(plane) == [new]
        assert signer(plane) == new


async def test_signing_goes_on_without_the_store(plane: ControlPlane) -> None:
    await plane.database.close()
    assert signer(plane) in kids(plane)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "server.key"
    ServerSecret.load(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match="chmod 600"):
        ServerSecret.load(path)


@pytest.mark.parametrize("text", ["", "zz", "00" * 31, "00" * 33, "\u00e9"])
def test_a_damaged_secret_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "server.key"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(ConfigError):
        ServerSecret.load(path)
    assert path.read_text(encoding="utf-8") == text


def test_a_private_file_is_made_once_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert private_text(path, lambda: "one") == "one"
    assert private_text(path, lambda: "two") == "one"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_was_sealed_opens_with_its_context_only(tmp_path: Path) -> None:
    secret = ServerSecret.load(tmp_path / "server.key")
    sealed = secret.seal(b"key", "kid-1")
    assert secret.open(sealed, "kid-1") == b"key"
    with pytest.raises(StoreError):
        secret.open(sealed, "kid-2")
    with pytest.raises(StoreError):
        secret.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), "kid-1")
    with pytest.raises(StoreError):
        secret.open(b"", "kid-1")
    assert "key" not in repr(secret)


async def test_the_data_folder_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    database, _ = await open_store(folder)
    await database.close()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "server.key": 0o600,
        "sideband.db": 0o600,
    }


async def test_a_data_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="data folder"):
        await open_store(tmp_path / "file" / "data")
