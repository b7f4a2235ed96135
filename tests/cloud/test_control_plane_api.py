"""The API client before servers that misbehave in every way that servers, proxies and networks do."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path

import pytest
from aiohttp import web

from sideband.cloud import ControlPlane, QuickConnectCode
from sideband.cloud.api import MAX_ANSWER_BYTES
from sideband.errors import CloudApiError, ConfigError, SidebandError, TransportError
from tests.cloud.conftest import told
from tests.support.certificate import server_context, write_certificate
from tests.support.faulty_front import (
    FaultyFront,
    cut,
    cut_in_the_middle,
    never_answer,
    refuses,
    returns,
    says,
    stop_in_the_middle,
    talk_without_end,
)

SECRET = "sbnd_usr_" + "S3cret" * 7
PAGE = "<!doctype html><html><body>Please log in</body></html>"


@pytest.fixture
async def front() -> AsyncIterator[FaultyFront]:
    async with FaultyFront("http://127.0.0.1:9") as front:
        yield front


async def refusal(front: FaultyFront, **settings: float) -> CloudApiError:
    with pytest.raises(CloudApiError) as caught:
        await ControlPlane(front.url, **settings).create_session(SECRET, "d_1")
    assert SECRET not in told(caught.value)
    return caught.value


async def failure(url: str, **settings: float) -> TransportError:
    with pytest.raises(TransportError) as caught:
        await ControlPlane(url, **settings).create_session(SECRET, "d_1")
    assert SECRET not in told(caught.value)
    return caught.value


async def test_what_a_procedure_returns(front: FaultyFront) -> None:
    session = {"relayUrl": "wss://relay.example/relay", "token": "a.b.c", "identity": "d.e.f", "more": 1}
    front.fail("relay.createSession", returns(session))
    opened = await ControlPlane(front.url + "/").create_session(SECRET, "d_1")
    assert (opened.daemon_id, opened.relay_url, opened.token) == ("d_1", "wss://relay.example/relay", "a.b.c")
    assert "a.b.c" not in repr(opened)
    assert "d.e.f" not in repr(opened)
    assert front.credentials == [f"Bearer {SECRET}"]


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"relayUrl": 7, "token": "t"},
        {"relayUrl": "", "token": "t"},
        {"relayUrl": "ws://x/", "token": "one\r\nSet-Cookie: two"},
        {"relayUrl": "ws://x/", "token": "t" * 10_000},
        {"relayUrl": "ws://x/", "token": "t", "identity": 5},
    ],
)
async def test_an_answer_without_what_is_needed(front: FaultyFront, data: object) -> None:
    front.fail("relay.createSession", returns(data))
    error = await refusal(front)
    assert error.status == 200
    assert "no usable" in str(error)


@pytest.mark.parametrize("expires_at", ["soon", "2026-01-01T00:00:00", 5])
async def test_a_code_without_a_time(front: FaultyFront, expires_at: object) -> None:
    front.fail(
        "quickConnect.create", returns({"code": "abcd-efgh-jkmn", "url": "http://x/#qc=", "expiresAt": expires_at})
    )
    with pytest.raises(CloudApiError, match="expiresAt"):
        await ControlPlane(front.url).create_quick_connect("key")


async def test_a_code_shows_itself_only_where_it_is_asked_for(front: FaultyFront) -> None:
    made = {
        "code": "abcd-efgh-jkmn",
        "url": "http://x/connect#qc=abcd-efgh-jkmn",
        "expiresAt": "2026-11-21T05:31:15.7Z",
    }
    front.fail("quickConnect.create", returns(made))
    code = await ControlPlane(front.url).create_quick_connect("key", 60)
    assert isinstance(code, QuickConnectCode)
    assert "abcd" not in repr(code)
    assert code.expires_at.isoformat() == "2026-11-21T05:31:15.700000+00:00"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500])
async def test_a_refusal_says_what_the_control_plane_says(front: FaultyFront, status: int) -> None:
    front.fail("relay.createSession", refuses(status, "ANY_CODE", "no daemon has this id"))
    error = await refusal(front)
    assert (error.status, error.code) == (status, "ANY_CODE")
    assert "no daemon has this id" in str(error)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 418, 500, 502, 503, 504, 511])
async def test_an_error_page_is_told_by_its_status_alone(front: FaultyFront, status: int) -> None:
    front.fail("relay.createSession", says(status, PAGE))
    error = await refusal(front)
    assert error.status == status
    assert "<" not in str(error)
    assert front.url in str(error)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PAGE, "text/html"),
        (PAGE, "application/json"),
        ("", "application/json"),
        ("[]", "application/json"),
        ('{"result": 5}', "application/json"),
        ('{"result": {}}', "application/json"),
        ("[" * 100_000, "application/json"),
    ],
)
async def test_a_captive_portal_is_called_one(front: FaultyFront, body: str, kind: str) -> None:
    front.fail("relay.createSession", says(200, body, kind))
    error = await refusal(front)
    assert error.status == 200
    assert "captive portal" in str(error)
    assert "browser" in str(error)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_credentials_follow_no_redirect(front: FaultyFront, status: int) -> None:
    async with FaultyFront("http://127.0.0.1:9") as elsewhere:
        front.fail("relay.createSession", says(status, location=elsewhere.url + "/api/trpc/relay.createSession?a=b"))
        error = await refusal(front)
        assert elsewhere.asked == []
    assert error.status == status
    assert elsewhere.url in str(error)
    assert "a=b" not in str(error)


@pytest.mark.parametrize("location", ["", "javascript:alert(1)", "//[", "http://\x1b[2J/"])
async def test_a_redirect_to_nowhere(front: FaultyFront, location: str) -> None:
    headers = {} if "\x1b" in location else {"location": location}
    front.fail("relay.createSession", says(307, **headers))
    assert (await refusal(front)).status == 307


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("7", 7.0, 7.0),
        (formatdate(time.time() + 600, usegmt=True), 1.0, 600.0),
        (formatdate(time.time() - 600, usegmt=True), 0.0, 0.0),
        ("999999999", 3600.0, 3600.0),
    ],
    ids=["seconds", "a date to come", "a date gone by", "too many seconds"],
)
async def test_retry_after_in_both_forms(front: FaultyFront, header: str, least: float, most: float) -> None:
    front.fail("relay.createSession", refuses(429, "TOO_MANY_REQUESTS", retry_after=header))
    wait = (await refusal(front)).retry_after
    assert wait is not None
    assert least <= wait <= most


async def test_a_retry_after_that_says_nothing(front: FaultyFront) -> None:
    front.fail("relay.createSession", says(503, retry_after="whenever"))
    assert (await refusal(front)).retry_after is None


async def test_what_a_refusal_says_can_steer_no_terminal(front: FaultyFront) -> None:
    front.fail("relay.createSession", refuses(403, "x\x1b[2J", "\x1b]0;owned\x07 a\u202eb " + "long " * 1000))
    error = await refusal(front)
    assert str(error).isprintable()
    assert len(str(error)) < 600
    assert error.code == ""


async def test_a_server_that_repeats_the_credential(front: FaultyFront) -> None:
    front.fail("relay.createSession", refuses(401, "UNAUTHORIZED", f"{SECRET} is no token"))
    assert "[...] is no token" in str(await refusal(front))


@pytest.mark.parametrize("answer", [never_answer, stop_in_the_middle])
async def test_a_server_that_hangs(front: FaultyFront, answer: object) -> None:
    front.fail("relay.createSession", answer)  # type: ignore[arg-type]  # one of the answers above
    error = await failure(front.url, request_seconds=0.2)
    assert error.kind == "timeout"
    assert "0.2 s" in str(error)


@pytest.mark.parametrize("answer", [cut, cut_in_the_middle])
async def test_a_connection_that_is_cut(front: FaultyFront, answer: object) -> None:
    front.fail("relay.createSession", answer)  # type: ignore[arg-type]  # one of the answers above
    error = await failure(front.url)
    assert error.kind == "abnormal_close"
    assert "before the answer was whole" in str(error)


async def test_an_answer_without_end_is_not_read_to_it(front: FaultyFront) -> None:
    front.fail("relay.createSession", talk_without_end)
    error = await refusal(front)
    assert error.status == 200
    assert "more than an answer can be" in str(error)


async def test_the_largest_answer_is_read(front: FaultyFront) -> None:
    empty = '{"result": {"data": []}}'
    front.fail("daemon.listAccessible", says(200, empty + " " * (MAX_ANSWER_BYTES - len(empty)), "application/json"))
    assert await ControlPlane(front.url).list_accessible(SECRET) == []
    front.fail(
        "daemon.listAccessible", says(200, empty + " " * (MAX_ANSWER_BYTES - len(empty) + 1), "application/json")
    )
    with pytest.raises(CloudApiError, match="more than an answer"):
        await ControlPlane(front.url).list_accessible(SECRET)


async def test_what_is_no_http() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        error = await failure(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert error.kind == "transport_failure"
    assert "did not answer in HTTP" in str(error)


async def test_nobody_is_there() -> None:
    async with FaultyFront("http://127.0.0.1:9") as gone:
        url = gone.url
    assert (await failure(url)).kind == "connection_refused"
    assert (await failure("https://no-such-host.invalid")).kind == "dns_failure"


async def test_certificates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"result": {"data": []}})

    app = web.Application()
    app.router.add_post("/api/trpc/daemon.listAccessible", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    certificate, key = write_certificate(tmp_path)
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_context(certificate, key))
    await site.start()
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    try:
        error = await failure(url)
        assert error.kind == "tls_failure"
        assert (
            await ControlPlane(url, ssl_context=ssl.create_default_context(cafile=str(certificate))).list_accessible(
                SECRET
            )
            == []
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert await ControlPlane(url).list_accessible(SECRET) == []
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nowhere.pem"))
        with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
            await ControlPlane(url).list_accessible(SECRET)
    finally:
        await runner.cleanup()


async def test_a_proxy_is_used_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        error = await failure("https://control.invalid")
        assert asked == [b"CONNECT control.invalid:443 HTTP/1.1"]
        assert "proxy" in str(error)
        monkeypatch.setenv("no_proxy", ".invalid")
        assert (await failure("https://control.invalid")).kind == "dns_failure"
        assert len(asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://control.example",
        "http://192.0.2.1:8080",
        "http://127.0.0.1.evil.example",
        "ftp://127.0.0.1",
        "127.0.0.1:8080",
        "https://",
        "https://user:hunter2@control.example",
        "https://control.example/?key=hunter2",
        "https://control.example/#hunter2",
        "https://[",
    ],
)
def test_an_address_that_credentials_are_not_sent_to(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ControlPlane(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost", "https://a.example", "https://a.example/b"],
)
def test_an_address_that_will_do(url: str) -> None:
    assert ControlPlane(url).url == url
    assert ControlPlane(f" {url}/ ").url == url


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDEBAND_API_URL", "https://control.example")
    assert ControlPlane().url == "https://control.example"
    assert ControlPlane("https://other.example").url == "https://other.example"
    monkeypatch.setenv("SIDEBAND_API_URL", "")
    assert ControlPlane().url == "http://127.0.0.1:8080"


@pytest.mark.parametrize("credential", ["", "two words", "line\nend", "schlüssel", "x" * 10_000, None, b"bytes"])
async def test_a_credential_that_is_none(front: FaultyFront, credential: object) -> None:
    with pytest.raises(ConfigError) as caught:
        await ControlPlane(front.url).create_session(credential, "d_1")  # type: ignore[arg-type]  # that is the point
    assert isinstance(caught.value, SidebandError)
    assert front.asked == []
