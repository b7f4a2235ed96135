"""What is said, and what still works, where the packages of an extra are not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

BLOCKED = """
import asyncio, sys
sys.modules[{package!r}] = None
from sideband import direct
from sideband.errors import ConfigError
from sideband.identity import MemoryIdentityKeyStore, generate_static_key_pair

key, pins = generate_static_key_pair(), MemoryIdentityKeyStore()
"""


def run(package: str, program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCKED.format(package=package) + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quic_without_its_package_says_what_to_install() -> None:
    told = run(
        "qh3",
        """
async def listen():
    await direct.listen("quic://127.0.0.1:0", print, name="a", key=key, identity_key_store=pins)

for attempt in (
    lambda: direct.connect("quic://127.0.0.1:1", name="a", key=key, remote_name="b", identity_key_store=pins),
    lambda: asyncio.run(listen()),
):
    try:
        attempt()
    except ConfigError as error:
        print(error)
""",
    )
    assert told.splitlines() == ["QUIC needs another package: pip install 'sideband[quic]'"] * 2


def test_webrtc_without_its_package_says_what_to_install() -> None:
    told = run(
        "webrtc",
        """
try:
    import sideband.transport.webrtc
except ConfigError as error:
    print(error)
""",
    )
    assert told.splitlines() == ["WebRTC needs another package: pip install 'sideband[webrtc]'"]


@pytest.mark.parametrize(
    ("package", "left"), [("qh3", ["tcp", "webrtc"]), ("webrtc", ["tcp", "quic"])], ids=["quic", "webrtc"]
)
def test_an_upgrade_leaves_out_what_is_not_installed(package: str, left: list[str]) -> None:
    told = run(
        package,
        """
from sideband.direct.channels import Channels
from sideband.peer.clock import LoopClock

async def main():
    policy = direct.DirectPolicy(loopback=True)
    channels = Channels(bytes(16), policy, client=True, clock=LoopClock(), on_ready=print)
    offer = await channels.gather()
    print(*dict.fromkeys(candidate.partition(":")[0] for candidate in offer.candidates))
    print("webrtc" if offer.description else "")
    await channels.close()

asyncio.run(main())
""",
    )
    assert told.split() == left


def test_what_takes_long_to_load_is_loaded_beside_the_session_that_is_to_move() -> None:
    told = run(
        "nothing",
        """
import threading
from sideband.direct.channels import Channels
from sideband.peer.clock import LoopClock

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("qh3", "webrtc"):
            print(name, threading.current_thread() is threading.main_thread())

async def gather():
    channels = Channels(bytes(16), direct.DirectPolicy(), client=True, clock=LoopClock(), on_ready=print)
    await channels.gather()
    await channels.close()

sys.meta_path.insert(0, Watch())
asyncio.run(gather())
""",
    )
    assert told.splitlines() == ["qh3 False", "webrtc False"]
