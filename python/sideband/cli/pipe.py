"""`sideband pipe`: standard input and output as a stream."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sideband.cli import config
from sideband.cli.blocking_streams import BlockingInput, BlockingOutput
from sideband.cli.direct_way import HostCandidatesOption, IceServersOption, Way, WayOption
from sideband.cli.output import EXIT_OK, reporting_errors
from sideband.cli.target import CONNECT_SECONDS, ApiOption, TimeoutOption, TokenFileOption, TrustOption
from sideband.cli.transfer_command import Reach, run_transfer
from sideband.cli.transfer_output import TransferOutput, size_text
from sideband.errors import ConfigError, FileTransferError, PeerError

if TYPE_CHECKING:
    from sideband.peer import Peer, Stream

__all__ = ["EPILOG", "pipe"]

EPILOG = """\b
Examples:
  tar c photos | sideband pipe --listen photos       on one machine, a daemon; it shows a code
  sideband pipe abcd-efgh-jkmn photos | tar x        on the other one
  sideband pipe d_4pjqkx... log > log.txt            a stream that a program of the daemon offers
  sideband pipe --listen photos --direct             a daemon whose client may leave the relay, as it does

Bytes go both ways at once. The end of standard input is told to the other side; the command ends when the other side
has ended too, or when it has and standard input is a terminal.

Exit codes: 0 ok, 1 failure, 2 usage, 3 authentication, 4 identity mismatch, 5 offline, 130 interrupted.
"""


def pipe(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET", help="A Quick Connect code or its address, or a daemon's id; not with --listen."
        ),
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The stream's name.")] = None,
    listen: Annotated[
        str | None,
        typer.Option("--listen", metavar="NAME", help="Be the daemon, and wait for one client to open NAME."),
    ] = None,
    direct: WayOption = None,
    ice_server: IceServersOption = None,
    host_candidates: HostCandidatesOption = None,
    api: ApiOption = None,
    token_file: TokenFileOption = None,
    timeout: TimeoutOption = CONNECT_SECONDS,
    trust: TrustOption = "accept-new",
    api_key_file: Annotated[
        Path | None,
        typer.Option("--api-key-file", metavar="FILE", help="File that holds the API key; - for standard input."),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Events on standard error, one JSON object a line; the first is ready.")
    ] = False,
) -> None:
    """Connect standard input and output with a stream of the other side, encrypted end to end."""
    with reporting_errors(json_output=False):
        if (listen is None) != (target is not None and name is not None):
            raise ConfigError("give TARGET and NAME to connect to a daemon, or --listen NAME to be one")
        if target == "-":
            raise ConfigError("standard input is what is sent, so TARGET cannot be read from it")
    way = Way(direct, ice_server, host_candidates)
    output = TransferOutput(json_output=json_output, bar=not sys.stdout.isatty(), events_on_stderr=True)
    if listen is not None:
        command = _listen(listen, api, api_key_file, way, output)
    else:
        command = _connect(Reach(target or "", api, token_file, timeout, trust, way), name or "", output)
    run_transfer(command, output)


async def _connect(reach: Reach, name: str, output: TransferOutput) -> int:
    async with reach.peer() as peer:
        output.ready(peer, stream=name)
        try:
            stream = await peer.open_stream(name)
        except PeerError as error:
            if error.code == "stream_reset" and error.details.get("code") == _REFUSED:
                raise FileTransferError("not_found", f"the other side has no stream {name!r}", remote=True) from error
            raise
        await _Pipe(stream, output).run()
    return EXIT_OK


async def _listen(name: str, api: str | None, api_key_file: Path | None, way: Way, output: TransferOutput) -> int:
    from sideband import cloud
    from sideband.identity import FileIdentity

    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    taken = False

    def on_connection(peer: Peer) -> None:
        async def serve(stream: Stream) -> None:
            nonlocal taken
            if taken:
                stream.reset(_BUSY, "somebody else is connected already")
                return
            taken = True
            try:
                await _Pipe(stream, output).run()
            except BaseException as error:
                if not over.done():
                    over.set_exception(error) if isinstance(error, Exception) else over.cancel()
                raise
            if not over.done():
                over.set_result(None)

        peer.stream_handler(name, serve)

    async with await cloud.listen(
        api_key=config.api_key(api_key_file),
        identity_key_pair=FileIdentity(config.identity_path()),
        on_connection=on_connection,
        api_url=config.api_url(api),
        options=way.daemon_options(),
    ) as server:
        code = await server.create_quick_connect()
        output.event(
            "ready",
            daemon_id=server.daemon_id,
            fingerprint=server.fingerprint,
            code=code.code,
            url=code.url,
            stream=name,
        )
        output.note(f"On the other machine, until {code.expires_at.astimezone():%H:%M:%S}:")
        output.note(f"  sideband pipe {code.code} {shlex.quote(name)} --api {config.api_url(api)}")
        await over
    return EXIT_OK


class _Pipe:
    """Both directions between a stream and this process's standard input and output."""

    def __init__(self, stream: Stream, output: TransferOutput) -> None:
        self._stream = stream
        self._output = output
        self._sent = 0
        self._received = 0

    async def run(self) -> None:
        with self._output:
            sending = asyncio.create_task(self._send())
            try:
                await self._receive()
                if not os.isatty(sys.stdin.fileno()):
                    await sending
            finally:
                sending.cancel()
                await asyncio.wait((sending,))
            if not sending.cancelled():
                sending.result()
            await self._stream.end()
            seconds = self._output.seconds
        self._output.event("done", sent=self._sent, received=self._received, seconds=seconds)
        if not sys.stdout.isatty():
            self._output.note(f"sent {self._sent:,} bytes, received {size_text(self._received)}, in {seconds:.1f} s")

    async def _send(self) -> None:
        source = BlockingInput(sys.stdin.fileno())
        try:
            while data := await source.read():
                await self._stream.write(data)
                self._sent += len(data)
                self._tell()
        except OSError as error:
            self._stream.reset()
            raise FileTransferError("io_error", f"standard input cannot be read: {error.strerror}") from error
        await self._stream.end(wait=False)

    async def _receive(self) -> None:
        target = BlockingOutput(sys.stdout.fileno())
        while True:
            chunks: list[memoryview] = []
            size = await self._stream.collect(chunks, _WRITE_BYTES)
            if not size:
                return
            await target.write(chunks)
            self._received += size
            self._tell()

    def _tell(self) -> None:
        self._output.progress(self._sent + self._received, None)


_WRITE_BYTES = 1024 * 1024
_REFUSED = 2
_BUSY = 1109
