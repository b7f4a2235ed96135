"""Write the API reference, made from the docstrings, as a static site: `python scripts/reference.py FOLDER`.

The modules are those that applications use. The others may change in any release, and are read in the source.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from itertools import zip_longest
from pathlib import Path
from typing import Any, get_type_hints

import pdoc.doc
import pdoc.doc_ast
import pdoc.render

PUBLIC_MODULES = (
    "sideband",
    "sideband.cloud",
    "sideband.errors",
    "sideband.identity",
    "sideband.inbox",
    "sideband.peer",
    "sideband.secure_relay",
    "sideband.transport",
)
NATIVE_STUB = Path(__file__).parent.parent / "python/sideband/_native.pyi"


def modules() -> dict[str, pdoc.doc.Module]:
    """Return the public modules that this version has, with all that they hold."""
    found = {}
    for name in PUBLIC_MODULES:
        if find_spec(name) is not None:
            _resolve_named_tuples(name)
            found[name] = pdoc.doc.Module.from_name(name)
            elsewhere = _docstrings_elsewhere(name)
            for member in members(found[name]):
                member.docstring = member.docstring or elsewhere.get(member.qualname, "")
    return found


def members(namespace: pdoc.doc.Namespace[Any]) -> Iterator[pdoc.doc.Doc[Any]]:
    """Yield all that a module or class holds, and what the classes among it hold."""
    for member in namespace.members.values():
        yield member
        if isinstance(member, pdoc.doc.Class):
            yield from members(member)


def write(folder: Path) -> None:
    """Write the pages of all public modules, and an index that leads to them."""
    pdoc.render.configure(docformat="google", footer_text=f"sideband {version('sideband')}")
    found = modules()
    for name, module in found.items():
        page = folder / f"{name.replace('.', '/')}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(pdoc.render.html_module(module, found), "utf-8")
    (folder / "index.html").write_text(pdoc.render.html_index(found), "utf-8")
    (folder / "search.js").write_text(pdoc.render.search_index(found), "utf-8")


def _resolve_named_tuples(module_name: str) -> None:
    # Their constructors are made in a module without the names that their annotations use; pdoc would warn.
    module = importlib.import_module(module_name)
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, type) and issubclass(value, tuple):
            value.__new__.__annotations__ = get_type_hints(value)


def _docstrings_elsewhere(module_name: str) -> dict[str, str]:
    """Docstrings that pdoc does not find: those of the native module's stub, and of constants where they come from."""
    found = _stub_docstrings(ast.parse(NATIVE_STUB.read_text("utf-8")))
    source = inspect.getsource(importlib.import_module(module_name))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.startswith(f"{module_name}."):
            found |= pdoc.doc_ast.walk_tree(importlib.import_module(node.module)).var_docstrings
    return found


def _stub_docstrings(node: ast.Module | ast.ClassDef | ast.FunctionDef, prefix: str = "") -> dict[str, str]:
    found = {}
    for child, after in zip_longest(node.body, node.body[1:]):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            name = prefix + child.name
            found[name] = ast.get_docstring(child) or ""
            found |= _stub_docstrings(child, f"{name}.")
        elif isinstance(child, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[prefix + ast.unparse(child.target)] = inspect.cleandoc(str(after.value.value))
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: reference.py FOLDER")
    write(Path(sys.argv[1]))
