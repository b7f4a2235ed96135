"""Sockets to listen on, bound before anything is built that has to know the port."""

from __future__ import annotations

import ipaddress
import socket

from sideband.errors import ConfigError

__all__ = ["bind", "host_and_port", "is_loopback"]

_BACKLOG = 1024


def bind(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: an address or a name; a name's first address is taken.
        port: 0 takes a free one.

    Raises:
        ConfigError: the address is taken, not ours, or not allowed.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        dual = family == socket.AF_INET6 and host in ("", "::") and socket.has_dualstack_ipv6()
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose another host or port") from error


def host_and_port(listener: socket.socket) -> str:
    """Return a listening socket's address as it stands in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
