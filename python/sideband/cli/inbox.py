"""`sideband inbox`: messages to those who are not there right now."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sideband.cli.running import run_command
from sideband.cli.target import JsonOption

if TYPE_CHECKING:
    from sideband.cli.inbox_files import InboxFiles
    from sideband.inbox.client.bridge import BridgeLike
    from sideband.inbox.client.messages import IncomingMessage
    from sideband.inbox.client.requests import InboxOrigin

__all__ = ["EPILOG", "app"]

EPILOG = """\b
Examples:
  sideband inbox register bob --url https://relay.example     make the address yours; the first use wins
  sideband inbox send bob "back at noon"                      sealed to bob's key, kept until bob fetches it
  tar c photos | sideband inbox send bob -                    up to 1 MiB from standard input
  sideband inbox recv --delete                                what came since the last time
  sideband inbox watch                                        messages as they come, until Ctrl-C

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""

TRANSPORTS = ("auto", "ws", "sse", "long-poll")

app = typer.Typer(name="inbox", no_args_is_help=True, epilog=EPILOG, rich_markup_mode=None)

UrlOption = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Address of the server; the one that was registered at.")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="ADDRESS", help="The address to receive for; the one that was registered."),
]


@app.callback()
def inbox() -> None:
    """Leave messages for others and receive one's own: sealed end to end, kept by a server until they are fetched."""


@app.command(epilog=EPILOG)
def register(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="1 to 256 letters, digits or any of : _ - .")],
    url: UrlOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make an address yours, and publish the key that others seal their messages to."""
    run_command(_register(address, url, json_output), json_output=json_output)


@app.command(epilog=EPILOG)
def send(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The recipient's address.")],
    message: Annotated[
        str, typer.Argument(metavar="MESSAGE", help="The message; - reads it from standard input.")
    ] = "-",
    url: UrlOption = None,
    ttl: Annotated[
        int | None, typer.Option("--ttl", metavar="SECONDS", help="How long it is kept, 60 to 2592000 [7 days].")
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option("--fingerprint", metavar="FINGERPRINT", help="The recipient's key has to be this one: SHA256:..."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Seal a message and leave it for its recipient.

    What could not be left before Ctrl-C, because the server was away or the inbox full, goes with the next one.
    """
    run_command(_send(address, message, url, ttl, fingerprint, json_output), json_output=json_output)


@app.command(epilog=EPILOG)
def recv(
    address: AddressOption = None,
    url: UrlOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was received before.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete each message from the server once shown.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Show what came since the last time."""
    run_command(_recv(address, url, everything, delete, json_output), json_output=json_output)


@app.command(epilog=EPILOG)
def watch(
    address: AddressOption = None,
    url: UrlOption = None,
    transport: Annotated[
        str,
        typer.Option(
            "--transport", metavar="NAME", help="auto, ws, sse or long-poll; auto takes the first that connects."
        ),
    ] = "auto",
    delete: Annotated[bool, typer.Option("--delete", help="Delete each message from the server once shown.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Show messages as they come, until Ctrl-C."""
    run_command(_watch(address, url, transport, delete, json_output), json_output=json_output)


async def _register(address: str, url: str | None, json_output: bool) -> int:
    from sideband.cli.inbox_files import InboxFiles
    from sideband.cli.output import print_event
    from sideband.inbox.address import normalise_address
    from sideband.inbox.client.sending import InboxClient

    files = InboxFiles()
    address, url = normalise_address(address), _url(files, url)
    identity = files.identity()
    published = files.envelope_key().publish(identity.key_pair, address)
    async with InboxClient(url, identity.key_pair) as client:
        created = await client.register(address, envelope_key=published)
    files.save_own(url, address)
    if json_output:
        print_event("ready", address=address, url=url, created=created, fingerprint=identity.fingerprint)
    else:
        print(f"{address} is yours at {url}" + ("" if created else ", as it was before"))
        print(f"fingerprint  {identity.fingerprint}")
    return 0


async def _send(
    address: str, message: str, url: str | None, ttl: int | None, fingerprint: str | None, json_output: bool
) -> int:
    from sideband._native import compute_fingerprint
    from sideband.cli.inbox_files import InboxFiles
    from sideband.cli.output import print_event
    from sideband.cli.target import checked_fingerprint
    from sideband.errors import ConfigError
    from sideband.inbox.client.outgoing import SqliteOutgoingQueue
    from sideband.inbox.client.sending import InboxClient
    from sideband.inbox.envelopes import ENVELOPE_OVERHEAD, seal_envelope

    files = InboxFiles()
    url = _url(files, url)
    expected = checked_fingerprint(fingerprint) if fingerprint is not None else None
    content = sys.stdin.buffer.read(_MAX_PLAINTEXT + 1) if message == "-" else message.encode()
    if len(content) > _MAX_PLAINTEXT:
        raise ConfigError(f"a message is at most {_MAX_PLAINTEXT} bytes ({ENVELOPE_OVERHEAD} more are its envelope)")
    identity = files.identity()
    async with InboxClient(url, identity.key_pair, queue=SqliteOutgoingQueue(files.outgoing())) as client:
        keys = await client.lookup(address)
        if files.pin(url, keys.address, keys.signing_key, expected) and not json_output:
            print(f"first message to {keys.address}: {compute_fingerprint(keys.signing_key)}", file=sys.stderr)
        if keys.envelope_key is None:
            raise ConfigError(f"{keys.address} has published no key to seal to; its owner has to register again")
        recipient = keys.envelope_key.verify(keys.address, keys.signing_key)
        envelope = seal_envelope(content, sender=identity.key_pair, recipient=recipient)
        receipt = await (await client.put(keys.address, envelope, ttl_seconds=ttl))
    if json_output:
        print_event("sent", address=keys.address, msg_id=receipt.msg_id, expires_at=receipt.expires_at)
    else:
        print(f"sent {len(content)} bytes to {keys.address}")
    return 0


async def _recv(address: str | None, url: str | None, everything: bool, delete: bool, json_output: bool) -> int:
    from sideband.cli.inbox_files import InboxFiles
    from sideband.errors import BridgeError
    from sideband.inbox.client.sending import InboxClient

    files = InboxFiles()
    url, address = _own(files, url, address)
    shown = _Shown(files, address, json_output)
    cursor = 0 if everything else files.cursor(url, address)
    async with InboxClient(url, files.identity().key_pair) as client:
        while True:
            try:
                page = await client.fetch(address, cursor)
            except BridgeError as error:
                if error.kind != "conflict" or cursor == 0:
                    raise
                cursor = 0  # the server's store was restored from a backup
                continue
            for message in page.messages:
                shown.show(message)
                files.save_cursor(url, address, message.received_at)
                if delete:
                    await client.delete(address, message.msg_id)
            cursor = page.cursor
            if not page.has_more:
                break
    if shown.count == 0 and not json_output:
        print("nothing new", file=sys.stderr)
    return 0


async def _watch(address: str | None, url: str | None, transport: str, delete: bool, json_output: bool) -> int:
    from sideband.cli.inbox_files import InboxFiles
    from sideband.cli.output import print_event
    from sideband.errors import ConfigError
    from sideband.inbox.client.requests import InboxOrigin
    from sideband.inbox.client.sending import InboxClient

    if transport not in TRANSPORTS:
        raise ConfigError(f"--transport is one of {', '.join(TRANSPORTS)}")
    files = InboxFiles()
    url, address = _own(files, url, address)
    identity = files.identity().key_pair
    shown = _Shown(files, address, json_output)
    bridge, kind = _bridge(InboxOrigin(url, address, identity), transport, files.cursor(url, address))
    async with InboxClient(url, identity) as client:

        async def handle(message: IncomingMessage) -> None:
            shown.show(message)
            files.save_cursor(url, address, message.received_at)
            if delete:
                await client.delete(address, message.msg_id)

        try:
            await bridge.connect(handle)
            if json_output:
                print_event("ready", address=address, url=url, transport=kind())
            else:
                print(f"watching {address} over {kind()}; Ctrl-C ends it", file=sys.stderr, flush=True)
            await bridge.wait_closed()
        finally:
            await bridge.close()
    return 0


_MAX_PLAINTEXT = 1024 * 1024 - 148


class _Shown:
    """Opens and shows messages. One that does not open is told as such: it must not keep those behind it away."""

    def __init__(self, files: InboxFiles, address: str, json_output: bool) -> None:
        self.count = 0
        self._key = files.envelope_key()
        self._address = address
        self._json = json_output

    def show(self, message: IncomingMessage) -> None:
        import base64

        from sideband._native import compute_fingerprint
        from sideband.cli.output import print_event
        from sideband.cli.shown import shown
        from sideband.errors import EnvelopeError
        from sideband.inbox.envelopes import open_envelope

        self.count += 1
        about: dict[str, Any] = {"msg_id": message.msg_id, "cursor": message.received_at}
        try:
            opened = open_envelope(message.bytes, key=self._key, address=self._address)
        except EnvelopeError as error:
            if self._json:
                print_event("unreadable", **about, reason=error.kind)
            else:
                print(f"a message that does not open: {error}", file=sys.stderr, flush=True)
            return
        sender = compute_fingerprint(opened.sender)
        text = opened.plaintext.decode(errors="surrogateescape")
        if self._json:
            print_event("message", **about, sender=sender, data=base64.b64encode(opened.plaintext).decode())
        else:
            print(f"{sender[:19]}  {shown(text)}", flush=True)


def _bridge(origin: InboxOrigin, transport: str, cursor: int) -> tuple[BridgeLike, Any]:
    from sideband.inbox.client.bridges import LongPollBridge, SseBridge, WsBridge
    from sideband.inbox.client.fallback import FallbackBridgeTransport

    bridges = [kind(origin, start_cursor=cursor) for kind in (WsBridge, SseBridge, LongPollBridge)]
    if transport == "auto":
        chain = FallbackBridgeTransport(bridges)
        return chain, lambda: chain.active_kind
    [bridge] = [bridge for bridge in bridges if bridge.kind == transport]
    return bridge, lambda: bridge.kind


def _url(files: InboxFiles, given: str | None) -> str:
    from sideband.cli import config

    own = files.own()
    return (given or (own[0] if own else None) or config.api_url()).rstrip("/")


def _own(files: InboxFiles, url: str | None, address: str | None) -> tuple[str, str]:
    from sideband.errors import ConfigError
    from sideband.inbox.address import normalise_address

    own = files.own()
    if own is None and address is None:
        raise ConfigError("there is no address yet: `sideband inbox register ADDRESS` makes one yours")
    return _url(files, url), normalise_address(address) if address else own[1] if own else ""
