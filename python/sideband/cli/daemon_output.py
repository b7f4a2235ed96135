"""What `sideband daemon` tells: lines for people, or events for programs."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from sideband.cli.output import console, print_event
from sideband.cli.qr import print_qr
from sideband.cli.shown import shown

if TYPE_CHECKING:
    from pathlib import Path

    from sideband.cloud import CloudServer, QuickConnectCode
    from sideband.peer import Peer
    from sideband.sharing import SharedTransfer

__all__ = ["Client", "DaemonOutput", "EventOutput", "LineOutput", "Shared"]

_CONNECT = ("sideband connect {}",)
_SHARES = ("sideband ls {}", "sideband get {} FILE")
_WRITABLE = ("sideband put {} FILE",)
"""What a client may do with a code."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A folder that clients get at.

    Attributes:
        root: the folder.
        writable: whether they may put files there.
        hidden: whether names that begin with a dot are theirs too.
    """

    root: Path
    writable: bool
    hidden: bool


@dataclass(frozen=True, slots=True)
class Client:
    """One connection, as it is told about.

    Attributes:
        number: counts the connections of this process from 1.
        subject: the user's id, or `quick-connect`, by the control plane's verified word.
        name: the user's name by the same word, or None.
        path: "relay", or "direct:" and the transport.
        since: monotonic seconds.
    """

    number: int
    subject: str
    name: str | None
    path: str
    since: float

    @classmethod
    def of(cls, number: int, peer: Peer) -> Client:
        """Describe a peer that was accepted."""
        identity = peer.identity
        name = None if identity is None else identity.claims.get("name")
        subject = "unknown" if identity is None else identity.subject
        return cls(number, subject, name if isinstance(name, str) else None, peer.path or "relay", time.monotonic())


class DaemonOutput(ABC):
    """Where the events of a daemon go."""

    @abstractmethod
    def ready(self, server: CloudServer, name: str | None, shared: Shared | None) -> None:
        """The first relay connection stands."""

    @abstractmethod
    def code(self, code: QuickConnectCode, reason: str) -> None:
        """There is a code; the one before it is `used` or `renewed`, or it is the `first`."""

    @abstractmethod
    def no_code(self, error: BaseException) -> None:
        """There will be no more codes."""

    @abstractmethod
    def connected(self, client: Client, fingerprint: str) -> None:
        """A client is there, and was shown this key."""

    @abstractmethod
    def moved(self, client: Client) -> None:
        """The session of a client takes another way: `client.path`."""

    @abstractmethod
    def disconnected(self, client: Client) -> None:
        """A client is gone."""

    @abstractmethod
    def transferred(self, client: Client, transfer: SharedTransfer) -> None:
        """A client has got or put a file, or failed to."""

    @abstractmethod
    def online(self) -> None:
        """The relay connection stands again."""

    @abstractmethod
    def offline(self, error: BaseException) -> None:
        """The relay connection was lost, or could not be had."""

    @abstractmethod
    def stopping(self, reason: str) -> None:
        """The daemon ends: by a signal's name, or `once`."""


class EventOutput(DaemonOutput):
    """One JSON object a line on standard output."""

    @override
    def ready(self, server: CloudServer, name: str | None, shared: Shared | None) -> None:
        share = shared and {"root": str(shared.root), "writable": shared.writable, "hidden": shared.hidden}
        print_event(
            "ready",
            daemon_id=server.daemon_id,
            name=name,
            fingerprint=server.fingerprint,
            api_url=server.api_url,
            relay_url=server.relay_url,
            share=share,
        )

    @override
    def code(self, code: QuickConnectCode, reason: str) -> None:
        print_event("code", code=code.code, url=code.url, expires_at=code.expires_at.isoformat(), reason=reason)

    @override
    def no_code(self, error: BaseException) -> None:
        print_event("no_code", message=str(error))

    @override
    def connected(self, client: Client, fingerprint: str) -> None:
        print_event("connected", **_described(client), fingerprint=fingerprint)

    @override
    def moved(self, client: Client) -> None:
        print_event("path", **_described(client))

    @override
    def disconnected(self, client: Client) -> None:
        print_event("disconnected", **_described(client), seconds=round(time.monotonic() - client.since, 3))

    @override
    def transferred(self, client: Client, transfer: SharedTransfer) -> None:
        done = transfer.transfer
        print_event(
            "transfer",
            connection=client.number,
            direction=transfer.direction,
            path=transfer.path,
            size=None if done is None else done.size,
            resumed_at=None if done is None else done.resumed_at,
            error=None if transfer.error is None else str(transfer.error),
        )

    @override
    def online(self) -> None:
        print_event("online")

    @override
    def offline(self, error: BaseException) -> None:
        print_event("offline", error=type(error).__name__, message=str(error))

    @override
    def stopping(self, reason: str) -> None:
        print_event("stopping", reason=reason)


class LineOutput(DaemonOutput):
    """Lines on standard output, and QR codes where there is room.

    Args:
        qr: whether codes are drawn too.
    """

    def __init__(self, *, qr: bool) -> None:
        self._console = console()
        self._qr = qr
        self._api_url = ""
        self._commands: tuple[str, ...] = _CONNECT

    @override
    def ready(self, server: CloudServer, name: str | None, shared: Shared | None) -> None:
        self._api_url = server.api_url
        self._say(f"daemon  {server.daemon_id}{f' ({shown(name)})' if name else ''}")
        self._say(f"key     {server.fingerprint}")
        self._say(f"relay   {server.relay_url}")
        if shared is not None:
            self._commands = (*_SHARES, *(_WRITABLE if shared.writable else ()), *_CONNECT)
            rights = "clients may read and write" if shared.writable else "read only"
            self._say(f"shares  {shown(str(shared.root))} ({rights}{', hidden files too' if shared.hidden else ''})")

    @override
    def code(self, code: QuickConnectCode, reason: str) -> None:
        why = {"used": "; the one before was used", "renewed": "; the one before expires"}.get(reason, "")
        until = code.expires_at.astimezone().strftime("%H:%M:%S")
        self._say("")
        self._say(f"To connect once, until {until}{why}{', with one of' if len(self._commands) > 1 else ''}:")
        for command in self._commands:
            self._say(f"  {command.format(code.code)} --api {self._api_url}")
        self._say(f"  {code.url}")
        if self._qr:
            print_qr(code.url, self._console)
        self._say("")

    @override
    def no_code(self, error: BaseException) -> None:
        self._say(f"There are no Quick Connect codes: {shown(str(error))}")

    @override
    def connected(self, client: Client, fingerprint: str) -> None:
        self._say(f"{_now()}  + {_who(client)}, {client.path}, shown {fingerprint}")

    @override
    def moved(self, client: Client) -> None:
        self._say(f"{_now()}  ~ {_who(client)}, now {client.path}")

    @override
    def disconnected(self, client: Client) -> None:
        self._say(f"{_now()}  - {_who(client)}, after {time.monotonic() - client.since:.0f} s")

    @override
    def transferred(self, client: Client, transfer: SharedTransfer) -> None:
        what = f"{transfer.direction} {shown(transfer.path)}"
        if transfer.transfer is None:
            self._say(f"{_now()}  ! {_who(client)}: {what}: {shown(str(transfer.error))}")
        else:
            self._say(f"{_now()}  = {_who(client)}: {what}, {transfer.transfer.size:,} bytes")

    @override
    def online(self) -> None:
        self._say(f"{_now()}  connected to the relay again")

    @override
    def offline(self, error: BaseException) -> None:
        # The log tells it, with the time of the next attempt.
        return

    @override
    def stopping(self, reason: str) -> None:
        self._say(f"{_now()}  ends ({reason})")

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)
        sys.stdout.flush()


def _described(client: Client) -> dict[str, Any]:
    return {"connection": client.number, "subject": client.subject, "name": client.name, "path": client.path}


def _who(client: Client) -> str:
    called = "a guest with a code" if client.subject == "quick-connect" else client.subject
    return f"#{client.number} {shown(client.name)} ({called})" if client.name else f"#{client.number} {called}"


def _now() -> str:
    return time.strftime("%H:%M:%S")
