"""What the package imports is what it declares: a dependency of a dependency may go away without notice."""

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_every_import_is_declared() -> None:
    undeclared = {module: sorted(files) for module, files in imported().items() if not _providers(module) & declared()}
    assert undeclared == {}


def test_every_requirement_is_imported() -> None:
    # A database driver is named in a URL and imported by SQLAlchemy.
    by_name_only = {"aiosqlite", "asyncpg"}
    used = {provider for module in imported() for provider in _providers(module)}
    assert declared() - used - by_name_only == set()


def declared() -> set[str]:
    """The names of all requirements, those of the extras included."""
    requirements = [
        *PROJECT["dependencies"],
        *(one for extra in PROJECT["optional-dependencies"].values() for one in extra),
    ]
    return {_normal(re.match(r"[\w.-]+", requirement)[0]) for requirement in requirements}


def imported() -> dict[str, set[str]]:
    """The top-level packages outside the standard library that sideband imports, and where."""
    found: dict[str, set[str]] = {}
    for source in (ROOT / "python" / "sideband").rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names | {"sideband"}:
                    found.setdefault(top, set()).add(source.name)
    return found


def _providers(module: str) -> set[str]:
    return {_normal(name) for name in packages_distributions().get(module, [])}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
