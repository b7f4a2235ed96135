"""Calls to the other side, and the methods it can call here (docs/protocol/peer.md, "RPC")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, overload

from sideband.errors import PeerError, PeerErrorCode, RpcPeerError, SidebandError
from sideband.peer.clock import Clock
from sideband.peer.deadlines import ActiveDeadlines
from sideband.peer.handlers import Handlers
from sideband.peer.policies import ConnectionPolicy, RpcPolicy
from sideband.peer.proxy import make_proxy
from sideband.peer.request_budget import RequestBudget
from sideband.protocol.connection import MISSING, SbpConnection
from sideband.protocol.envelopes import encode_request
from sideband.protocol.patterns import PLATFORM_PREFIX

__all__ = ["CallResult", "Rpc"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Unsubscribe = Callable[[], None]

_SIZING_CID = bytes(16)


@dataclass(frozen=True, slots=True)
class CallResult(Generic[T]):
    """What became of a `try_call`.

    Attributes:
        ok: whether the call succeeded.
        value: its result; None when it failed.
        error: why it failed, or None.
        reconnected: whether the peer made a new session while the call was waiting.
    """

    ok: bool
    value: T | None
    error: SidebandError | None
    reconnected: bool


class Rpc:
    """The calls of one peer, both ways. Use `peer.rpc`; a peer makes it.

    Args:
        policy: limits and the default timeout.
        connection: whether calls wait for a session or fail without one.
        budget: bounds the requests that all peers sharing it answer.
        clock: where time comes from.
        wake: called when something was queued for sending.
    """

    def __init__(
        self,
        policy: RpcPolicy,
        connection: ConnectionPolicy,
        budget: RequestBudget,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        self._policy = policy
        self._waits_for_session = connection.on_disconnect == "pause"
        self._wake = wake
        self._handlers = Handlers(policy, budget, wake)
        self._deadlines = ActiveDeadlines(clock, self._expired)
        self._connection: SbpConnection | None = None
        self._active = False
        self._closed = False
        self._sessions = 0
        self._sent: dict[bytes, _Call] = {}
        self._waiting: dict[_Call, None] = {}
        self._waiting_bytes = 0

    async def call(self, method: str, params: Any = None, timeout: float | None = None) -> Any:
        """Call a method of the other side and return its result.

        Args:
            method: its name.
            params: what it takes: anything JSON carries, and bytes where both sides speak bin/1. None sends none.
            timeout: seconds to wait for the answer, counted only while the session is active; None takes
                `RpcPolicy.default_timeout`, `math.inf` waits for ever.

        Raises:
            RpcPeerError: the other side answered with an error; `rpc_code` 1101 for a method it does not have, 2001
                when it is overloaded.
            PeerError: `rpc_timeout`; `not_connected` when there is no session, or it was lost: the call may have run;
                `buffer_overflow` when too much waits for a session; `message_too_large`; `peer_closed`.
            SbpError: 1100 when `params` cannot be encoded.
            asyncio.CancelledError: the task was cancelled; the other side is told, and its handler is cancelled. The
                cause is a `PeerError` with `rpc_cancelled`.
        """
        return await self._call(method, MISSING if params is None else params, timeout)

    async def try_call(self, method: str, params: Any = None, timeout: float | None = None) -> CallResult[Any]:
        """Like `call`, but return what became of it. Raises nothing but `asyncio.CancelledError`."""
        sessions = self._sessions
        try:
            value = await self.call(method, params, timeout)
        except SidebandError as error:
            return CallResult(ok=False, value=None, error=error, reconnected=self._sessions > sessions > 0)
        return CallResult(ok=True, value=value, error=None, reconnected=self._sessions > sessions > 0)

    @overload
    def handle(self, method: str, function: Callable[..., Any]) -> Unsubscribe: ...

    @overload
    def handle(self, method: str) -> Callable[[F], F]: ...

    def handle(
        self, method: str, function: Callable[..., Any] | None = None
    ) -> Unsubscribe | Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Answer a method with a function, sync or async; also a decorator: `@peer.rpc.handle("add")`.

        A function without parameters is called without; with one, it gets `params`; with more, `params` must be an
        object with their names. What it returns is the result; what it raises is the caller's error: an `RpcPeerError`
        travels as it is, others as code 2000 (or their attribute `rpc_code`) with their message.

        Returns:
            A function that takes the handler away again; as a decorator, the function itself.

        Raises:
            PeerError: `rpc_method_already_registered`; `invalid_pattern` for an empty name or one that begins with
                `$sideband/`.
        """
        if not method or method.startswith(PLATFORM_PREFIX):
            raise PeerError(
                "invalid_pattern", f"a method needs a name that does not begin with {PLATFORM_PREFIX}, got {method!r}"
            )
        if function is None:
            return self._decorator(method)
        return self.handle_platform(method, function)

    def handle_platform(self, method: str, function: Callable[..., Any]) -> Unsubscribe:
        """Like `handle`, also for names that begin with `$sideband/`; for the platform itself.

        Raises:
            PeerError: `rpc_method_already_registered`.
        """
        self._handlers.register(method, function)
        return lambda: self._handlers.unregister(method, function)

    def client(self, protocol: type[T], *, prefix: str = "", timeout: float | None = None) -> T:
        """Return a typed proxy: each method of `protocol` becomes a call of that name.

        A method without parameters sends none; one parameter is sent as `params`; more are sent as an object with
        their names, the way `handle` takes them. Results are returned as they came.

        Args:
            protocol: a class, usually a `typing.Protocol`, with `async def` methods.
            prefix: put before each method's name, such as "files.".
            timeout: as in `call`, for every call of the proxy.
        """

        async def call(method: str, params: Any) -> Any:
            return await self._call(method, params, timeout)

        return make_proxy(protocol, prefix, call)

    def list_methods(self) -> list[str]:
        """Return the names of the methods handled here, sorted, without those of the platform."""
        return self._handlers.methods(platform=False)

    # What follows is for the peer that owns this object.

    @property
    def handlers(self) -> Handlers:
        """The methods answered here."""
        return self._handlers

    @property
    def pending(self) -> int:
        """Calls under way and waiting."""
        return len(self._sent) + len(self._waiting)

    def serve_introspection(self) -> None:
        """Answer `$sideband/rpc.list` and `$sideband/rpc.describe`."""

        def list_methods() -> list[str]:
            """List the methods that can be called."""
            return self._handlers.methods(platform=True)

        def describe(method: Any) -> dict[str, Any]:
            """Describe one method: its documentation, parameters and result."""
            name = method.get("method") if isinstance(method, dict) else method
            description = self._handlers.describe(name) if isinstance(name, str) else None
            if description is None:
                raise RpcPeerError(1101, f"method {str(name)[:64]!r} is not supported")
            return description

        self.handle_platform(f"{PLATFORM_PREFIX}rpc.list", list_methods)
        self.handle_platform(f"{PLATFORM_PREFIX}rpc.describe", describe)

    def attach(self, connection: SbpConnection) -> None:
        """Use a new session; nothing is sent until `activate`."""
        self._connection = connection
        self._sessions += 1
        self._handlers.attach(connection)

    def detach(self) -> list[asyncio.Task[None]]:
        """Forget the session; return the handlers' tasks that were cancelled."""
        self._connection = None
        self.deactivate()
        return self._handlers.detach()

    def activate(self) -> None:
        """Let deadlines run and send what waits."""
        self._active = True
        self._deadlines.start()
        waiting = list(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        for call in waiting:
            if not call.future.done():
                try:
                    self._send(call)
                except SidebandError as error:
                    call.future.set_exception(error)

    def deactivate(self) -> None:
        """Stop deadlines; from here on calls wait or fail, by policy."""
        self._active = False
        self._deadlines.stop()

    def close(self) -> None:
        """Refuse every further call."""
        self._closed = True
        self._deadlines.clear()

    def fail(self, *, sent: bool, waiting: bool, code: PeerErrorCode, cause: BaseException | None) -> None:
        """Fail calls that were sent, or that wait to be sent, or both."""
        failed: list[_Call] = []
        if sent:
            for cid, call in self._sent.items():
                self._deadlines.discard(cid, call.timeout)
                if self._connection is not None:
                    self._connection.send_cancel(cid)  # a pause only: a late answer must not surprise anyone
                failed.append(call)
            self._sent.clear()
        if waiting:
            failed += self._waiting
            self._waiting.clear()
            self._waiting_bytes = 0
        for call in failed:
            _fail(call, code, "the call may have run" if call.cid is not None else "the call was not sent", cause)

    def lost(self, cids: tuple[bytes, ...]) -> None:
        """These calls will not be answered."""
        for cid in cids:
            call = self._forget(cid)
            if call is not None:
                _fail(call, "not_connected", "the answer was lost with the connection; the call may have run", None)

    def result_received(self, cid: bytes, value: Any) -> None:
        """A call succeeded."""
        call = self._forget(cid)
        if call is not None and not call.future.done():
            call.future.set_result(value)

    def error_received(self, cid: bytes, code: int, message: str, data: Any) -> None:
        """A call failed on the other side."""
        call = self._forget(cid)
        if call is not None and not call.future.done():
            call.future.set_exception(RpcPeerError(code, message, data))

    def _decorator(self, method: str) -> Callable[[F], F]:
        def register(function: F) -> F:
            self.handle_platform(method, function)
            return function

        return register

    async def _call(self, method: str, params: Any, timeout: float | None) -> Any:
        try:
            call = self._begin(method, params, timeout)
        except SidebandError:
            # A loop that calls again and again without a session must not keep the one from coming about.
            await asyncio.sleep(0)
            raise
        return await self._finish(call)

    def _begin(self, method: str, params: Any, timeout: float | None) -> _Call:
        if timeout is None:
            timeout = self._policy.default_timeout
        if timeout is None:
            timeout = float("inf")
        call = _Call(method, params, timeout, asyncio.get_running_loop().create_future())
        if self._active:
            self._send(call)
        elif self._closed:
            raise PeerError("peer_closed", f"{method!r} was not called: the peer is closed")
        elif not self._waits_for_session:
            raise PeerError("not_connected", f"{method!r} was not called: no session is active")
        else:
            self._hold(call)
        return call

    def _send(self, call: _Call) -> None:
        if self._connection is None:
            raise PeerError("not_connected", f"{call.method!r} was not called: no session is active")
        cid = self._connection.send_request(call.method, call.params)
        call.cid = cid
        call.params = None
        self._sent[cid] = call
        self._deadlines.add(cid, call.timeout)
        self._wake()

    def _hold(self, call: _Call) -> None:
        call.size = len(encode_request(_SIZING_CID, call.method, call.params, binary=True))
        limit = self._policy.disconnect_buffer_limit
        if self._waiting_bytes + call.size > limit:
            raise PeerError(
                "buffer_overflow",
                f"{call.method!r} was not called: {self._waiting_bytes} bytes of calls wait for a session, and "
                f"{call.size} more are over the limit of {limit}",
            )
        self._waiting[call] = None
        self._waiting_bytes += call.size

    async def _finish(self, call: _Call) -> Any:
        try:
            return await call.future
        except asyncio.CancelledError:
            self._abandon(call)
            raise asyncio.CancelledError(f"call of {call.method!r} cancelled") from PeerError(
                "rpc_cancelled", f"{call.method!r} was cancelled by its caller"
            )

    def _abandon(self, call: _Call) -> None:
        if call.cid is None:
            if call in self._waiting:
                del self._waiting[call]
                self._waiting_bytes -= call.size
        elif self._forget(call.cid) is not None and self._connection is not None:
            self._connection.send_cancel(call.cid)
            self._wake()

    def _forget(self, cid: bytes) -> _Call | None:
        call = self._sent.pop(cid, None)
        if call is not None:
            self._deadlines.discard(cid, call.timeout)
        return call

    def _expired(self, cid: bytes) -> None:
        call = self._sent.pop(cid, None)
        if call is None:
            return
        if self._connection is not None:
            self._connection.send_cancel(cid)
            self._wake()
        _fail(call, "rpc_timeout", f"no answer within {call.timeout:g} s", None)


class _Call:
    __slots__ = ("cid", "future", "method", "params", "size", "timeout")

    def __init__(self, method: str, params: Any, timeout: float, future: asyncio.Future[Any]) -> None:
        self.method = method
        self.params = params
        self.timeout = timeout
        self.future = future
        self.cid: bytes | None = None
        self.size = 0


def _fail(call: _Call, code: PeerErrorCode, message: str, cause: BaseException | None) -> None:
    if not call.future.done():
        error = PeerError(code, f"{call.method!r}: {message}")
        error.__cause__ = cause
        call.future.set_exception(error)
