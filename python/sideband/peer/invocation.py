"""How a method's Python signature maps to the one `params` value that travels, the same way on both ends.

No parameter: nothing is sent. One parameter: it is `params` itself. More: an object with the parameters' names as keys.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, cast

from sideband.errors import RpcPeerError
from sideband.protocol.connection import MISSING

__all__ = ["Invocation", "describe_signature"]

_DOES_NOT_FIT = 2000


class Invocation:
    """A callable, and how its arguments travel.

    Args:
        function: the handler, or a function taken from a Protocol class.
        skip_self: True for the latter, whose first parameter does not travel.
    """

    __slots__ = ("_function", "_has_default", "_required", "_signature", "takes")

    def __init__(self, function: Callable[..., Any], *, skip_self: bool = False) -> None:
        self._function = function
        signature = _signature(function, skip_self=skip_self)
        parameters = [] if signature is None else list(signature.parameters.values())
        self._required = sum(_is_required(parameter) for parameter in parameters)
        self.takes: Literal["nothing", "params", "named"] = "named"
        if signature is not None and not parameters:
            self.takes = "nothing"
        elif (
            # Some built-in callables have no readable signature; they get `params` as it came.
            signature is None
            or any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
            or (len(parameters) == 1 and parameters[0].kind in _POSITIONAL)
        ):
            self.takes = "params"
        self._has_default = (
            self.takes == "params" and signature is not None and parameters[0].default is not inspect.Parameter.empty
        )
        # A handler has one in each of its sessions, where it weighs a kilobyte; only named parameters are bound by it.
        self._signature = signature if skip_self or self.takes == "named" else None

    def __call__(self, params: Any) -> Any:
        """Call the function with what came.

        Raises:
            RpcPeerError: 2000 when the params do not fit the signature.
        """
        if self.takes == "nothing" or (params is None and self._has_default):
            return self._function()
        if self.takes == "params":
            return self._function(params)
        if params is not None and not isinstance(params, dict):
            if self._required == 1:
                return self._function(params)
            raise RpcPeerError(_DOES_NOT_FIT, f"params must be an object, got {type(params).__name__}")
        try:
            bound = inspect.Signature.bind(cast("inspect.Signature", self._signature), **(params or {}))
        except TypeError as error:
            raise RpcPeerError(_DOES_NOT_FIT, f"params do not fit: {error}") from None
        return self._function(*bound.args, **bound.kwargs)

    def pack(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return the params of a call made with these arguments; `MISSING` when nothing is to be sent.

        Raises:
            TypeError: as a call of the function would.
        """
        signature = cast("inspect.Signature", self._signature)
        bound = signature.bind(*args, **kwargs)
        if self.takes == "nothing":
            return MISSING
        if self.takes == "params":
            return next(iter(bound.arguments.values()), MISSING)
        values: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                values.update(value)
            else:
                values[name] = value
        return values


def describe_signature(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what `$sideband/rpc.describe` tells: the docstring's first paragraph, the parameters, and the result."""
    signature = _signature(function, skip_self=False)
    parameters = [] if signature is None else list(signature.parameters.values())
    return {
        "doc": (inspect.getdoc(function) or "").split("\n\n", 1)[0],
        "params": [
            {"name": parameter.name, "type": _annotation(parameter.annotation), "required": _is_required(parameter)}
            for parameter in parameters
        ],
        "returns": None if signature is None else _annotation(signature.return_annotation),
    }


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def _signature(function: Callable[..., Any], *, skip_self: bool) -> inspect.Signature | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    if skip_self:
        return signature.replace(parameters=list(signature.parameters.values())[1:])
    return signature


def _annotation(annotation: Any) -> str | None:
    if annotation is inspect.Parameter.empty:
        return None
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
