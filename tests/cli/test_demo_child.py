"""One process of the demo, as the one that started it sees it."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from sideband.cli.demo.processes import Child

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows keeps exit codes until the last handle is closed")


async def test_killing_a_process_that_has_just_ended_leaves_its_exit_code_to_whom_it_is_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed = threading.Event()
    wait = os.waitpid

    def wait_after_the_kill(pid: int, flags: int) -> tuple[int, int]:
        if threading.current_thread() is not threading.main_thread():
            killed.wait()
        return wait(pid, flags)

    monkeypatch.setattr(os, "waitpid", wait_after_the_kill)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "raise SystemExit(7)"), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    child = Child("client", process, tmp_path / "errors")
    # It has ended, and nobody has asked for its exit code.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - the loop must not run meanwhile
    child.kill()
    killed.set()
    await child.ended()
    assert process.returncode == 7
