"""An internet of its own, and homes behind NATs of the kinds that there are: network namespaces and nftables.

Every home is a namespace, and so is every router before one; all routers hang on one switch in the namespace
`internet`, where servers live. Nothing of it touches the host's network, and everything is removed on leaving.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from tests.faults.network import run_command

SERVER_ADDRESSES: Final = ("203.0.113.1", "203.0.113.2")
"""Of the namespace `internet`, within what RFC 5737 keeps for documentation."""

NAT_KINDS: Final = {
    "open": "no NAT: a public address",
    "full cone": "endpoint-independent mapping, endpoint-independent filtering",
    "restricted": "endpoint-independent mapping, address-dependent filtering",
    "port-restricted": "endpoint-independent mapping, address- and port-dependent filtering",
    "symmetric": "address- and port-dependent mapping and filtering",
}
"""What each kind does with UDP, in the words of RFC 4787; the names are those of RFC 3489."""

_TRANSLATION: Final = {
    # One to one: whoever sends to a port reaches the home.
    "full cone": """
        chain prerouting {{ type nat hook prerouting priority dstnat; iifname wan meta l4proto udp dnat to {home}; }}
        chain postrouting {{ type nat hook postrouting priority srcnat; oifname wan snat to {public}; }}
    """,
    # Who was spoken to from a port may send to it, from whatever port of his.
    "restricted": """
        set spoken {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; }}
        chain forward {{ type filter hook forward priority 0; oifname wan update @spoken {{ ip daddr . udp sport }}; }}
        chain prerouting {{
            type nat hook prerouting priority dstnat; iifname wan ip saddr . udp dport @spoken dnat to {home};
        }}
        chain postrouting {{ type nat hook postrouting priority srcnat; oifname wan snat to {public}; }}
    """,
    # What Linux does by itself: ports are kept, and only answers come in.
    "port-restricted": """
        chain postrouting {{ type nat hook postrouting priority srcnat; oifname wan snat to {public}; }}
    """,
    # A new port for every destination.
    "symmetric": """
        chain postrouting {{ type nat hook postrouting priority srcnat; oifname wan masquerade fully-random; }}
    """,
}
# Without this the router would remember a packet that nobody waits for as a connection of its own, and its port would
# not be free for the home any more.
_ROUTER: Final = """
    table ip nat {{ {translation}
        chain input {{ type filter hook input priority 0; policy drop; iifname lan accept; ip protocol icmp accept; }}
    }}
"""


@dataclass(frozen=True, slots=True)
class Home:
    """A namespace behind a NAT.

    Attributes:
        kind: of the NAT.
        prefix: put before a command, it runs in here.
    """

    kind: str
    prefix: tuple[str, ...]


class Internet:
    """Needs root, iproute2 and nftables.

    Attributes:
        prefix: put before a command, it runs where servers live.
    """

    def __init__(self) -> None:
        self._name = f"sideband-{os.getpid()}-{secrets.token_hex(3)}"
        self._namespaces: list[str] = []
        self._homes = 0
        self.prefix = _prefix(self._name)

    async def __aenter__(self) -> Self:
        try:
            await self._add_namespace(self._name)
            await self._ip(
                self._name,
                "link add switch type bridge",
                "link set switch up",
                *(f"address add {address}/24 dev switch" for address in SERVER_ADDRESSES),
                # Further out, what goes to addresses that nobody has is lost without a word.
                "link add void type veth peer name abyss",
                "link set void arp off up",
                "link set abyss up",
                "route add default dev void",
            )
        except BaseException:
            await self._remove()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._remove()

    async def home(self, kind: str) -> Home:
        """Add a home behind a NAT of this kind."""
        self._homes += 1
        number = self._homes
        name, public = f"{self._name}-home{number}", f"203.0.113.{10 + number}"
        await self._add_namespace(name)
        if kind == "open":
            await self._plug(name, number, public)
            return Home(kind, _prefix(name))
        router, inside, home = f"{self._name}-router{number}", f"10.0.{number}.1", f"10.0.{number}.2"
        await self._add_namespace(router)
        await self._plug(router, number, public)
        await self._ip(router, f"link add lan type veth peer name lan netns {name}")
        await self._ip(router, f"address add {inside}/24 dev lan", "link set lan up")
        await self._ip(
            name, f"address add {home}/24 dev lan", "link set lan up", f"route add default via {inside} dev lan"
        )
        translation = _TRANSLATION[kind].format(home=home, public=public)
        await run_command(*_prefix(router), "nft", "-f", "-", given=_ROUTER.format(translation=translation))
        await run_command(*_prefix(router), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        return Home(kind, _prefix(name))

    async def _plug(self, namespace: str, number: int, address: str) -> None:
        await self._ip(self._name, f"link add port{number} type veth peer name wan netns {namespace}")
        await self._ip(self._name, f"link set port{number} master switch", f"link set port{number} up")
        await self._ip(
            namespace,
            f"address add {address}/24 dev wan",
            "link set wan up",
            f"route add default via {SERVER_ADDRESSES[0]} dev wan",
        )

    async def _add_namespace(self, name: str) -> None:
        self._namespaces.append(name)
        await run_command("ip", "netns", "add", name)
        # One protocol: NATs are of IPv4.
        await run_command(*_prefix(name), "sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
        await self._ip(name, "link set lo up")

    async def _ip(self, namespace: str, *commands: str) -> None:
        await run_command("ip", "-n", namespace, "-batch", "-", given="".join(f"{command}\n" for command in commands))

    async def _remove(self) -> None:
        # One command, which goes on when nobody waits for it any more; one of them may not have been made yet.
        with contextlib.suppress(RuntimeError):
            lines = "".join(f"netns delete {name}\n" for name in self._namespaces)
            await run_command("ip", "-force", "-batch", "-", given=lines)


def _prefix(namespace: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", namespace)
