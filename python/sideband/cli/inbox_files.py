"""What `sideband inbox` keeps in the folder `inbox` of the configuration, each file in one step and with mode 0600.

`identity.json` signs requests, `envelope.json` opens messages, `inbox.json` names the server and the address,
`pins.json` holds the keys of those who were written to, `cursors.json` how far messages were handled.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from sideband._native import compute_fingerprint
from sideband.cli import config
from sideband.errors import ConfigError, IdentityRefusedError, IdentityStoreError
from sideband.identity import FileIdentity
from sideband.identity.private_file import read_private, replace_private
from sideband.inbox.envelopes import EnvelopeKeyPair

__all__ = ["InboxFiles"]


class InboxFiles:
    """The folder.

    Raises:
        ConfigError: of every method: a file is broken, open to others, or cannot be written.
    """

    def __init__(self) -> None:
        self._folder = config.config_path().parent / "inbox"

    def identity(self) -> FileIdentity:
        """Return the identity that owns the address; made on first use."""
        return FileIdentity(self._folder / "identity.json")

    def envelope_key(self) -> EnvelopeKeyPair:
        """Return the key that messages are sealed to; made on first use."""
        fields = self._load("envelope.json")
        try:
            private_key = base64.b64decode(fields["private_key"], validate=True) if fields else None
            pair = EnvelopeKeyPair(private_key) if private_key is not None else EnvelopeKeyPair.generate()
        except (KeyError, TypeError, ValueError):
            # `from None`: the context of a parse error would carry the key.
            raise _broken(self._folder / "envelope.json") from None
        if not fields:
            self._save("envelope.json", {"private_key": base64.b64encode(pair.private_bytes).decode()})
        return pair

    def own(self) -> tuple[str, str] | None:
        """Return the server and the address that were registered here, or None."""
        fields = self._load("inbox.json")
        return (str(fields["url"]), str(fields["address"])) if {"url", "address"} <= fields.keys() else None

    def save_own(self, url: str, address: str) -> None:
        """Keep them."""
        self._save("inbox.json", {"url": url, "address": address})

    def pin(self, url: str, address: str, key: bytes, expected: str | None) -> bool:
        """Take `key` for that of an address, unless another one is known; tell whether it is new here.

        Raises:
            IdentityRefusedError: another key was taken before, or `expected` is another fingerprint.
        """
        pins = self._load("pins.json")
        name, fingerprint = f"{address} {url}", compute_fingerprint(key)
        known = pins.get(name)
        if expected is not None and expected != fingerprint:
            raise IdentityRefusedError(
                f"{address} has another key than the one you gave", expected=expected, received=fingerprint
            )
        if known is not None and known != fingerprint:
            raise IdentityRefusedError(
                f"the key of {address} has changed since you last wrote to it; if its owner says that this is right, "
                f"remove its line from {self._folder / 'pins.json'}",
                expected=str(known),
                received=fingerprint,
            )
        if known is None:
            self._save("pins.json", {**pins, name: fingerprint})
        return known is None

    def cursor(self, url: str, address: str) -> int:
        """Return how far the messages of an address were handled."""
        cursor = self._load("cursors.json").get(f"{address} {url}", 0)
        return cursor if isinstance(cursor, int) and cursor >= 0 else 0

    def save_cursor(self, url: str, address: str, cursor: int) -> None:
        """Keep it."""
        self._save("cursors.json", {**self._load("cursors.json"), f"{address} {url}": cursor})

    def outgoing(self) -> Path:
        """Return where the queue of messages that are not yet put is kept."""
        return self._folder / "outgoing.db"

    def _load(self, name: str) -> dict[str, Any]:
        path = self._folder / name
        try:
            content = read_private(path)
            fields = json.loads(content) if content is not None else {}
        except IdentityStoreError as error:
            raise ConfigError(str(error)) from None
        except ValueError:
            raise _broken(path) from None
        if not isinstance(fields, dict):
            raise _broken(path)
        return fields

    def _save(self, name: str, fields: dict[str, Any]) -> None:
        try:
            replace_private(self._folder / name, json.dumps(fields, indent=1).encode() + b"\n")
        except IdentityStoreError as error:
            raise ConfigError(str(error)) from None


def _broken(path: Path) -> ConfigError:
    return ConfigError(f"{path} is broken; restore it from a backup, or move it away")
