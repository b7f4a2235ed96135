"""magic-wormhole as its users run it: its own mailbox server and transit relay, `wormhole send`, `wormhole receive`."""

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from benches.rivals_environment import RivalsEnvironment

__all__ = ["Wormhole", "wormhole_servers"]

_START_SECONDS = 30


class Wormhole:
    """Sends files through the two servers.

    Args:
        rivals: where it is installed.
        mailbox: port of the mailbox server.
        transit: port of the transit relay.
        folder: where received files and what the commands keep belong.
    """

    def __init__(self, rivals: RivalsEnvironment, mailbox: int, transit: int, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._command = [
            str(rivals.script("wormhole")),
            f"--relay-url=ws://127.0.0.1:{mailbox}/v1",
            f"--transit-helper=tcp:127.0.0.1:{transit}",
        ]

    def send(self, file: Path) -> tuple[float, Path]:
        """Send a file; return the seconds from its first byte to the receiver's word that it has it, and what came.

        What comes before, starting two Pythons and agreeing on a key, is not counted.
        """
        self._number += 1
        code = f"{self._number}-sideband-bench"
        received, timing = self._folder / f"wormhole-{self._number}", self._folder / f"timing-{self._number}.json"
        # Neither side listens, so they have to go through the relay.
        options = ["--no-listen", "--hide-progress"]
        sender = subprocess.Popen(
            [*self._command, f"--dump-timing={timing}", "send", *options, f"--code={code}", file],
            cwd=self._folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        with sender:
            receiver = subprocess.run(
                [*self._command, "receive", *options, "--accept-file", f"--output-file={received}", code],
                cwd=self._folder,
                capture_output=True,
            )
            _, errors = sender.communicate(timeout=60)
        if sender.returncode or receiver.returncode:
            raise RuntimeError(f"magic-wormhole failed: {errors.decode()} {receiver.stderr.decode()}")
        events = {event["name"]: event for event in json.loads(timing.read_text("utf-8"))}
        return events["get ack"]["stop"] - events["tx file"]["start"], received


@contextmanager
def wormhole_servers(rivals: RivalsEnvironment, folder: Path) -> Iterator[Wormhole]:
    """Run its mailbox server and its transit relay on loopback until the block ends."""
    mailbox, transit = _free_port(), _free_port()
    with ExitStack() as stack:
        for plugin, port in (("wormhole-mailbox", mailbox), ("transitrelay", transit)):
            listen = f"--port=tcp:{port}:interface=127.0.0.1"
            server = subprocess.Popen(
                [rivals.script("twist"), "--log-level=error", plugin, listen], cwd=folder, stdout=subprocess.DEVNULL
            )
            stack.callback(server.wait)
            stack.callback(server.terminate)
            _wait_for(port, server)
        yield Wormhole(rivals, mailbox, transit, folder)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    """Return when the server listens: it says so to nobody but a log."""
    until = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the server on port {port} did not start within {_START_SECONDS} s")
