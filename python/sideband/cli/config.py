"""What the command line keeps, and which of several places a setting or a secret comes from.

The folder of configuration holds `config.json` (address, API key, ICE servers), `credentials.json` (a user's token),
`identity.json` and `pins/`. State and cache are in folders of their own. `SIDEBAND_HOME` puts all three in one place.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sideband.cli.blocking_streams import waiting_for_input
from sideband.errors import ConfigError, IdentityStoreError

__all__ = [
    "Config",
    "api_key",
    "api_url",
    "cache_folder",
    "config_path",
    "credentials_path",
    "identity_path",
    "load_config",
    "pins_folder",
    "read_secret",
    "save_config",
    "save_token",
    "state_folder",
    "user_token",
]

VERSION = 1
_CONFIG_KIND = "sideband-config"
_CREDENTIALS_KIND = "sideband-credentials"
_MAX_SECRET_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Config:
    """What `config.json` holds.

    Attributes:
        api_url: the control plane's address; None means nothing was chosen.
        api_key: the daemon's key, as `sideband init` stored it. Not shown in `repr`.
        ice_servers: STUN and TURN servers for direct sessions, as they stand there. Not shown in `repr`.
        host_candidates: whether direct sessions tell the other side this machine's addresses.
    """

    api_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    ice_servers: Any = field(default_factory=list, repr=False)
    host_candidates: bool = True


def config_path() -> Path:
    """Where the address and the API key are kept."""
    return _home() / "config.json"


def credentials_path() -> Path:
    """Where a user's token is kept."""
    return _home() / "credentials.json"


def identity_path() -> Path:
    """Where the daemon's identity key is kept."""
    return _home() / "identity.json"


def pins_folder() -> Path:
    """Where the keys of daemons are pinned."""
    return _home() / "pins"


def state_folder() -> Path:
    """Where state is kept that a backup may leave out, such as of transfers that were interrupted."""
    return _folder("state", "user_state_path")


def cache_folder() -> Path:
    """Where things are kept that can be made again."""
    return _folder("cache", "user_cache_path")


def load_config() -> Config:
    """Return what was configured; nothing where there is no file.

    Raises:
        ConfigError: the file is broken, of a newer version, or open to others.
    """
    return _config(_load(config_path(), _CONFIG_KIND))


def save_config(*, api_url: str | None, api_key: str | None) -> Path:
    """Store an address and an API key, each unless None, in one step with mode 0600; return where.

    Raises:
        ConfigError: the file that is there cannot be read, or none can be written.
    """
    fields = _load(config_path(), _CONFIG_KIND)
    _config(fields)
    given = {"api_url": api_url, "api_key": api_key}
    return _save(config_path(), _CONFIG_KIND, fields | {name: value for name, value in given.items() if value})


def save_token(token: str) -> Path:
    """Store a user's token in one step with mode 0600; return where.

    Raises:
        ConfigError: the file cannot be written.
    """
    return _save(credentials_path(), _CREDENTIALS_KIND, {"token": token})


def api_url(given: str | None = None) -> str:
    """Return the control plane's address: `given`, `SIDEBAND_API_URL`, `config.json`, http://127.0.0.1:8080.

    Raises:
        ConfigError: `config.json` cannot be read.
    """
    from sideband.cloud.defaults import DEFAULT_API_URL

    return given or os.environ.get("SIDEBAND_API_URL") or load_config().api_url or DEFAULT_API_URL


def api_key(file: Path | None = None) -> str:
    """Return the daemon's API key: of `file` (`-` is standard input), `SIDEBAND_API_KEY`, `config.json`.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    if file is not None:
        return read_secret(file, "the API key")
    key = os.environ.get("SIDEBAND_API_KEY", "").strip() or load_config().api_key
    if not key:
        raise ConfigError(
            "there is no API key yet: `sideband init --api-key-file FILE` stores one, or set SIDEBAND_API_KEY; "
            "`sideband serve` says where the first one is, `sideband admin daemon create ACCOUNT` makes more"
        )
    return key


def user_token(file: Path | None = None) -> str:
    """Return the user's token: of `file` (`-` is standard input), `SIDEBAND_TOKEN`, `credentials.json`.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    if file is not None:
        return read_secret(file, "the token")
    token = os.environ.get("SIDEBAND_TOKEN", "").strip()
    token = token or _text(credentials_path(), _load(credentials_path(), _CREDENTIALS_KIND), "token") or ""
    if not token:
        raise ConfigError(
            "a daemon's id needs a user's token: `sideband login --token-file FILE` stores one, or set SIDEBAND_TOKEN; "
            "a Quick Connect code needs none"
        )
    return token


def read_secret(file: Path, what: str) -> str:
    """Return the first line of `file`, or of standard input for `-`; at a terminal it is asked for, and not shown.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    try:
        if str(file) == "-":
            with waiting_for_input():
                secret = _typed(what) if sys.stdin.isatty() else sys.stdin.readline(_MAX_SECRET_BYTES).strip()
        else:
            with waiting_for_input(), file.open(encoding="utf-8") as opened:
                secret = opened.readline(_MAX_SECRET_BYTES).strip()
    except OSError as error:
        raise ConfigError(f"{what} cannot be read from {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{what} cannot be read from {file}: it is no text") from None
    if not secret:
        raise ConfigError(f"{what} was to be read from {file}, and there is nothing in its first line")
    return secret


def _typed(what: str) -> str:
    import getpass

    try:
        return getpass.getpass(f"{what} (not shown): ", stream=sys.stderr).strip()
    except EOFError:
        return ""


def _home() -> Path:
    from sideband.cloud.defaults import default_home

    return default_home()


def _folder(name: str, of_platform: str) -> Path:
    home = os.environ.get("SIDEBAND_HOME")
    if home:
        return Path(home) / name
    import platformdirs

    path: Path = getattr(platformdirs, of_platform)("sideband")
    return path


def _load(path: Path, kind: str) -> dict[str, Any]:
    from sideband.identity.private_file import read_private

    try:
        content = read_private(path)
    except IdentityStoreError as error:
        raise ConfigError(str(error)) from None
    if content is None:
        return {}
    # `from None`: the context of a parse error would carry the secrets.
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError):
        raise _broken(path, "it is no JSON") from None
    if not isinstance(fields, dict) or fields.get("kind") != kind:
        raise _broken(path, f"its kind is not {kind}")
    if fields.get("v") != VERSION:
        raise ConfigError(f"{path} is of another version than {VERSION}; use the release that wrote it, or remove it")
    return fields


def _config(fields: dict[str, Any]) -> Config:
    path = config_path()
    host_candidates = fields.get("host_candidates", True)
    if not isinstance(host_candidates, bool):
        raise _broken(path, "host_candidates is neither true nor false")
    return Config(
        _text(path, fields, "api_url"),
        _text(path, fields, "api_key"),
        fields.get("ice_servers", []),
        host_candidates,
    )


def _text(path: Path, fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise _broken(path, f"{name} is no text")
    return value


def _save(path: Path, kind: str, fields: dict[str, Any]) -> Path:
    from sideband.identity.private_file import replace_private

    try:
        replace_private(path, json.dumps({"v": VERSION, "kind": kind} | fields, indent=1).encode() + b"\n")
    except IdentityStoreError as error:
        raise ConfigError(str(error)) from None
    return path


def _broken(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} is broken: {why}; remove it and run `sideband init` or `sideband login` again")
