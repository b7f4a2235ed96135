"""Answers the other side's calls: the table of methods, and the tasks that run them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from sideband.errors import PeerError, SbpError
from sideband.peer.failures import (
    APPLICATION_ERROR,
    CORRELATION_MISMATCH,
    OVERLOADED,
    UNSUPPORTED_METHOD,
    describe_failure,
)
from sideband.peer.invocation import Invocation, describe_signature
from sideband.peer.policies import RpcPolicy
from sideband.peer.request_budget import RequestBudget
from sideband.protocol.connection import MISSING, SbpConnection
from sideband.protocol.events import RequestReceived
from sideband.protocol.patterns import PLATFORM_PREFIX

__all__ = ["Handlers"]

_log = logging.getLogger("sideband.peer")


class Handlers:
    """The methods of one peer and the calls that are being answered.

    At most `max_running_handlers` run at once; `max_waiting_requests` or `max_waiting_bytes` wait for them, and the
    next request is answered E 2001, as is one that finds no room in the budget.

    Args:
        policy: those limits.
        budget: bounds what all peers that share it hold.
        wake: called when an answer was queued.
    """

    def __init__(self, policy: RpcPolicy, budget: RequestBudget, wake: Callable[[], None]) -> None:
        self._policy = policy
        self._budget = budget
        self._wake = wake
        self._functions: dict[str, Callable[..., Any]] = {}
        self._invocations: dict[str, Invocation] = {}
        self._connection: SbpConnection | None = None
        self._running: dict[bytes, asyncio.Task[None]] = {}
        self._waiting: OrderedDict[bytes, RequestReceived] = OrderedDict()
        self._waiting_bytes = 0

    @property
    def running(self) -> int:
        """Handlers that run now."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait for a free handler."""
        return len(self._waiting)

    def register(self, method: str, function: Callable[..., Any]) -> None:
        """Answer `method` with `function`.

        Raises:
            PeerError: `rpc_method_already_registered`.
        """
        if method in self._functions:
            raise PeerError("rpc_method_already_registered", f"{method!r} already has a handler")
        self._functions[method] = function
        self._invocations[method] = Invocation(function)

    def unregister(self, method: str, function: Callable[..., Any]) -> None:
        """Stop answering `method`, when it is still `function` that does."""
        if self._functions.get(method) is function:
            del self._functions[method]
            del self._invocations[method]

    def methods(self, *, platform: bool) -> list[str]:
        """Return the names of the methods, sorted; those of the platform only when asked for."""
        return sorted(method for method in self._functions if platform or not method.startswith(PLATFORM_PREFIX))

    def describe(self, method: str) -> dict[str, Any] | None:
        """Return what is known about `method`, or None when it is not answered here."""
        function = self._functions.get(method)
        return None if function is None else {"method": method, **describe_signature(function)}

    def attach(self, connection: SbpConnection) -> None:
        """Answer over `connection` from now on."""
        self._connection = connection

    def detach(self) -> list[asyncio.Task[None]]:
        """Give up all calls of the connection; return the tasks that were cancelled, for the owner to await."""
        self._connection = None
        for request in self._waiting.values():
            self._budget.release(request.size)
        self._waiting.clear()
        self._waiting_bytes = 0
        current = asyncio.current_task()
        tasks = [task for task in self._running.values() if task is not current]
        self._running.clear()
        for task in tasks:
            task.cancel()
        return tasks

    def received(self, request: RequestReceived) -> None:
        """Start, queue or refuse one call. Never waits."""
        invocation = self._invocations.get(request.method)
        if invocation is None:
            self._answer_error(request.cid, UNSUPPORTED_METHOD, f"method {request.method[:64]!r} is not supported")
        elif request.cid in self._running or request.cid in self._waiting:
            self._answer_error(request.cid, CORRELATION_MISMATCH, "a call with this cid is under way")
        elif not self._budget.take(request.size):
            self._answer_error(request.cid, OVERLOADED, "overloaded: too many requests in all sessions together")
        elif len(self._running) < self._policy.max_running_handlers and not self._waiting:
            self._start(invocation, request)
        elif (
            len(self._waiting) < self._policy.max_waiting_requests
            and self._waiting_bytes + request.size <= self._policy.max_waiting_bytes
        ):
            self._waiting[request.cid] = request
            self._waiting_bytes += request.size
        else:
            self._budget.release(request.size)
            self._answer_error(request.cid, OVERLOADED, "overloaded: too many requests are waiting")

    def cancelled(self, cid: bytes) -> None:
        """The other side gave up the call `cid`."""
        waiting = self._waiting.pop(cid, None)
        if waiting is not None:
            self._waiting_bytes -= waiting.size
            self._budget.release(waiting.size)
            return
        task = self._running.get(cid)
        if task is not None:
            task.cancel()

    def _start(self, invocation: Invocation, request: RequestReceived) -> None:
        cid, size = request.cid, request.size
        try:
            result = invocation(request.params)
        except Exception as error:  # noqa: BLE001  (whatever a handler raises is the caller's answer)
            self._budget.release(size)
            self._answer_failure(cid, request.method, error)
            return
        if not inspect.isawaitable(result):
            self._budget.release(size)
            self._answer(cid, request.method, result)
            return
        task = asyncio.create_task(self._run(cid, request.method, result), name=f"sideband rpc {request.method}")
        self._running[cid] = task
        task.add_done_callback(lambda task: self._done(cid, size, task, result))

    async def _run(self, cid: bytes, method: str, pending: Awaitable[Any]) -> None:
        connection = self._connection
        try:
            result = await pending
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            if self._connection is connection:
                self._answer_failure(cid, method, error)
        except Exception as error:  # noqa: BLE001  (whatever a handler raises is the caller's answer)
            if self._connection is connection:
                self._answer_failure(cid, method, error)
        else:
            if self._connection is connection:
                self._answer(cid, method, result)

    def _done(self, cid: bytes, size: int, task: asyncio.Task[None], pending: Awaitable[Any]) -> None:
        self._budget.release(size)
        if inspect.iscoroutine(pending):
            pending.close()  # one whose task was cancelled before its first step has not run at all
        # After a detach the table belongs to the next connection.
        if self._running.get(cid) is task:
            del self._running[cid]
            self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and len(self._running) < self._policy.max_running_handlers:
            _, request = self._waiting.popitem(last=False)
            self._waiting_bytes -= request.size
            invocation = self._invocations.get(request.method)
            if invocation is None:
                self._budget.release(request.size)
                self._answer_error(request.cid, UNSUPPORTED_METHOD, f"method {request.method[:64]!r} is not supported")
            else:
                self._start(invocation, request)

    def _answer(self, cid: bytes, method: str, result: Any) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.send_result(cid, result)
        except PeerError as error:
            if error.code not in ("peer_closed", "not_connected"):
                self._answer_unsendable(cid, method, error, error.code)
        except SbpError as error:
            self._answer_unsendable(cid, method, error, "invalid_result")
        else:
            self._wake()

    def _answer_unsendable(self, cid: bytes, method: str, error: Exception, cause: str) -> None:
        _log.error("the result of %r cannot be sent: %s", method, error)
        self._answer_error(cid, APPLICATION_ERROR, f"the result cannot be sent: {error}", {"cause": cause})

    def _answer_failure(self, cid: bytes, method: str, error: BaseException) -> None:
        code, message, data = describe_failure(error)
        if code == APPLICATION_ERROR and not isinstance(error, PeerError):
            _log.error("the handler of %r failed", method, exc_info=error)
        self._answer_error(cid, code, message, data)

    def _answer_error(self, cid: bytes, code: int, message: str, data: Any = MISSING) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            connection.send_error(cid, code, message, data)
        except (PeerError, SbpError) as error:
            if isinstance(error, PeerError) and error.code in ("peer_closed", "not_connected"):
                return
            # What cannot be sent is the data or the code; the caller gets an answer all the same.
            _log.error("the error that answers a call cannot be sent: %s", error)
            with contextlib.suppress(PeerError):
                connection.send_error(cid, APPLICATION_ERROR, message)
        self._wake()
