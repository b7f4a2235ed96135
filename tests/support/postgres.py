"""Databases on the PostgreSQL server of `make test-servers`."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy import make_url


@asynccontextmanager
async def fresh_database() -> AsyncIterator[str]:
    """Make a database that nothing was ever in; yields its URL, and drops it at the end."""
    server = os.environ.get("SIDEBAND_TEST_POSTGRES_URL")
    if server is None:
        pytest.fail("SIDEBAND_TEST_POSTGRES_URL is not set; `make test-servers` starts a server and sets it")
    name = f"t_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server)
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield make_url(server).set(database=name).render_as_string(hide_password=False)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()
