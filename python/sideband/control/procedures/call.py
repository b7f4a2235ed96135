"""One call of a procedure: who, from where, with what credential."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from sideband.control.authenticate import OidcVerifier, authenticate_daemon, authenticate_user, bearer
from sideband.control.ids import USER_TOKEN_PREFIX
from sideband.control.plane import ControlPlane
from sideband.control.store.rows import ApiKeyRow, UserRow
from sideband.control.wire import ProcedureError, describe_flaw

__all__ = ["Call", "Input", "Procedure", "parse"]


class Input(BaseModel):
    """A procedure's input: camelCase on the wire, strict types, unknown members ignored as the public SDK expects."""

    model_config = ConfigDict(alias_generator=to_camel, strict=True, extra="ignore", frozen=True)


_InputT = TypeVar("_InputT", bound=Input)


@dataclass(frozen=True, slots=True)
class Call:
    """A request on its way through a procedure."""

    plane: ControlPlane
    request: web.Request
    address: str
    oidc: OidcVerifier | None = None

    async def daemon(self) -> ApiKeyRow:
        """Return the caller's API key, or raise ProcedureError.

        Read only: a caller without a credential never takes the store's write lock.
        """
        credential = bearer(self.request)
        async with self.plane.database.read() as connection:
            return await authenticate_daemon(connection, credential)

    async def user(self) -> UserRow:
        """Return the calling user, or raise ProcedureError."""
        credential = bearer(self.request)
        subject = None
        if self.oidc is not None and not credential.startswith(USER_TOKEN_PREFIX):
            subject = await self.oidc.verify(credential)
        async with self.plane.database.read() as connection:
            return await authenticate_user(connection, credential, subject, self.plane.now())


Procedure = Callable[[Call, Any], Awaitable[Any]]
"""Takes the call and the value of "json"; returns the value of "data" or raises ProcedureError."""


def parse(model: type[_InputT], value: Any) -> _InputT:
    """Return the input as `model`; null counts as an object without members.

    Raises:
        ProcedureError: `BAD_REQUEST` saying which member is wrong.
    """
    try:
        return model.model_validate({} if value is None else value)
    except ValidationError as error:
        raise ProcedureError("BAD_REQUEST", f"the input is not valid: {describe_flaw(error)}") from error
