"""Print, as pip constraints, the installed version of everything that pyproject.toml asks for, directly or not.

What else happens to be in the environment, a profiler for example, is no part of what the project was tested with.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pyproject = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))
project = pyproject["project"]
asked = [
    *project["dependencies"],
    *(line for extra in project["optional-dependencies"].values() for line in extra),
    *pyproject["dependency-groups"]["dev"],
]

pins: dict[str, str] = {}
waiting = [(Requirement(line), "") for line in asked]
seen: set[tuple[str, str]] = set()
while waiting:
    requirement, wanted_by_extra = waiting.pop()
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": wanted_by_extra}):
        continue
    name = canonicalize_name(requirement.name)
    try:
        found = distribution(name)
    except PackageNotFoundError:
        raise SystemExit(f"lock: {name} is asked for and not installed; make .make/venv installs it") from None
    pins[name] = found.version
    for extra in ("", *requirement.extras):
        if (name, extra) not in seen:
            seen.add((name, extra))
            waiting += [(Requirement(line), extra) for line in found.requires or ()]

print("# Versions that `make test` was last seen to pass with. Written by `make lock`; pip takes it as --constraint.")
print("\n".join(f"{name}=={version}" for name, version in sorted(pins.items())))
