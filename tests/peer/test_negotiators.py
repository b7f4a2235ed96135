"""Which errors are fatal and which are worth a retry: docs/protocol/peer.md, "Negotiators"."""

from __future__ import annotations

from typing import Any

import pytest

from sideband.errors import (
    CloudApiError,
    ConfigError,
    ConnectionClosed,
    IdentityRefusedError,
    IdentityStoreError,
    PeerError,
    SbpError,
    SbrpError,
    SbrpErrorCode,
    TokenError,
    TransportError,
)
from sideband.identity import IdentityTrust, MemoryIdentityKeyStore, generate_identity_key_pair
from sideband.peer import ConnectionParams, classify_error, relay_client_negotiator, relay_daemon_negotiator
from sideband.transport import memory_pair
from tests.support.relay_harness import bearer
from tests.support.token_issuer import Issuer

FATAL = [
    IdentityRefusedError("refused", expected=None, received="SHA256:00"),
    SbpError(1000, "protocol violation"),
    SbpError(1001, "wrong version"),
    SbpError(1002, "invalid frame"),
    TransportError("authentication_failed", http_status=401),
    TransportError("authentication_failed", http_status=403),
    TransportError("message_too_large"),
    TransportError("abnormal_close", close_code=4001),
    CloudApiError(400),
    CloudApiError(401),
    CloudApiError(403),
    CloudApiError(404),
    PeerError("peer_closed", details={"reason": ""}),
    PeerError("peer_closed", details={"reason": "refused"}),
    PeerError("invalid_state"),
    ConfigError("a mistake"),
    TokenError("bad_signature"),
    ValueError("a bug"),
]
RETRYABLE = [
    TransportError("connection_refused"),
    TransportError("dns_failure"),
    TransportError("tls_failure"),
    TransportError("timeout"),
    TransportError("abnormal_close"),
    TransportError("transport_failure", http_status=409),
    TransportError("transport_failure", http_status=429),
    TransportError("transport_failure", http_status=503),
    ConnectionClosed(),
    SbpError(2001, "no room", fatal=False),
    CloudApiError(409),
    CloudApiError(429),
    CloudApiError(500),
    PeerError("not_connected"),
    PeerError("peer_closed", details={"reason": "shutdown"}),
    IdentityStoreError("locked"),
    TimeoutError(),
    ConnectionResetError(),
]
FATAL_SBRP = {
    "unauthorized",
    "forbidden",
    "daemon_not_found",
    "session_not_found",
    "malformed_frame",
    "payload_too_large",
    "invalid_frame_type",
    "invalid_session_id",
    "disallowed_sender",
    "identity_key_changed",
    "handshake_failed",
    "decrypt_failed",
}


@pytest.mark.parametrize("error", FATAL, ids=repr)
def test_fatal(error: BaseException) -> None:
    assert classify_error(error) == "fatal"


@pytest.mark.parametrize("error", RETRYABLE, ids=repr)
def test_retryable(error: BaseException) -> None:
    assert classify_error(error) == "retryable"


@pytest.mark.parametrize("code", list(SbrpErrorCode))
def test_every_code_of_the_secure_relay_layer(code: SbrpErrorCode) -> None:
    assert classify_error(SbrpError(code)) == ("fatal" if code.value in FATAL_SBRP else "retryable")


def client(params: Any) -> Any:
    trust = IdentityTrust(MemoryIdentityKeyStore(), "accept-new")
    return relay_client_negotiator("d_1", trust=trust, get_connection_params=params)


@pytest.mark.parametrize(
    "make", [client, lambda p: relay_daemon_negotiator("d", generate_identity_key_pair(), get_connection_params=p)]
)
def test_one_401_is_retried_with_a_new_token(make: Any) -> None:
    negotiator = make(ConnectionParams)
    refused = TransportError("authentication_failed", http_status=401)
    assert [negotiator.classify_error(refused) for _ in range(3)] == ["retryable", "fatal", "fatal"]
    assert negotiator.classify_error(TransportError("authentication_failed", http_status=403)) == "fatal"
    negotiator = make(ConnectionParams)
    assert negotiator.classify_error(TransportError("authentication_failed", http_status=403)) == "fatal"


async def test_the_session_id_is_read_from_the_token() -> None:
    near, far = memory_pair()
    negotiator = client(lambda: bearer(Issuer().client(sid=0x0102030405060708)))
    await negotiator.get_connection_params()
    await far.close()
    with pytest.raises(TransportError):
        await negotiator.negotiate(near)
    near, far = memory_pair()
    await negotiator.get_connection_params()

    import asyncio

    handshake = asyncio.create_task(negotiator.negotiate(near))
    init = await far.receive()
    assert init[5:13] == bytes.fromhex("0102030405060708")
    handshake.cancel()
    await asyncio.gather(handshake, return_exceptions=True)


@pytest.mark.parametrize(
    "params",
    [
        ConnectionParams(),
        bearer("nonsense"),
        bearer("a.b.c"),
        bearer(Issuer().daemon()),
        bearer("x.e30.y"),
    ],
)
async def test_params_without_a_session_are_a_mistake(params: ConnectionParams) -> None:
    async def get() -> ConnectionParams:
        return params

    negotiator = client(get)
    assert await negotiator.get_connection_params() is params
    near, _ = memory_pair()
    with pytest.raises(ConfigError, match="session"):
        await negotiator.negotiate(near)


def test_secrets_stay_out_of_repr() -> None:
    params = ConnectionParams(headers={"Authorization": "Bearer s3cret"}, metadata={"sideband:identity": "s3cret"})
    assert "s3cret" not in repr(params)
    daemon = relay_daemon_negotiator("d", generate_identity_key_pair(), get_connection_params=lambda: params)
    assert daemon.identity.private_bytes().hex() not in repr(daemon)
