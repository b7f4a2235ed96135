"""A real STUN and TURN server: Debian's coturn."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def coturn(folder: Path, address: str, port: int, *, prefix: Sequence[str] = ()) -> AsyncIterator[str]:
    """Run it at this address, with a user `peer` of whom this yields the password; `answering` tells when it is up."""
    program = shutil.which("turnserver")
    assert program is not None, "coturn is not installed: apt-get install coturn"
    secret = secrets.token_hex(8)
    (folder / "turn.conf").write_text(
        f"listening-ip={address}\nrelay-ip={address}\nlistening-port={port}\nuser=peer:{secret}\nlt-cred-mech\n"
        f"realm=test\nno-tls\nno-dtls\nno-cli\nallow-loopback-peers\nfingerprint\nlog-file=stdout\nsimple-log\n"
        f"pidfile={folder / 'turn.pid'}\nuserdb={folder / 'turn.db'}\n"
    )
    quiet = asyncio.subprocess.DEVNULL
    # It ends with this process, whatever becomes of that.
    command = (*prefix, "setpriv", "--pdeathsig", "TERM", program, "-c", str(folder / "turn.conf"))
    process = await asyncio.create_subprocess_exec(*command, stdout=quiet, stderr=quiet, start_new_session=True)
    try:
        yield secret
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself, as tests against it will tell
            process.terminate()
        await process.wait()


async def answering(address: str, port: int) -> None:
    """Ask for a binding (RFC 8489) until there is an answer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect((address, port))
        request = bytes.fromhex("000100002112a442") + secrets.token_bytes(12)
        async with asyncio.timeout(60):
            while True:
                try:
                    await loop.sock_sendall(asking, request)
                    async with asyncio.timeout(0.1):
                        await loop.sock_recv(asking, 1024)
                    return
                except (ConnectionRefusedError, TimeoutError):
                    continue
