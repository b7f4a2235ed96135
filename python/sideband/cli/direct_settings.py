"""Which servers and addresses direct sessions may use: `SIDEBAND_ICE_SERVERS`, or what `config.json` holds."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Literal

from sideband.cli.config import config_path, load_config
from sideband.errors import ConfigError

if TYPE_CHECKING:
    from sideband.direct import DirectPolicy, IceServer

__all__ = ["direct_policy"]

ICE_SERVERS = "SIDEBAND_ICE_SERVERS"
HOST_CANDIDATES = "SIDEBAND_HOST_CANDIDATES"
_FIELDS = {"url", "username", "credential"}
_SWITCH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def direct_policy(mode: Literal["prefer", "require", "forbid"]) -> DirectPolicy:
    """Return what a command's sessions may do besides using the relay.

    ICE servers come from `SIDEBAND_ICE_SERVERS` (URLs with spaces between them, or a JSON list as in `config.json`),
    else from `ice_servers` in `config.json`; whether this machine's addresses are told from
    `SIDEBAND_HOST_CANDIDATES` (yes or no), else from `host_candidates`.

    Args:
        mode: whether a direct way is wanted.

    Raises:
        ConfigError: a setting is none; the message holds no credential.
    """
    from sideband.direct import DirectPolicy

    return DirectPolicy(mode=mode, ice_servers=_ice_servers(), host_candidates=_host_candidates())


def _ice_servers() -> tuple[IceServer, ...]:
    given = os.environ.get(ICE_SERVERS, "").strip()
    if not given:
        return _servers(load_config().ice_servers, f"ice_servers in {config_path()}")
    if not given.startswith("["):
        return _servers([{"url": url} for url in given.split()], ICE_SERVERS)
    # `from None`: the context of a parse error would carry the credentials.
    try:
        told = json.loads(given)
    except (ValueError, RecursionError):
        raise ConfigError(f"{ICE_SERVERS} begins like a JSON list and is none") from None
    return _servers(told, ICE_SERVERS)


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
