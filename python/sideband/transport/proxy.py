"""Which proxy an outbound connection goes through: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, as curl reads them."""

from __future__ import annotations

from urllib.request import getproxies, proxy_bypass

from yarl import URL

__all__ = ["proxy_from_environment"]

_PROXY_SCHEME = {"ws": "http", "http": "http", "wss": "https", "https": "https"}


def proxy_from_environment(url: URL) -> str | None:
    """Return the proxy the environment asks for, or None for a direct connection.

    `ws` follows HTTP_PROXY and `wss` HTTPS_PROXY, in lower case first; NO_PROXY names hosts, domains, or `*`.
    """
    proxies = getproxies()
    proxy = proxies.get(_PROXY_SCHEME.get(url.scheme, "")) or proxies.get("all")
    if not proxy or url.host is None:
        return None
    if proxy_bypass(url.host_port_subcomponent or url.host):
        return None
    return proxy
