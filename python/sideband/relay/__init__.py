"""The relay: a session table without I/O, its aiohttp adapter, limits and metrics."""
