"""`sideband connect`: talk to a daemon by hand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from sideband.cli.blocking_streams import BlockingInput
from sideband.cli.direct_way import HostCandidatesOption, IceServersOption, Way, WayOption
from sideband.cli.target import (
    CONNECT_SECONDS,
    ApiOption,
    JsonOption,
    TargetArgument,
    TimeoutOption,
    TokenFileOption,
    TrustOption,
)

if TYPE_CHECKING:
    from sideband.peer import Peer

__all__ = ["EPILOG", "connect"]

EPILOG = """\b
Examples:
  sideband connect abcd-efgh-jkmn                    ask, call, watch; `help` says how
  sideband connect d_4pjqkx...
  sideband connect d_4pjqkx... --direct              only without the relay
  echo 'call greet "Ada"' | sideband connect d_4pjqkx... --json

Exit codes: 0 ok, 1 the connection was lost or a line of standard input failed, 2 usage, 3 authentication, 4 identity
mismatch, 5 offline, 130 interrupted.
"""

MAX_SHOWN = 4_000
MAX_LINE_BYTES = 16 * 1024 * 1024
_HELP = """\
methods                  the methods that the daemon has
describe METHOD          what it takes
call METHOD [JSON]       call it; the result is shown as JSON
watch PATTERN            show events: names with * for one part and > for the rest, such as sensor.>
unwatch                  show none any more
info                     who is there, and by which path
quit                     leave; Ctrl-D does too"""


def connect(
    target: TargetArgument,
    direct: WayOption = None,
    ice_server: IceServersOption = None,
    host_candidates: HostCandidatesOption = None,
    timeout: TimeoutOption = CONNECT_SECONDS,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    trust: TrustOption = "accept-new",
    json_output: JsonOption = False,
) -> None:
    """Connect to a daemon and talk to it by hand: list its methods, call them, watch its events."""
    from sideband.cli.running import run_command

    how: dict[str, Any] = {"api": api, "token_file": token_file, "timeout": timeout, "trust": trust}
    how["way"] = Way(direct, ice_server, host_candidates)
    run_command(_connect(target, how, json_output=json_output), json_output=json_output)


async def _connect(target: str, how: dict[str, Any], *, json_output: bool) -> int:
    from sideband.cli.output import EXIT_FAILURE
    from sideband.cli.target import open_peer, resolve_target

    whom = resolve_target(target)
    # A dumb terminal edits lines by itself, and the prompt could not be redrawn there.
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    show = _Shown(json_output=json_output)
    async with open_peer(whom, **how) as peer:
        show.event("ready", f"connected, {peer.fingerprint}", fingerprint=peer.fingerprint, path=peer.path)
        if interactive:
            show.text("help says what can be done; Ctrl-D leaves")
        talk = _Talk(peer, show)
        lines = _typed() if interactive else _piped()
        failed = await _until_lost(peer, talk.follow(lines, _above_the_prompt() if interactive else nullcontext()))
    return EXIT_FAILURE if failed and not interactive else 0


async def _until_lost(peer: Peer, talking: Any) -> bool:
    """Return whether a line failed; a connection that is lost for good ends the talk.

    Raises:
        SidebandError: what ended the connection.
    """
    lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def changed(state: str, _previous: str) -> None:
        if state == "closed" and not lost.done():
            lost.set_result(None)

    remove = peer.on("state_change", changed)
    task = asyncio.ensure_future(talking)
    try:
        await asyncio.wait((task, lost), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            failed: bool = task.result()
            return failed
        await peer.when_ready()  # raises what closed it
        return True
    finally:
        remove()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class _Shown:
    """Output for people, or one JSON object a line."""

    def __init__(self, *, json_output: bool) -> None:
        self._json = json_output

    def event(self, event: str, text: str, **fields: Any) -> None:
        from sideband.cli.output import print_event

        if self._json:
            print_event(event, **fields)
        else:
            print(text, flush=True)

    def error(self, error: Exception) -> None:
        from sideband.cli.shown import shown_lines

        told = shown_lines(str(error))
        self.event("error", f"error: {told}", error=type(error).__name__, message=str(error))

    def text(self, text: str) -> None:
        if not self._json:
            print(text, flush=True)


class _Talk:
    """Does what a line says."""

    def __init__(self, peer: Peer, show: _Shown) -> None:
        self._peer = peer
        self._show = show
        self._watching: list[Callable[[], None]] = []
        self._words = {
            "help": self._help,
            "methods": self._methods,
            "describe": self._describe,
            "call": self._call,
            "watch": self._watch,
            "unwatch": self._unwatch,
            "info": self._info,
        }

    async def follow(self, lines: AsyncIterator[str], around: AbstractContextManager[Any]) -> bool:
        """Do line after line until `quit` or the end; return whether one failed."""
        from sideband.errors import SidebandError

        failed = False
        with around:
            async for line in lines:
                word, _, rest = line.strip().partition(" ")
                if not word:
                    continue
                if word in ("quit", "exit"):
                    break
                try:
                    act = self._words.get(word)
                    if act is None:
                        raise _unknown(word)
                    await act(rest.strip())
                except SidebandError as error:
                    failed = True
                    self._show.error(error)
        return failed

    async def _help(self, _: str) -> None:
        self._show.event("help", _HELP, words=sorted(self._words))

    async def _methods(self, _: str) -> None:
        from sideband.cli.shown import shown

        names = await self._peer.rpc.call("$sideband/rpc.list")
        found = [str(name) for name in names] if isinstance(names, list) else []
        self._show.event("methods", "\n".join(map(shown, found)) or "it has no methods of its own", methods=found)

    async def _describe(self, method: str) -> None:
        self._result(await self._peer.rpc.call("$sideband/rpc.describe", {"method": method}))

    async def _call(self, rest: str) -> None:
        from sideband.errors import ConfigError

        method, _, params = rest.partition(" ")
        if not method:
            raise ConfigError("call METHOD [JSON]: the method is missing")
        try:
            value = json.loads(params) if params.strip() else None
        except (ValueError, RecursionError):
            raise ConfigError("""the parameters are no JSON; a text needs quotes: call greet "Ada\"""") from None
        self._result(await self._peer.rpc.call(method, value))

    async def _watch(self, pattern: str) -> None:
        self._watching.append(self._peer.events.on_pattern(pattern or ">", self._event))
        self._show.event("watching", f"watching {pattern or '>'}", pattern=pattern or ">")

    async def _unwatch(self, _: str) -> None:
        while self._watching:
            self._watching.pop()()
        self._show.event("unwatched", "watching nothing")

    async def _info(self, _: str) -> None:
        from sideband.cli.call import plain

        told = plain(await self._peer.rpc.call("$sideband/info"))
        fields = {"fingerprint": self._peer.fingerprint, "path": self._peer.path, "daemon": told}
        self._show.event("info", json.dumps(fields, indent=2), **fields)

    def _event(self, event: Any) -> None:
        from sideband.cli.call import plain
        from sideband.cli.shown import shown

        data = plain(event.data)
        text = json.dumps(data)
        cut = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
        self._show.event("event", f"{shown(event.name)} {cut}", name=event.name, data=data)

    def _result(self, value: Any) -> None:
        from sideband.cli.call import plain

        found = plain(value)
        # JSON escapes what could steer a terminal.
        self._show.event("result", json.dumps(found, indent=2), value=found)


async def _typed() -> AsyncIterator[str]:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import InMemoryHistory

    # A line of text needs no question for the cursor's place, which not every terminal answers.
    os.environ["PROMPT_TOOLKIT_NO_CPR"] = "1"
    # In memory only: what is called may be a secret.
    session: PromptSession[str] = PromptSession(history=InMemoryHistory())
    while True:
        try:
            yield await session.prompt_async("sideband> ", handle_sigint=False)
        except EOFError:
            return
        except KeyboardInterrupt:
            # The prompt reads keys itself, so that this one has not become a signal yet.
            signal.raise_signal(signal.SIGINT)
            await asyncio.get_running_loop().create_future()


async def _piped() -> AsyncIterator[str]:
    from sideband.errors import ConfigError

    source, held = BlockingInput(sys.stdin.fileno()), b""
    while data := await source.read():
        *lines, held = (held + data).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
        if len(held) > MAX_LINE_BYTES:
            raise ConfigError(f"a line of standard input is over {MAX_LINE_BYTES} bytes")
    if held:
        yield held.decode(errors="replace")


def _above_the_prompt() -> AbstractContextManager[Any]:
    from prompt_toolkit.patch_stdout import patch_stdout

    return patch_stdout(raw=True)


def _unknown(word: str) -> Exception:
    from sideband.cli.shown import shown
    from sideband.errors import ConfigError

    return ConfigError(f"{shown(word[:40])!r} is no word of this prompt; `help` lists them")
