"""The control plane without HTTP: what every procedure works with."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from sideband.control.attempts import AttemptLimiter
from sideband.control.config import ControlConfig
from sideband.control.secrets import ServerSecret, private_folder
from sideband.control.signing import SigningKeys
from sideband.control.store import Database, sqlite_url
from sideband.control.store.live import online_daemons
from sideband.control.tokens import TokenIssuer
from sideband.database import BUSY_TIMEOUT_SECONDS

__all__ = ["DATABASE_FILE", "SECRET_FILE", "ControlPlane", "open_store"]

DATABASE_FILE = "sideband.db"
"""The SQLite file's name in a data folder."""

SECRET_FILE = "server.key"  # noqa: S105  (a file's name)
"""The server secret's name in a data folder."""


class ControlPlane:
    """Store, signing keys, token issuer and limits, built by `ControlPlane.open`.

    Attributes:
        answers: how many calls of each procedure had each HTTP status.
        online_here: tells of a daemon whether a relay in this process holds its connection; None without such a relay.
    """

    def __init__(
        self, config: ControlConfig, database: Database, secret: ServerSecret, clock: Callable[[], float] = time.time
    ) -> None:
        self.config = config
        self.database = database
        self.secret = secret
        self.clock = clock
        self.answers: Counter[tuple[str, int]] = Counter()
        self.online_here: Callable[[str], bool] | None = None
        self.keys = SigningKeys(database, secret, clock)
        self.tokens = TokenIssuer(config, self.keys, clock)
        self.redeem_attempts = AttemptLimiter(
            per_minute=config.quick_connect_attempts_per_minute,
            max_addresses=config.quick_connect_addresses,
            clock=clock,
        )

    @classmethod
    async def open(
        cls, config: ControlConfig, database: Database, secret: ServerSecret, clock: Callable[[], float] = time.time
    ) -> ControlPlane:
        """Return a control plane with its signing keys loaded, the first one made if need be.

        Raises:
            StoreError: the store failed, or does not belong to `secret`.
        """
        plane = cls(config, database, secret, clock)
        await plane.keys.load()
        return plane

    async def online(self, connection: AsyncConnection, daemon_ids: Sequence[str]) -> set[str]:
        """Return those of `daemon_ids` that are connected to a relay, in this process or reported by another."""
        reported = await online_daemons(connection, daemon_ids, self.now())
        here = self.online_here
        return reported if here is None else reported | {daemon_id for daemon_id in daemon_ids if here(daemon_id)}

    def now(self) -> int:
        """Return the time in milliseconds, as the store keeps it."""
        return int(self.clock() * 1000)


async def open_store(
    data_dir: Path, database_url: str | None = None, *, wait_seconds: float = BUSY_TIMEOUT_SECONDS
) -> tuple[Database, ServerSecret]:
    """Open the store of a data folder, made with mode 0700 if need be, and its secret.

    Args:
        data_dir: folder of `server.key` and, without a URL, of the SQLite file.
        database_url: another store, such as `postgresql://user@host/name`.
        wait_seconds: how long a statement may wait; see `Database.open`.

    Raises:
        ConfigError: the folder or the secret is not safe to use, or the URL is malformed.
        StoreError: the store cannot be reached or is of a newer schema.
    """
    private_folder(data_dir)
    secret = ServerSecret.load(data_dir / SECRET_FILE)
    url = database_url or sqlite_url(data_dir / DATABASE_FILE)
    return await Database.open(url, wait_seconds=wait_seconds), secret
