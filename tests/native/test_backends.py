"""Every implementation of the encryption gives the same bytes; the environment may name one (docs/adr/0060)."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sideband.errors import ConfigError
from sideband.secure_relay import backend

AVAILABLE = backend().available
SIZES = (0, 1, 15, 16, 17, 63, 64, 65, 255, 512, 895, 896, 897, 1024, 8191, 8192, 8193, 16_384, 65_507, 65_508)

# Seals one message of each size, and opens what comes on standard input, if anything does.
SEAL_AND_OPEN = f"""
import sys
from sideband._native import ClientSession, DaemonSession, SessionKeys
from sideband.secure_relay import backend
keys = bytes(32), bytes(range(32))
sealer = DaemonSession(SessionKeys.from_bytes(*keys))
opener = ClientSession("c", SessionKeys.from_bytes(*keys))
plaintexts = [bytes(i * 31 % 251 for i in range(size)) for size in {SIZES}]
frames = sealer.seal_frames(7, plaintexts)
foreign = sys.stdin.buffer.read()
if foreign:
    cuts = [sum(map(len, frames[:i])) for i in range(len(frames) + 1)]
    assert opener.open_frames([foreign[start:end] for start, end in zip(cuts, cuts[1:])]) == plaintexts
used = backend()
assert used.small == used.bulk == sys.argv[1] and used.forced
sys.stdout.buffer.write(b"".join(frames))
"""


def run(code: str, *args: str, name: str | None, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environment = {key: value for key, value in os.environ.items() if key != "SIDEBAND_BACKEND"}
    if name is not None:
        environment["SIDEBAND_BACKEND"] = name
    return subprocess.run([sys.executable, "-c", code, *args], env=environment, input=stdin, capture_output=True)


def test_each_opens_what_any_other_sealed() -> None:
    sealed = {}
    for name in AVAILABLE:
        first = run(SEAL_AND_OPEN, name, name=name)
        assert first.returncode == 0, first.stderr.decode()
        sealed[name] = first.stdout
    assert len({hashlib.sha256(frames).digest() for frames in sealed.values()}) == 1
    for opener in AVAILABLE:
        for frames in sealed.values():
            second = run(SEAL_AND_OPEN, opener, name=opener, stdin=frames)
            assert second.returncode == 0, second.stderr.decode()


@pytest.mark.parametrize("name", AVAILABLE)
def test_each_agrees_with_the_reference_vectors(name: str) -> None:
    vectors = Path(__file__).parent.parent / "secure_relay" / "test_data_vectors.py"
    code = "import sys, pytest; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', sys.argv[1]]))"
    done = run(code, str(vectors), name=name)
    assert done.returncode == 0, done.stdout.decode()


def test_the_choice_without_a_wish_is_available_and_told() -> None:
    code = "from sideband.secure_relay import backend; b = backend(); print(b.small, b.bulk, b.bulk_from, b.forced)"
    for name in (None, "", "auto"):
        small, bulk, border, forced = run(code, name=name).stdout.decode().split()
        assert {small, bulk} <= set(AVAILABLE)
        assert (int(border) > 0) == (small != bulk)
        assert forced == "False"


def test_a_name_that_cannot_be_had_fails_the_import_and_tells_what_can() -> None:
    code = f"""
from sideband.errors import {ConfigError.__name__}
try:
    import sideband._native
except ConfigError as error:
    print(error)
"""
    for name in ("aes", "Ring", "ring "):
        text = run(code, name=name).stdout.decode()
        assert text.startswith(f'SIDEBAND_BACKEND: "{name}" is not the name of a backend')
        assert all(known in text for known in ("auto", *AVAILABLE))
