"""Write a seed corpus for each fuzz target from tests/vectors to corpus/ (ignored by git).

Run it before `cargo fuzz run`: `python rust/fuzz/seed.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VECTORS = HERE.parents[1] / "tests" / "vectors"
HEADER_SIZE = 13

# Raw bytes are a fine seed also for targets that split their input into several arguments.
SOURCES = {
    "frame": ["sbrp-frames.json", "sbrp-handshake.json"],
    "stream": ["sbrp-frames.json", "sbrp-handshake.json"],
    "payload": ["sbrp-frames.json", "sbrp-handshake.json", "sbrp-data.json"],
    "session": ["sbrp-data.json"],
    "handshake": ["sbrp-handshake.json"],
    "replay": ["sbrp-replay.json"],
    "sbp": ["sbp-frames.json"],
    "byte_stream": ["sbp-frames.json"],
    "noise_handshake": ["noise-xx.json", "sbdp.json"],
    "noise_records": ["noise-xx.json", "sbdp.json"],
    "noise_session": ["sbdp.json"],
}


def main() -> None:
    """Write one file for each distinct seed, named by its digest."""
    for target, sources in SOURCES.items():
        folder = HERE / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        seeds = {seed for source in sources for seed in seeds_of(target, json.loads((VECTORS / source).read_text()))}
        for seed in seeds:
            (folder / hashlib.sha256(seed).hexdigest()[:32]).write_bytes(seed)
        print(f"{target}: {len(seeds)} seeds")


def seeds_of(target: str, vectors: Any) -> Iterator[bytes]:
    """Return the seeds that a vector file has for a target."""
    if target == "replay":
        for scenario in vectors["scenarios"]:
            numbers = [int(step["seq"]) for step in scenario["steps"]]
            jumps = (after - before for before, after in zip([0, *numbers], numbers, strict=False))
            yield b"".join((jump % 2**64).to_bytes(8, "little") for jump in jumps)
        return
    for value in hex_values(vectors):
        yield value
        if target == "payload" and len(value) > HEADER_SIZE:
            yield value[HEADER_SIZE:]


def hex_values(node: Any) -> Iterator[bytes]:
    """Return every string below `node` that is hex, as bytes."""
    if isinstance(node, dict):
        for value in node.values():
            yield from hex_values(value)
    elif isinstance(node, list):
        for value in node:
            yield from hex_values(value)
    elif isinstance(node, str):
        try:
            yield bytes.fromhex(node)
        except ValueError:
            return


if __name__ == "__main__":
    main()
