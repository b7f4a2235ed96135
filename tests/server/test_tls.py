"""TLS from files, read again when they change."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from sideband.errors import ConfigError
from sideband.server.tls import CertificateFiles
from tests.support.certificate import write_certificate


def served_name(context: ssl.SSLContext) -> str:
    """Shake hands in memory and return the common name that the server showed."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    der = client.getpeercert(binary_form=True)
    assert der is not None
    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value)


def test_new_files_are_served_after_a_change(tmp_path: Path) -> None:
    files = CertificateFiles(*write_certificate(tmp_path, "one"))
    assert served_name(files.context) == "one"
    assert not files.reload_if_changed()
    write_certificate(tmp_path, "two")
    assert files.reload_if_changed()
    assert served_name(files.context) == "two"
    assert not files.reload_if_changed()


def test_files_that_do_not_belong_together_leave_the_old_ones_in_use(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "one")
    files = CertificateFiles(certificate, key)
    old_key = key.read_bytes()
    write_certificate(tmp_path, "two")
    new_key = key.read_bytes()
    key.write_bytes(old_key)
    assert not files.reload_if_changed()
    assert served_name(files.context) == "one"
    key.write_bytes(new_key)
    assert files.reload_if_changed()
    assert served_name(files.context) == "two"


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_broken_or_missing_file_leaves_the_old_ones_in_use(tmp_path: Path, content: bytes | None) -> None:
    certificate, key = write_certificate(tmp_path, "one")
    files = CertificateFiles(certificate, key)
    certificate.unlink()
    if content is not None:
        certificate.write_bytes(content)
    assert not files.reload_if_changed()
    assert served_name(files.context) == "one"


def test_files_that_cannot_be_used_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used"):
        CertificateFiles(tmp_path / "cert.pem", tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="cannot be used"):
        CertificateFiles(*write_certificate(tmp_path, "locked", passphrase=b"secret"))


def test_old_versions_of_tls_are_not_spoken(tmp_path: Path) -> None:
    context = CertificateFiles(*write_certificate(tmp_path, "one")).context
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_a_server_with_tls(serve: Any, http: Any, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "one")
    server = await serve(listen={"tls_certificate": certificate, "tls_key": key})
    assert server.url.startswith("https://127.0.0.1:")
    assert server.endpoints.relay_url == "wss" + server.url.removeprefix("https") + "/relay"
    trusting = ssl.create_default_context(cafile=certificate)
    async with http.get(server.url + "/v1/version", ssl=trusting) as response:
        assert response.status == 200
