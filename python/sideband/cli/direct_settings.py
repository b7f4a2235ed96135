"""Which servers and addresses direct sessions may use: options, the environment, or what `config.json` holds."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sideband.cli.config import config_path, load_config
from sideband.errors import ConfigError, IdentityStoreError

if TYPE_CHECKING:
    from sideband.direct import DirectPolicy, IceServer

__all__ = ["direct_policy"]

ICE_SERVERS = "SIDEBAND_ICE_SERVERS"
HOST_CANDIDATES = "SIDEBAND_HOST_CANDIDATES"
_FIELDS = {"url", "username", "credential"}
_SWITCH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def direct_policy(
    mode: Literal["prefer", "require", "forbid"],
    ice_servers: Sequence[str] | None = None,
    host_candidates: bool | None = None,
) -> DirectPolicy:
    """Return what a command's sessions may do besides using the relay.

    ICE servers come from the options, else from `SIDEBAND_ICE_SERVERS` (URLs with spaces between them, a JSON list as
    in `config.json`, or the absolute path of a file of mode 0600 with one), else from `ice_servers` in `config.json`;
    whether this machine's addresses are told from the option, `SIDEBAND_HOST_CANDIDATES` (yes or no), or
    `host_candidates`.

    Args:
        mode: whether a direct way is wanted.
        ice_servers: of the options, STUN servers only: a credential does not belong on a command line.
        host_candidates: of the options.

    Raises:
        ConfigError: a setting is none; the message holds no credential.
    """
    from sideband.direct import DirectPolicy

    return DirectPolicy(
        mode=mode,
        ice_servers=_ice_servers(ice_servers),
        host_candidates=_host_candidates() if host_candidates is None else host_candidates,
    )


def _ice_servers(options: Sequence[str] | None) -> tuple[IceServer, ...]:
    if options:
        return _on_command_line(options)
    given = os.environ.get(ICE_SERVERS, "").strip()
    if not given:
        return _servers(load_config().ice_servers, f"ice_servers in {config_path()}")
    if Path(given).is_absolute():
        return _parsed(_content(Path(given)), f"the file that {ICE_SERVERS} names")
    if given.startswith("["):
        return _parsed(given, ICE_SERVERS)
    return _servers([{"url": url} for url in given.split()], ICE_SERVERS)


def _on_command_line(urls: Sequence[str]) -> tuple[IceServer, ...]:
    if any(url.startswith(("turn:", "turns:")) for url in urls):
        raise ConfigError(
            "--ice-server takes STUN servers, stun:HOST:PORT; a TURN server and its credential, which do not belong on "
            f"a command line, stand in {config_path()} or {ICE_SERVERS}"
        )
    return _servers([{"url": url} for url in urls], "--ice-server")


def _content(path: Path) -> bytes:
    from sideband.identity.private_file import read_private

    try:
        content = read_private(path)
    except IdentityStoreError as error:
        raise ConfigError(f"{ICE_SERVERS}: {error}") from None
    if content is None:
        raise ConfigError(f"{ICE_SERVERS} names a file that is not there: {path}")
    return content


def _parsed(text: str | bytes, where: str) -> tuple[IceServer, ...]:
    # `from None`: the context of a parse error would carry the credentials.
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(f"{where} is no JSON list") from None
    return _servers(told, where)


def _servers(told: Any, where: str) -> tuple[IceServer, ...]:
    from sideband.direct import IceServer

    if not isinstance(told, list) or not all(isinstance(one, dict) for one in told):
        raise ConfigError(f'{where} is no list of objects such as {{"url": "stun:stun.example:3478"}}')
    for one in told:
        if not set(one) <= _FIELDS or not all(isinstance(value, str) for value in one.values()) or "url" not in one:
            raise ConfigError(
                f"{where}: a server has a url, and for TURN a username and a credential, all of them texts"
            )
    try:
        return tuple(IceServer(**one) for one in told)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _host_candidates() -> bool:
    given = os.environ.get(HOST_CANDIDATES, "").strip().lower()
    if not given:
        return load_config().host_candidates
    if given not in _SWITCH:
        raise ConfigError(f"{HOST_CANDIDATES} is yes or no; got {given!r}")
    return _SWITCH[given]
