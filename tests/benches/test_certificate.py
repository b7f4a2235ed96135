import ssl
from pathlib import Path

import pytest

from benches.certificate import make_certificate


def test_a_server_on_loopback_is_trusted_by_that_authority_alone(tmp_path: Path) -> None:
    file, authority = make_certificate(str(tmp_path))
    assert Path(file).stat().st_mode & 0o777 == 0o600
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    assert handshake(server, ssl.create_default_context(cadata=authority)) == "127.0.0.1"
    _, another = make_certificate(str(tmp_path))
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server, ssl.create_default_context(cadata=another))


def handshake(server_context: ssl.SSLContext, client_context: ssl.SSLContext) -> str:
    """In memory; return whom the client found."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    waiting = [client, server]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    assert not waiting
    return dict(field[0] for field in client.getpeercert()["subject"])["commonName"]
