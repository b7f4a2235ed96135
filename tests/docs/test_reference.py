"""The API reference can be made, and every public name says what it does and what it raises."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import pdoc.doc
import pytest

from scripts.reference import members, modules

ROOT = Path(__file__).parents[2]
MODULES = modules()
# Raised where a caller is wrong about the program rather than the world, or part of a protocol of Python's own.
UNTOLD = {"AssertionError", "AttributeError", "NotImplementedError", "StopAsyncIteration", "StopIteration", "TypeError"}


def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", ROOT / "scripts/reference.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    pages = {name: f"{name.replace('.', '/')}.html" for name in MODULES}
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html")}
    assert written == {*pages.values(), "index.html"}
    start = (tmp_path / "sideband.html").read_text("utf-8")
    assert [page for page in pages.values() if page != "sideband.html" and f'href="{page}"' not in start] == []
    assert "rpc_method_already_registered" in (tmp_path / "sideband/peer.html").read_text("utf-8")
    assert "Raises:" in (tmp_path / "sideband/secure_relay.html").read_text("utf-8")


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_documented(module: str) -> None:
    undocumented = []
    for name, member in _public(module):
        owner, _, attribute = name.rpartition(".")
        told = member.docstring
        if not told and _is_attribute(member):
            told = re.search(rf"\b{attribute}\b", MODULES[module].get(owner).docstring)
        if not told and not _is_enum_member(member):
            undocumented.append(name)
    assert undocumented == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_tells_what_it_raises(module: str) -> None:
    untold = {}
    for name, member in _public(module):
        told = member.docstring
        if isinstance(member, pdoc.doc.Class):
            raised = {error for made in ("__init__", "__post_init__") for error in _raised(vars(member.obj).get(made))}
        elif isinstance(member, pdoc.doc.Variable):
            raised = _raised(_getter(member)) if "." in name else set()
        else:
            raised = _raised(getattr(member, "obj", None))
        missing = {error for error in raised - UNTOLD if not re.search(rf"\b{error}\b", told)}
        if missing:
            untold[name] = missing
    assert untold == {}


def test_what_is_raised_is_found() -> None:
    source = """
def outer():
    def inner():
        raise KeyError("another function")
    try:
        helper()
    except ValueError as error:
        raise OSError("no") from error
    raise
"""
    (outer,) = ast.parse(source).body
    assert _raised_in(outer) == ({"OSError"}, {"helper", "OSError"})


def _public(module: str) -> list[tuple[str, Any]]:
    """All names but constructors, which are documented by their class, and what is inherited."""
    return [
        (member.qualname, member)
        for member in members(MODULES[module])
        if not re.search(r"(^|\.)_", member.qualname) and not ("." in member.qualname and member.is_inherited)
    ]


def _is_attribute(member: Any) -> bool:
    """Whether it is a field or a constant of a class, which the class may document."""
    return isinstance(member, pdoc.doc.Variable) and "." in member.qualname and not _getter(member)


def _is_enum_member(member: Any) -> bool:
    """Whether it is one of many that their class documents together."""
    return _is_attribute(member) and issubclass(MODULES[member.modulename].get(member.qualname.split(".")[0]).obj, Enum)


def _getter(member: Any) -> Any:
    owner, _, name = member.qualname.rpartition(".")
    found = inspect.getattr_static(MODULES[member.modulename].get(owner).obj, name, None)
    return found.fget if isinstance(found, property) else None


def _raised(function: Any) -> set[str]:
    """The names of the exceptions that a function raises by itself, or by private functions of its module."""
    if not inspect.isfunction(function) or not Path(function.__code__.co_filename).is_file():
        return set()
    definitions = _definitions(function.__code__.co_filename)
    todo = [node for node in definitions[function.__name__] if node.end_lineno >= function.__code__.co_firstlineno][:1]
    found, seen = set[str](), set[str]()
    while todo:
        raised, called = _raised_in(todo.pop())
        found |= raised
        todo += [
            definitions[name][0] for name in called - seen if name[:1] == "_" and len(definitions.get(name, ())) == 1
        ]
        seen |= called
    return found


@cache
def _definitions(path: str) -> dict[str, list[Any]]:
    """All functions of a file by name, in their order."""
    functions = [
        node
        for node in ast.walk(ast.parse(Path(path).read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    found: dict[str, list[Any]] = {}
    for node in sorted(functions, key=lambda node: node.lineno):
        found.setdefault(node.name, []).append(node)
    return found


def _raised_in(function: ast.AST) -> tuple[set[str], set[str]]:
    """What one function raises by name, and what it calls; functions inside of it are left out."""
    raised, called = set[str](), set[str]()
    todo = list(ast.iter_child_nodes(function))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _name(node.exc.func)[:1].isupper():
            raised.add(_name(node.exc.func))
        if isinstance(node, ast.Call):
            called.add(_name(node.func))
        todo += ast.iter_child_nodes(node)
    return raised, called


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
