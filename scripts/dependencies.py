"""Print what the package itself depends on, one requirement a line.

pip installs a project's dependencies only together with the project, and building this one takes Rust and a minute.
"""

import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]
print("\n".join(project["dependencies"]))
