"""TLS from certificate files, read again when they change."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from sideband.errors import ConfigError

__all__ = ["CertificateFiles"]

CHECK_SECONDS = 5.0
"""How often the files are looked at."""

_log = logging.getLogger("sideband.server")


class CertificateFiles:
    """A certificate and its key in PEM files, and the context that serves them.

    Connections that stand keep the certificate they began with; new ones get the newest that could be read.

    Args:
        certificate: PEM file of the chain, the server's own certificate first.
        key: PEM file of its private key, without a passphrase.

    Raises:
        ConfigError: they cannot be read or do not belong together.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate = certificate
        self._key = key
        try:
            self._seen = self._stamp()
            self.context = _context(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"the TLS certificate {certificate} or its key cannot be used: {error}") from error

    async def follow(self) -> None:
        """Look for changes every 5 s, for ever."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self.reload_if_changed()

    def reload_if_changed(self) -> bool:
        """Read the files if they changed since the last time; tell whether new ones are in use.

        Files that cannot be used, such as a new certificate whose key is not there yet, are tried again at the next
        change or look; the old ones stay in use.
        """
        try:
            stamp = self._stamp()
            if stamp == self._seen:
                return False
            # A failed load leaves a context without its key, so the files prove themselves on another one first.
            _context(self._certificate, self._key)
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            _log.error("tls_files_not_used", extra={"cause": type(error).__name__})
            return False
        self._seen = stamp
        _log.info("tls_files_reloaded")
        return True

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        files = (self._certificate.stat(), self._key.stat())
        return tuple((file.st_ino, file.st_mtime_ns, file.st_size) for file in files)


def _context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # An empty passphrase makes an encrypted key an error instead of a question on the terminal.
    context.load_cert_chain(certificate, key, password="")
    return context
