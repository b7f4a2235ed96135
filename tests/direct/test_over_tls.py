"""Direct sessions over `wss://`: bound to the certificate that the client was shown."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path
from typing import Any

import pytest

from sideband.errors import SbdpError
from sideband.transport import WebSocketTransport
from tests.direct.conftest import Sides
from tests.support.certificate import server_context, write_certificate


@pytest.mark.parametrize("told", ["this", "none", "another"])
async def test_a_listener_has_to_know_the_certificate_that_its_clients_see(
    sides: Sides, tmp_path: Path, told: str
) -> None:
    certificate, key = write_certificate(tmp_path)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).digest()
    wide: dict[str, Any] = {"max_message_bytes": 2 << 20}
    listening = WebSocketTransport(server_ssl_context=server_context(certificate, key), **wide)
    trusting = ssl.create_default_context(cafile=str(certificate))
    # Another is what a listener knows while somebody else's certificate is shown to its clients.
    known = {} if told == "none" else {"tls_certificate": digest if told == "this" else bytes(32)}
    async with await sides.listen("wss://127.0.0.1:0/", transport=listening, **known) as server:
        peer = sides.dial(server, transport=WebSocketTransport(ssl_context=trusting, proxy="", **wide))
        if told == "this":
            async with peer:
                assert await peer.rpc.call("echo", 1) == 1
                assert peer.path == "direct:ws"
        else:
            with pytest.raises(SbdpError, match="handshake_failed"):
                await peer.connect()
            assert not sides.peers
