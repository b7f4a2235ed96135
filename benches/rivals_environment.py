"""The environment in which rivals from PyPI run: made once in this user's cache folder, apart from the project's."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import platformdirs

__all__ = ["RivalsEnvironment", "rivals_environment"]

_REQUIREMENTS = Path(__file__).parent / "rivals" / "requirements.txt"


class RivalsEnvironment:
    """A virtual environment with the packages of `rivals/requirements.txt`.

    Args:
        folder: of the environment.
    """

    def __init__(self, folder: Path) -> None:
        self._scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self._scripts / "python"

    def script(self, name: str) -> Path:
        """Return a command that a package has installed."""
        return self._scripts / name

    def site(self) -> str:
        """Return the folder in which the packages are."""
        printed = subprocess.run(
            [self.python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"],
            check=True,
            capture_output=True,
            text=True,
        )
        return printed.stdout.strip()


def rivals_environment(cache: Path | None = None) -> RivalsEnvironment:
    """Return the environment; make it first if there is none for these requirements and this Python.

    Args:
        cache: where environments are kept; None for this user's cache folder.

    Raises:
        subprocess.CalledProcessError: pip could not install the packages; it has said why.
    """
    wanted = hashlib.sha256(_REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()[:16]
    cache = platformdirs.user_cache_path("sideband-bench") if cache is None else cache
    folder = cache / f"rivals-{wanted}"
    environment = RivalsEnvironment(folder)
    complete = folder / "complete"
    if not complete.exists():
        print(f"sideband: installing the rivals in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]
        subprocess.run([environment.python, *pip, _REQUIREMENTS], check=True)
        complete.touch()
    return environment
