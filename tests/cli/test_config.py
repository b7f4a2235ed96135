"""What the command line keeps: where, how, and which of several places counts."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from sideband.cli import config
from sideband.errors import ConfigError

posix_only = pytest.mark.skipif(os.name != "posix", reason="file modes mean nothing on Windows")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SIDEBAND_API_URL", "SIDEBAND_API_KEY", "SIDEBAND_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SIDEBAND_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_an_address_is_that_of_the_flag_the_environment_the_file_or_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert config.api_url() == "http://127.0.0.1:8080"
    config.save_config(api_url="https://of.file", api_key=None)
    assert config.api_url() == "https://of.file"
    monkeypatch.setenv("SIDEBAND_API_URL", "https://of.environment")
    assert config.api_url() == "https://of.environment"
    assert config.api_url("https://of.flag") == "https://of.flag"


def test_a_key_is_that_of_the_file_named_the_environment_or_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="sideband init --api-key-file"):
        config.api_key()
    config.save_config(api_url=None, api_key="of-config")
    assert config.api_key() == "of-config"
    monkeypatch.setenv("SIDEBAND_API_KEY", "of-environment\n")
    assert config.api_key() == "of-environment"
    (tmp_path / "key").write_text("of-file\nand more\n")
    assert config.api_key(tmp_path / "key") == "of-file"


def test_a_token_is_that_of_the_file_named_the_environment_or_the_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="sideband login --token-file"):
        config.user_token()
    config.save_token("of-credentials")
    assert config.user_token() == "of-credentials"
    monkeypatch.setenv("SIDEBAND_TOKEN", "of-environment")
    assert config.user_token() == "of-environment"
    monkeypatch.setattr("sys.stdin", io.StringIO("of-standard-input\n"))
    assert config.user_token(Path("-")) == "of-standard-input"


def test_saving_one_thing_leaves_the_other(home: Path) -> None:
    config.save_config(api_url="https://here", api_key=None)
    config.save_config(api_url=None, api_key="key")
    assert config.load_config() == config.Config("https://here", "key")
    assert "key" not in repr(config.load_config())
    kept = json.loads((home / "config.json").read_bytes())
    assert kept == {"v": 1, "kind": "sideband-config", "api_url": "https://here", "api_key": "key"}


@posix_only
def test_files_are_private_and_stay_so(home: Path) -> None:
    for path in (config.save_config(api_url=None, api_key="key"), config.save_token("token")):
        assert path.stat().st_mode & 0o777 == 0o600
        path.chmod(0o640)
    assert home.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigError, match=r"chmod 600 .*config\.json"):
        config.load_config()
    with pytest.raises(ConfigError, match=r"chmod 600 .*credentials\.json"):
        config.user_token()
    with pytest.raises(ConfigError):
        config.save_config(api_url=None, api_key="another")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"v": 1, "kind": "sideband-config", "api_key": "hal',
        b"\xff\xfe",
        b"[]",
        b'{"v": 1, "kind": "sideband-credentials", "token": "x"}',
        b'{"v": 2, "kind": "sideband-config"}',
        b'{"v": 1, "kind": "sideband-config", "api_key": 7}',
        b'{"v": 1, "kind": "sideband-config", "api_url": ""}',
    ],
    ids=["empty", "half written", "no text", "a list", "another kind", "newer", "no text as key", "empty address"],
)
def test_a_broken_file_is_told_and_left_alone(home: Path, content: bytes) -> None:
    config.save_config(api_url=None, api_key="key")
    (home / "config.json").write_bytes(content)
    for act in (config.load_config, config.api_key, config.api_url):
        with pytest.raises(ConfigError, match=r"config\.json") as told:
            act()
        assert "hal" not in str(told.value)
    with pytest.raises(ConfigError):
        config.save_config(api_url="https://x", api_key=None)
    assert (home / "config.json").read_bytes() == content


def test_a_secret_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config.read_secret(tmp_path / "missing", "the key")
    (tmp_path / "empty").write_text("\nsecond line\n")
    with pytest.raises(ConfigError, match="nothing in its first line"):
        config.read_secret(tmp_path / "empty", "the key")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\n")
    with pytest.raises(ConfigError, match="no text"):
        config.read_secret(tmp_path / "bytes", "the key")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(ConfigError):
        config.read_secret(Path("-"), "the key")


def test_folders_are_apart(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {config.state_folder(), config.cache_folder()} == {home / "state", home / "cache"}
    monkeypatch.delenv("SIDEBAND_HOME")
    assert len({config.config_path().parent, config.state_folder(), config.cache_folder()}) == 3
