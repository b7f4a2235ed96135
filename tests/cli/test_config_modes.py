"""Who may read what the command line keeps, on systems where files have modes."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from sideband.cli import config
from sideband.errors import ConfigError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SIDEBAND_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SIDEBAND_API_KEY", raising=False)
    return tmp_path / "home"


def test_files_are_for_their_owner_alone(home: Path) -> None:
    for path in (config.save_config(api_url=None, api_key="key"), config.save_token("token")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {path.name for path in home.iterdir()} == {"config.json", "credentials.json"}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_can_open_is_refused_with_the_command_that_closes_it(mode: int) -> None:
    path = config.save_config(api_url=None, api_key="key")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"chmod 600 {path}"):
        config.load_config()
    path.chmod(0o600)
    assert config.api_key() == "key"
