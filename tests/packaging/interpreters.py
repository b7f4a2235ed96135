"""Find the Python interpreters of this machine that the package supports."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

_ASK = "import json, sys; print(json.dumps([sys.version_info[:2], getattr(sys, 'abiflags', ''), sys.executable]))"


@functools.cache
def oldest_and_newest() -> dict[str, str]:
    """Return the paths of the `oldest` supported and the `newest` interpreter."""
    found: dict[tuple[int, int], str] = {sys.version_info[:2]: sys.executable}
    for candidate in _candidates():
        answer = _ask(candidate)
        if answer is not None and answer[0] >= (3, 11):
            found.setdefault(*answer)
    return {"oldest": found[min(found)], "newest": found[max(found)]}


def _candidates() -> list[str]:
    names = ["python3", "python", *(f"python3.{minor}" for minor in range(11, 25))]
    candidates = [path for path in map(shutil.which, names) if path]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates += [str(path) for path in sorted(pyenv.glob("versions/*/bin/python3"))]
    if launcher := shutil.which("py"):
        listing = subprocess.run([launcher, "-0p"], capture_output=True, text=True, timeout=30, check=False).stdout
        candidates += [line.split(maxsplit=2)[-1].lstrip("* ") for line in listing.splitlines() if line.strip()]
    return candidates


def _ask(path: str) -> tuple[tuple[int, int], str] | None:
    """Run an interpreter: a version manager's shim may stand for a version that is not active."""
    try:
        done = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, timeout=30, check=True)
        (major, minor), flags, executable = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    # The stable-ABI wheel is not for free-threaded builds; those have a wheel of their own.
    return None if "t" in flags else ((major, minor), executable)
