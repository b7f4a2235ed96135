"""Typed proxies: a class with `async def` methods becomes calls of the same names."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from sideband.errors import ConfigError
from sideband.peer.invocation import Invocation

__all__ = ["make_proxy", "rpc_method"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_NAME_ATTRIBUTE = "__sideband_method__"


def rpc_method(name: str) -> Callable[[F], F]:
    """Give a method of a proxied class another name on the wire: `@rpc_method("files.read")`."""

    def mark(function: F) -> F:
        setattr(function, _NAME_ATTRIBUTE, name)
        return function

    return mark


def make_proxy(protocol: type[T], prefix: str, call: Callable[[str, Any], Any]) -> T:
    """Return an object with the public methods of `protocol`, each of which returns `call(name, params)`.

    Raises:
        ConfigError: the class has no public method.
    """
    methods = {
        attribute: function
        for attribute, function in inspect.getmembers(protocol, inspect.isfunction)
        if not attribute.startswith("_")
    }
    if not methods:
        raise ConfigError(f"{protocol.__name__} has no public methods to call")
    members: dict[str, Any] = {"__slots__": (), "__doc__": protocol.__doc__}
    for attribute, function in methods.items():
        name = prefix + getattr(function, _NAME_ATTRIBUTE, attribute)
        members[attribute] = _method(function, name, call)
    return cast("T", type(f"{protocol.__name__}Client", (), members)())


def _method(function: Callable[..., Any], name: str, call: Callable[[str, Any], Any]) -> Callable[..., Any]:
    invocation = Invocation(function, skip_self=True)

    def method(_self: object, *args: Any, **kwargs: Any) -> Any:
        return call(name, invocation.pack(args, kwargs))

    method.__name__ = function.__name__
    method.__doc__ = function.__doc__
    return method
