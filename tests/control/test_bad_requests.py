"""Requests that no client sends: bytes that are no text, bodies that do not come."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from sideband.control.app import create_control_app
from sideband.control.config import ControlConfig
from sideband.control.plane import ControlPlane


async def exchange(api: Any, request: bytes) -> bytes:
    """Send bytes as they are; return all that the server answers until it ends the connection."""
    reader, writer = await asyncio.open_connection(api.client.host, api.client.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


HEAD = b"POST /api/trpc/daemon.renewToken HTTP/1.1\r\nHost: x\r\nX-Test-Address: 192.0.2.1\r\n"


@pytest.mark.parametrize("credential", [b"sbnd_dak_\xff\xfe", b"sbnd_usr_\xc3\xa9", b"\xff"])
async def test_bytes_that_are_no_text_are_no_credential(api: Any, credential: bytes) -> None:
    answer = await exchange(
        api, HEAD + b"Connection: close\r\nAuthorization: Bearer " + credential + b"\r\nContent-Length: 0\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.fixture
def impatient(config: ControlConfig) -> ControlConfig:
    return config.model_copy(update={"request_seconds": 0.05})


async def test_a_body_that_does_not_come_ends_the_connection(
    impatient: ControlConfig, database: Any, secret: Any, clock: Any
) -> None:
    plane = await ControlPlane.open(impatient, database, secret, clock)
    server = TestServer(create_control_app(plane))
    await server.start_server(lingering_time=0)
    async with TestClient(server) as client:
        # The server ends the connection, or this would wait for ever.
        answer = await exchange(SimpleNamespace(client=client), HEAD + b"Content-Length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"did not arrive within 0.05 s" in answer
