from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.served_platform import ServedPlatform


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[ServedPlatform]:
    # A daemon that is killed frees its sessions soon; everything else is as a user has it.
    with ServedPlatform(tmp_path, relay__grace_seconds="1") as platform:
        yield platform
