"""The same program over every way, by one argument."""

from __future__ import annotations

import pytest

from tests.support.served_platform import ServedPlatform


@pytest.mark.parametrize("way", ["relay", "tcp", "quic", "webrtc"])
def test_the_same_program_runs_over_each_way(platform: ServedPlatform, way: str) -> None:
    environment = platform.daemon_environment("echo") | {"SIDEBAND_TOKEN": platform.first.token}
    with platform.running("echo", "direct_echo.py", way, **environment) as echo:
        path = way if way == "relay" else f"direct:{way}"
        assert echo.hear("Hello Ada ") == f"by {path}"
        echo.finish()
