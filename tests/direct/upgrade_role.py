"""One side of an upgrade, in a process that kills itself at one step of it, as the first line of its input says."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any

from sideband import direct
from sideband.direct import upgrade
from sideband.direct.messages import decode
from sideband.direct.moving import SessionUpgrade
from sideband.identity import IdentityKeyPair, IdentityTrust, MemoryIdentityKeyStore
from sideband.peer import Peer, PeerOptions, create_peer
from sideband.peer.listening import listen
from sideband.peer.relay_negotiators import relay_client_negotiator, relay_daemon_negotiator
from tests.support.relay_harness import PAUSE, QUICK, bearer, quick_transport
from tests.support.token_issuer import DAEMON


def step_of(action: upgrade.Action) -> str:
    """The name of an action, or of the message that it says."""
    if isinstance(action, upgrade.Say):
        fields = decode(action.message)
        return f"say {fields['t']}" if fields else ""
    return type(action).__name__.lower()


class Dying(SessionUpgrade):
    """Ends this process without a word, right before or after one step."""

    step = ""
    after = False

    def perform(self, actions: Iterable[upgrade.Action]) -> None:
        for action in actions:
            here = step_of(action) == self.step
            if here and not self.after:
                os.kill(os.getpid(), signal.SIGKILL)
            super().perform([action])
            if here:
                os.kill(os.getpid(), signal.SIGKILL)


async def main(order: dict[str, Any]) -> None:
    direct.moving.SessionUpgrade = Dying  # type: ignore[misc]  # the real one, but for its end
    Dying.step, Dying.after = order["step"], order["after"]
    policy = direct.DirectPolicy(transports=("tcp",), loopback=True)
    options = PeerOptions(connection=PAUSE, retry=QUICK, upgrade=direct.upgrades(policy))
    token = order["token"]

    def number(peer: Peer) -> None:
        # So that there is always something under way.
        for count in range(200):
            peer.send("app/n", count.to_bytes(4, "big") + bytes(10_000))

    if order["side"] == "daemon":
        negotiator = relay_daemon_negotiator(
            DAEMON,
            IdentityKeyPair.from_private_bytes(bytes.fromhex(order["seed"])),
            get_connection_params=lambda: bearer(token),
        )
        async with await listen(
            order["relay"], number, negotiator=negotiator, transport=quick_transport(), options=options
        ):
            sys.stdout.write("serving\n")
            sys.stdout.flush()
            await asyncio.to_thread(sys.stdin.readline)
    else:
        peer = create_peer(
            order["relay"],
            negotiator=relay_client_negotiator(
                DAEMON,
                trust=IdentityTrust(MemoryIdentityKeyStore(), "accept-new"),
                get_connection_params=lambda: bearer(token),
            ),
            transport=quick_transport(),
            options=options,
        )
        async with peer:
            number(peer)
            await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.stdin.readline())))
