"""Addresses of an attempt: which of its own a side tells, and which of the other side's it dials.

What the other side names may belong to anybody: a service of this machine, of its network, or a third party far away.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from collections.abc import Iterable, Iterator
from itertools import islice

from yarl import URL

from sideband.direct.policy import DirectPolicy

__all__ = ["METADATA_ADDRESSES", "acceptable", "endpoint", "filtered", "may_dial", "own_addresses"]

METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(address)
    for address in ("169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16")
)
"""Where clouds serve a machine's own credentials and settings: never dialled, also where the range is a private one."""

_NEVER = tuple(
    ipaddress.ip_network(network)
    for network in ("0.0.0.0/8", "2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "fec0::/10")
)
"""This network; IPv6 addresses that stand for IPv4 ones (6to4, Teredo, NAT64), and the deprecated ones of a site."""

PRIVILEGED_PORTS = 1024
"""Ports below this one belong to services, such as SSH and mail; an attempt takes a free one, which never is."""

_log = logging.getLogger("sideband.direct")


def acceptable(candidates: Iterable[str], policy: DirectPolicy) -> list[str]:
    """Return those of the other side's addresses that are dialled: at most `policy.max_candidates`, each once."""
    kinds = [name for name in ("tcp", "quic") if name in policy.transports]
    wanted = (candidate for candidate in dict.fromkeys(candidates) if candidate.partition("://")[0] in kinds)
    return list(islice(_allowed(wanted, policy), policy.max_candidates))


def filtered(description: str, policy: DirectPolicy) -> str:
    """Return a WebRTC description with those candidates only that `may_dial` allows, at most `policy.max_candidates`.

    ICE sends its checks to every candidate that a description names.
    """
    kept: list[str] = []
    left = policy.max_candidates
    for line in description.splitlines(keepends=True):
        if line.lstrip().lower().startswith("a=candidate"):
            words = line.split()
            if left <= 0 or len(words) < 6 or not _may_dial(words[4], words[5], policy):
                _log.info("a candidate for WebRTC was not taken")
                continue
            left -= 1
        kept.append(line)
    return "".join(kept)


def may_dial(candidate: str, policy: DirectPolicy) -> bool:
    """Tell whether an address that another machine names is one to dial.

    Only IP addresses are: a name would be looked up for whoever chose it. Of these not the ones that mean this machine,
    its link, its cloud's metadata or many machines, nor such that hide another address; and no privileged port.
    """
    try:
        url = URL(candidate)
        return _may_dial(url.host or "", str(url.explicit_port or 0), policy)
    except (ValueError, IndexError):  # yarl raises the latter for tcp://[]@
        return False


def own_addresses(*, loopback: bool) -> list[str]:
    """Return this machine's addresses: those it would speak to other networks from, and loopback where asked."""
    found: list[str] = []
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            # Nothing is sent: this only asks the kernel for the route.
            probe.connect((elsewhere, 9))
            address = probe.getsockname()[0]
            if address not in found and not ipaddress.ip_address(address).is_loopback:
                found.append(address)
    return [*found, "127.0.0.1"] if loopback else found


def endpoint(name: str, host: str, port: int) -> str:
    """Return the address of a listener on a host, such as `tcp://192.0.2.1:4242`."""
    return f"{name}://[{host}]:{port}" if ":" in host else f"{name}://{host}:{port}"


# What follows is private.


def _allowed(candidates: Iterable[str], policy: DirectPolicy) -> Iterator[str]:
    for candidate in candidates:
        if may_dial(candidate, policy):
            yield candidate
        else:
            _log.info("a candidate was not dialled: its address is not one for other machines")


def _may_dial(host: str, port: str, policy: DirectPolicy) -> bool:
    if not (port.isascii() and port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536):
        return False
    if int(port) < PRIVILEGED_PORTS and not policy.privileged_ports:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.version == 6 and (address.ipv4_mapped is not None or address.scope_id is not None):
        return False
    if address in METADATA_ADDRESSES or any(address in network for network in _NEVER):
        return False
    if address.is_loopback:
        return policy.loopback
    return not (address.is_unspecified or address.is_multicast or address.is_link_local or address.is_reserved)
