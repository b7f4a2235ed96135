"""Where a running server is reached."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from sideband.control.config import ControlConfig
from sideband.server.listener import host_and_port
from sideband.server.settings import ServerSettings

__all__ = ["Endpoints", "control_config", "endpoints_of"]


@dataclass(frozen=True, slots=True)
class Endpoints:
    """URLs of a running server, with the ports it really has."""

    url: str
    relay_url: str
    private_url: str | None
    data_dir: Path


def endpoints_of(settings: ServerSettings, listener: socket.socket, private: socket.socket | None) -> Endpoints:
    """Return the URLs for the bound sockets; a `public_url` in the settings goes before the listener's address."""
    scheme = "https" if settings.listen.tls_certificate else "http"
    url = settings.public_url or f"{scheme}://{host_and_port(listener)}"
    relay_url = settings.relay_url or "ws" + url.removeprefix("http") + "/relay"
    private_url = None if private is None else f"http://{host_and_port(private)}"
    return Endpoints(url, relay_url, private_url, settings.data_dir)


def control_config(settings: ServerSettings, endpoints: Endpoints) -> ControlConfig:
    """Return what the control plane is told."""
    return ControlConfig(
        public_url=endpoints.url,
        relay_url=endpoints.relay_url,
        issuer=settings.issuer or endpoints.url,
        region=settings.region,
        **settings.control.model_dump(),
    )
