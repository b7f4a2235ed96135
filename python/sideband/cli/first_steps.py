"""What `sideband` alone says: what to do next on this machine."""

from __future__ import annotations

__all__ = ["first_steps"]

_NOTHING = """\
sideband connects two machines, end-to-end encrypted, through a relay that sees ciphertext only.

See it work here, with nothing set up:
  sideband demo

Set up a relay, and the first daemon and client:
  sideband serve                  a relay and control plane; it says the next commands

You were given a code, such as abcd-efgh-jkmn:
  sideband get CODE FILE          fetch a file
  sideband connect CODE           call methods and watch events
{api}
sideband --help lists all commands."""

_API = """  with --api URL, unless that server runs on this machine
"""

_DAEMON = """\
This machine can be a daemon: its API key is stored, for {api_url}.
  sideband daemon --share .       share this folder, and show a code to reach it with
  sideband identity               its fingerprint, for others to compare
"""

_USER = """\
A user's token is stored: daemons of the account can be reached by their ids, for {api_url}.
  sideband connect DAEMON         call methods and watch events
  sideband ls DAEMON              what it shares
  sideband pins                   the keys that are pinned here
"""

_MORE = "sideband --help lists all commands."


def first_steps() -> str:
    """Return what to do next, by what is configured.

    Raises:
        ConfigError: what is configured cannot be read.
    """
    from sideband.cli import config
    from sideband.cli.shown import shown

    kept = config.load_config()
    address = shown(config.api_url())
    told = [_DAEMON.format(api_url=address)] if kept.api_key else []
    if config.credentials_path().exists():
        told.append(_USER.format(api_url=address))
    return "\n".join([*told, _MORE]) if told else _NOTHING.format(api=_API)
