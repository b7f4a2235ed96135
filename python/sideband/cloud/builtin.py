"""The methods that every daemon has (docs/guide/cloud.md, "What every daemon answers").

`$sideband/rpc.list` and `$sideband/rpc.describe` are the peer's own; these come on top.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from sideband.errors import RpcPeerError
from sideband.peer.clock import Timer
from sideband.peer.lifecycle import PeerState
from sideband.peer.peer import Peer
from sideband.peer.streams import Stream

__all__ = ["DEFAULT_TICK_SECONDS", "MAX_TICK_SECONDS", "MIN_TICK_SECONDS", "TICK_EVENT", "BuiltinMethods"]

MIN_TICK_SECONDS = 0.25
"""Ticks come no faster; a client that could ask for more would take the daemon's time from others."""
MAX_TICK_SECONDS = 60.0
DEFAULT_TICK_SECONDS = 1.0
TICK_EVENT = "$sideband/stats.tick"

_APPLICATION_ERROR = 2000


class BuiltinMethods:
    """Answers `$sideband/echo`, `$sideband/info`, and `$sideband/stats` with `.start` and `.stop`; echoes streams too.

    Args:
        daemon_id: the daemon's id.
        name: what people call it, or None.
        connections: returns how many clients there are.
    """

    def __init__(self, daemon_id: str, name: str | None, connections: Callable[[], int]) -> None:
        self._daemon_id = daemon_id
        self._name = name
        self._connections = connections
        self._began = time.monotonic()

    def serve(self, peer: Peer) -> None:
        """Answer one client, until it is gone.

        Raises:
            PeerError: `rpc_method_already_registered`.
        """
        ticker = _Ticker(peer, self.stats)

        def echo(value: Any = None) -> Any:
            """Return what was sent."""
            return value

        def info() -> dict[str, Any]:
            """Tell which daemon this is."""
            return {
                "daemonId": self._daemon_id,
                "name": self._name,
                "version": _version(),
                "capabilities": sorted(peer.options.capabilities),
            }

        def stats() -> dict[str, Any]:
            """Tell how the daemon does."""
            return self.stats()

        peer.rpc.handle_platform("$sideband/echo", echo)
        peer.stream_handler("$sideband/echo", _echo_stream)
        peer.rpc.handle_platform("$sideband/info", info)
        peer.rpc.handle_platform("$sideband/stats", stats)
        peer.rpc.handle_platform("$sideband/stats.start", ticker.start)
        peer.rpc.handle_platform("$sideband/stats.stop", ticker.stop)
        peer.on("state_change", lambda state, _previous: ticker.cancel() if state is PeerState.CLOSED else None)

    def stats(self) -> dict[str, Any]:
        """Return seconds since the daemon began, seconds of processor time, and how many clients there are."""
        return {
            "uptimeSeconds": round(time.monotonic() - self._began, 3),
            "cpuSeconds": round(time.process_time(), 3),
            "connections": self._connections(),
        }


async def _echo_stream(stream: Stream) -> None:
    async for chunk in stream:
        await stream.write(chunk)


class _Ticker:
    """The one ticker of a peer."""

    def __init__(self, peer: Peer, stats: Callable[[], dict[str, Any]]) -> None:
        self._peer = peer
        self._stats = stats
        self._interval = DEFAULT_TICK_SECONDS
        self._timer: Timer | None = None
        self._count = 0

    def start(self, params: Any = None) -> dict[str, Any]:
        """Send the statistics again and again, as event `$sideband/stats.tick`.

        `intervalMs` is 250 to 60,000; 1,000 unless given. Asked again, the new interval takes the old one's place.
        """
        interval = _interval(params)
        self.cancel()
        self._interval = interval
        self._count = 0
        if not self._peer.closed:
            self._schedule()
        return {"intervalMs": round(interval * 1000)}

    def stop(self) -> dict[str, Any]:
        """Send them no longer."""
        was_running = self._timer is not None
        self.cancel()
        return {"stopped": was_running}

    def cancel(self) -> None:
        """Forget the next tick."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _schedule(self) -> None:
        self._timer = self._peer.options.clock.call_later(self._interval, self._tick)

    def _tick(self) -> None:
        if self._peer.closed:
            return
        # A paused client gets none: old figures in a row are of no use to it, and would push out its other events.
        if self._peer.ready:
            self._count += 1
            self._peer.events.emit_platform(TICK_EVENT, {"count": self._count, **self._stats()})
        self._schedule()


def _interval(params: Any) -> float:
    if params is None:
        return DEFAULT_TICK_SECONDS
    value = params.get("intervalMs", DEFAULT_TICK_SECONDS * 1000) if isinstance(params, dict) else params
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        seconds = value / 1000
        if MIN_TICK_SECONDS <= seconds <= MAX_TICK_SECONDS:
            return seconds
    least, most = round(MIN_TICK_SECONDS * 1000), round(MAX_TICK_SECONDS * 1000)
    raise RpcPeerError(_APPLICATION_ERROR, f"intervalMs is a number from {least} to {most}")


def _version() -> str:
    from importlib.metadata import version

    return version("sideband")
