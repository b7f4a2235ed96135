"""Joins the chat room: python examples/chat_client.py Ada

What is typed is said to everybody; an empty line or Ctrl-D leaves.
"""

import asyncio
import sys
import threading
from contextlib import suppress

import environment

from sideband import RpcPeerError, SidebandError, cloud


def show(line: dict[str, str]) -> None:
    print(f"{line['name']}: {line['text']}", flush=True)


def typed() -> asyncio.Queue[str | None]:
    """Return a queue of the lines that are typed, with None at their end."""
    lines: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        with open(0, closefd=False) as keyboard:
            for line in keyboard:
                loop.call_soon_threadsafe(lines.put_nowait, line.strip())
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()  # a daemon thread, so that Ctrl-C need not wait for a line
    return lines


async def main(name: str) -> None:
    peer = cloud.connect(**environment.client())
    peer.events.on("chat.said", show)
    peer.events.on("chat.joined", lambda who: print(f"* {who} came", flush=True))
    peer.events.on("chat.left", lambda who: print(f"* {who} left", flush=True))
    peer.on("session_paused", lambda: print("* the room has lost its connection; please wait", flush=True))
    peer.on("session_resumed", lambda: print("* the room is back", flush=True))
    async with peer:
        for line in await peer.rpc.call("join", name):
            show(line)
        print(f"* you are {name}, at {peer.fingerprint}", flush=True)
        # After a new session the room knows nothing of the old one; a session that only paused needs no second join.
        peer.on("connected", lambda: peer.rpc.try_call("join", name))
        lines = typed()
        peer.on("state_change", lambda state, _previous: lines.put_nowait(None) if state == "closed" else None)
        while text := await lines.get():
            await peer.rpc.call("say", text)
        if peer.closed and peer.error is not None:
            raise peer.error


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: chat_client.py NAME")
    try:
        with suppress(KeyboardInterrupt):
            asyncio.run(main(sys.argv[1]))
    except RpcPeerError as error:
        raise SystemExit(f"the room says: {error.rpc_message}") from None
    except SidebandError as error:
        raise SystemExit(f"no connection to the room: {error}") from None
