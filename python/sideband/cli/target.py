"""TARGET on the command line: a Quick Connect code, its address, or a daemon's id; and the way there."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, urlsplit

import typer

from sideband.cli import config
from sideband.cli.shown import shown
from sideband.errors import CloudApiError, ConfigError, IdentityRefusedError, PeerError, SidebandError

if TYPE_CHECKING:
    from sideband.cli.direct_way import Way
    from sideband.identity import TrustPolicy
    from sideband.peer import Peer

__all__ = [
    "ApiOption",
    "JsonOption",
    "Target",
    "TargetArgument",
    "TimeoutOption",
    "TokenFileOption",
    "TrustOption",
    "checked_fingerprint",
    "open_peer",
    "resolve_target",
]

CONNECT_SECONDS = 30.0
"""How long reaching a daemon may take, unless --timeout says otherwise."""

TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", help="A Quick Connect code or its address, a daemon's id, or - for a code on standard input."
    ),
]
ApiOption = Annotated[str | None, typer.Option("--api", metavar="URL", help="Address of the control plane.")]
TokenFileOption = Annotated[
    Path | None, typer.Option("--token-file", metavar="FILE", help="File with the user's token; - for standard input.")
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long reaching the daemon may take.")
]
TrustOption = Annotated[
    str,
    typer.Option("--trust", metavar="POLICY", help="accept-new pins the first key; pinned-only none."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line; the first is ready.")]

_DAEMON_ID = re.compile(r"d_[0-9A-Za-z]{1,253}")
_FINGERPRINT = re.compile(r"SHA256(:[0-9A-F]{2}){32}")
_NOT_FOUND = 404
_NO_DAEMON = (
    "no daemon has the id {}; `sideband login` lists those that you may reach, and `sideband daemon` tells its own on "
    "its machine"
)
_POLICIES = ("accept-new", "pinned-only")


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a command is to reach.

    Attributes:
        daemon_id: for a daemon's id.
        code: for a Quick Connect code. Not shown in `repr`.
        api_url: of the code's address, when it was given as one.
    """

    daemon_id: str | None = None
    code: str | None = field(default=None, repr=False)
    api_url: str | None = None

    @property
    def name(self) -> str:
        """What may be shown of it: a code is a secret until it is used."""
        return self.daemon_id or "the daemon of the code"


def resolve_target(text: str) -> Target:
    """Return what TARGET means.

    Args:
        text: a daemon's id (`d_...`); a code of 12 letters in any case, with or without hyphens; the address that
            `sideband daemon` prints, with the code in its fragment; or `-`, which reads one of these from standard
            input, so that a code need not be on a command line.

    Raises:
        ConfigError: it is none of these.
    """
    from sideband.control.ids import format_code, normalize_code

    if text == "-":
        text = config.read_secret(Path("-"), "the target")
    text = text.strip()
    if _DAEMON_ID.fullmatch(text):
        return Target(daemon_id=text)
    if text.startswith(("http://", "https://")):
        target = _of_address(text)
        if target is None:
            raise ConfigError("this address holds no code; copy it whole, with what stands behind the #")
        return target
    letters = normalize_code(text)
    if letters is None:
        raise ConfigError(
            "TARGET is a code of 12 letters such as abcd-efgh-jkmn, the address of one, or a daemon's id that begins "
            "with d_; `sideband daemon` prints them on the machine to reach"
        )
    return Target(code=format_code(letters))


def _of_address(text: str) -> Target | None:
    from sideband.control.ids import format_code, normalize_code

    try:
        address = urlsplit(text)
        host = address.hostname
    except ValueError:
        return None
    letters = normalize_code(parse_qs(address.fragment).get("qc", [""])[0])
    if letters is None or not host:
        return None
    base = address.path.removesuffix("/").removesuffix("/connect")
    return Target(code=format_code(letters), api_url=f"{address.scheme}://{address.netloc}{base}")


@asynccontextmanager
async def open_peer(
    target: Target,
    *,
    api: str | None = None,
    token_file: Path | None = None,
    timeout: float = CONNECT_SECONDS,
    trust: str = "accept-new",
    accept: str | None = None,
    way: Way | None = None,
    before_ready: Any = None,
) -> AsyncIterator[Peer]:
    """Reach a daemon; the peer is active inside the block and leaves in good order at its end.

    Args:
        target: whom.
        api: `--api`.
        token_file: `--token-file`.
        timeout: seconds until the session stands.
        trust: `--trust`.
        accept: the only fingerprint that is accepted, and pinned, whatever was pinned before.
        way: which way the session may take; None stays on the relay.
        before_ready: called with the peer before it can have received anything, to register handlers.

    Raises:
        ConfigError: a setting is missing or wrong.
        SidebandError: the daemon cannot be reached; a key that changed is told with both fingerprints and the command
            that accepts it.
    """
    from sideband.cloud import connect
    from sideband.identity import FileIdentityKeyStore

    chosen: dict[str, Any] = {"quick_connect_code": target.code}
    if target.daemon_id is not None:
        # Not read again for every attempt: standard input can be read once only.
        token = config.user_token(token_file)
        chosen = {"daemon_id": target.daemon_id, "get_access_token": lambda: token}
    if accept is not None:
        wanted = checked_fingerprint(accept)
        chosen |= {
            "trust_policy": "prompt",
            "on_first_connection": lambda received: received == wanted,
            "on_identity_mismatch": lambda _, received: received == wanted,
        }
    peer = connect(
        **{"trust_policy": _policy(trust), **chosen},
        api_url=target.api_url or config.api_url(api),
        identity_key_store=FileIdentityKeyStore(config.pins_folder()),
        options=None if way is None else way.client_options(),
    )
    if before_ready is not None:
        before_ready(peer)
    remove = peer.on("reconnecting", _telling_once(peer, timeout))
    try:
        try:
            async with asyncio.timeout(timeout):
                await peer.when_ready()
        except TimeoutError:
            raise _not_in_time(peer, target, timeout) from None
        except IdentityRefusedError as error:
            raise _told(error, target) from None
        except CloudApiError as error:
            if error.status != _NOT_FOUND or target.daemon_id is None:
                raise
            raise CloudApiError(_NOT_FOUND, _NO_DAEMON.format(target.daemon_id), code=error.code) from None
        finally:
            remove()
        if way is not None:
            await way.settled(peer)
        yield peer
    finally:
        await peer.disconnect()


def _policy(trust: str) -> TrustPolicy:
    if trust not in _POLICIES:
        raise ConfigError(f"--trust is {' or '.join(_POLICIES)}; got {trust!r}")
    return trust  # type: ignore[return-value]  # one of the two, which mypy does not see


def checked_fingerprint(text: str) -> str:
    """Return a fingerprint in its one form.

    Raises:
        ConfigError: it is none.
    """
    given = text.strip().upper()
    if not _FINGERPRINT.fullmatch(given):
        raise ConfigError("a fingerprint is SHA256: and 32 pairs of hex digits, as `sideband identity` shows it")
    return given


def _telling_once(peer: Peer, timeout: float) -> Callable[[int, float], None]:
    """Return a listener that tells somebody at a terminal why nothing happens yet."""
    told = not sys.stderr.isatty()

    def tell(_attempt: int, _delay: float) -> None:
        nonlocal told
        if not told and peer.error is not None:
            told = True
            text = f"{shown(str(peer.error))}; trying again, for up to {timeout:g} s"
            print(text, file=sys.stderr, flush=True)

    return tell


def _not_in_time(peer: Peer, target: Target, timeout: float) -> SidebandError:
    if isinstance(peer.error, SidebandError):
        return peer.error
    text = f"{target.name} was not reached within {timeout:g} s; is it online? --timeout waits longer"
    return PeerError("not_connected", text)


def _told(error: IdentityRefusedError, target: Target) -> IdentityRefusedError:
    if error.expected is None:
        text = f"nothing is pinned for {target.name}, whose key is {error.received}; --trust accept-new pins it"
        return IdentityRefusedError(text, expected=None, received=error.received)
    name = target.daemon_id or "NEW-CODE"
    text = "\n".join(
        (
            f"{target.name} shows another identity key than the one that is pinned.",
            f"  pinned    {error.expected}",
            f"  received  {error.received}",
            "Either it was set up anew, or somebody stands in between. Ask its owner, by another way, for the",
            "fingerprint that `sideband identity` shows there. If it is the received one, accept it by:",
            f"  sideband pins accept {name} {error.received}",
        )
    )
    return IdentityRefusedError(text, expected=error.expected, received=error.received)
