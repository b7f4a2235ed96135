"""Which certificates outbound TLS trusts unless told otherwise: the system's roots, or those of SSL_CERT_FILE."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from sideband.errors import ConfigError

__all__ = ["ssl_context_from_environment"]


def ssl_context_from_environment() -> ssl.SSLContext:
    """Return a context that verifies servers by the system's roots, or by the PEM file that SSL_CERT_FILE names.

    Raises:
        ConfigError: SSL_CERT_FILE names a file that does not exist; OpenSSL itself would then trust nothing, and every
            server would seem to have a bad certificate.
    """
    certificates = os.environ.get("SSL_CERT_FILE")
    if certificates and not Path(certificates).is_file():
        raise ConfigError("SSL_CERT_FILE names a file that does not exist")
    return ssl.create_default_context()
