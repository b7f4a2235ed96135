"""A file through a relay: `Stream.send_file` and `receive_file` against magic-wormhole, each through its own relay."""

import filecmp
import os
import statistics
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from benches.rivals.wormhole import wormhole_servers
from benches.rivals_environment import rivals_environment
from sideband.bench.measuring import Aim, Settings, SuiteResult, Table
from sideband.bench.stream_path import our_path

__all__ = ["TITLE", "run"]

TITLE = "Files through a relay"

OURS, WORMHOLE = "send_file through our relay", "magic-wormhole through its own"
_BLOCK_BYTES = 16 << 20
_NOTE = (
    "From the first byte to the receiver's word that it has the file with the right digest; ours is on the disk by "
    "then, magic-wormhole's is handed to the system. Starting programs and agreeing on keys is not counted."
)


def run(settings: Settings) -> SuiteResult:
    """Send the same file both ways in turns."""
    seconds: dict[str, list[float]] = {OURS: []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="sideband-bench-")))
        file = folder / "file"
        _write(file, settings.stream_bytes)
        client = stack.enter_context(our_path(files=str(folder))).processes["client"]
        wormhole = None
        if settings.pypi:
            seconds[WORMHOLE] = []
            wormhole = stack.enter_context(wormhole_servers(rivals_environment(), folder))
        client.ask("send_file", path=str(file))
        for _ in range(settings.rounds):
            os.sync()  # what one way leaves to be written is not charged to the other
            seconds[OURS].append(client.ask("send_file", path=str(file))["seconds"])
            _check(file, folder / "received")
            if wormhole is not None:
                os.sync()
                took, received = wormhole.send(file)
                seconds[WORMHOLE].append(took)
                _check(file, received)
    return _result(seconds, settings.stream_bytes)


def _result(seconds: dict[str, list[float]], size: int) -> SuiteResult:
    rows = []
    for name, samples in seconds.items():
        rates = [size / one for one in samples]
        low, middle, high = statistics.quantiles(rates, n=4)
        rows.append([name, f"{middle / 1e9:.3f} GB/s", f"{(high - low) / middle:.0%}"])
    result = SuiteResult([Table(f"A file of {size / 2**20:,.0f} MiB", ["path", "rate", "spread"], rows, _NOTE)])
    result.samples = {f"{name}, seconds": samples for name, samples in seconds.items()}
    if WORMHOLE in seconds:
        ratio = statistics.median(their / our for our, their in zip(*seconds.values(), strict=True))
        result.aims.append(Aim("A file through the relay, rate against magic-wormhole through its own", ratio, 3.5))
    return result


def _write(file: Path, size: int) -> None:
    block = os.urandom(min(size, _BLOCK_BYTES))
    with file.open("wb") as target:
        while size > 0:
            size -= target.write(block[:size])


def _check(sent: Path, received: Path) -> None:
    """Fail unless the same came, and make room for the next."""
    if not filecmp.cmp(sent, received, shallow=False):
        raise AssertionError(f"{received.name} is not what was sent")
    received.unlink()
