"""What the server writes to its log, and what it never does."""

import http.client
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.pseudo_terminal import Terminal


class Client:
    """Plain HTTP, so that malformed requests can be sent."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._address = (parts.hostname, parts.port)

    def send(self, method: str, path: str, headers: dict[str, str], body: str = "") -> tuple[int, Any, str]:
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        try:
            connection.request(method, path, body.encode(), headers)
            response = connection.getresponse()
            text = response.read().decode()
            return response.status, response.headers, text
        finally:
            connection.close()

    def call(self, procedure: str, credential: str, value: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {credential}", "Content-Type": "application/json"}
        status, _, text = self.send("POST", f"/api/trpc/{procedure}", headers, json.dumps({"json": value}))
        return status, json.loads(text)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_secret_and_above_debug_no_daemon_is_in_the_log(tmp_path: Path, level: str) -> None:
    data = tmp_path / "data"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
    command = [sys.executable, "-W", "error", "-m", "sideband"]
    made = json.loads(
        subprocess.check_output([*command, "admin", "bootstrap", "--data-dir", data, "--json"], env=environment)
    )
    words = ["serve", "--data-dir", str(data), "--port", "0", "--private-port", "0", "--json", "--log-level", level]
    with subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stdout is not None
        ready = json.loads(server.stdout.readline())
        client, private = Client(ready["url"]), Client(ready["private_url"])
        _, renewed = client.call("daemon.renewToken", made["apiKey"])
        token = renewed["result"]["data"]["presenceToken"]
        _, created = client.call("quickConnect.create", made["apiKey"])
        code = created["result"]["data"]["code"]
        assert client.call("quickConnect.redeem", "none", code)[0] == 409
        assert client.call("relay.createSession", made["token"], {"daemonId": made["daemonId"]})[0] == 200
        assert client.send("GET", f"/relay?token={token}", {})[0] == 426
        assert client.send("GET", f"/?token={token}", {"Authorization": f"Bearer {token}"})[0] == 426
        assert client.send("GET", f"/{token}", {})[0] == 404
        assert client.send("POST", "/api/trpc/" + token, {})[0] == 404
        assert client.send("POST", "/api/trpc/daemon.renewToken", {"Authorization": token * 20})[0] == 400
        admin_token = (data / "admin.token").read_text().strip()
        answer = private.send("GET", "/admin/v1/daemons", {"Authorization": f"Bearer {admin_token}"})
        assert answer[0] == 200
        assert private.send("GET", "/admin/v1/daemons", {"Authorization": token * 20})[0] == 400
        server.terminate()
        _, log = server.communicate(timeout=60)
    lines = [json.loads(line) for line in log.splitlines()]
    assert all({"event", "level", "logger", "timestamp"} <= set(line) for line in lines)
    assert [line["logger"] for line in lines if "malformed request" in line["event"]] == ["aiohttp.server"]
    assert any(line["event"].startswith("Error handling request") for line in lines)
    for secret in (made["apiKey"], made["token"], token, token.rpartition(".")[2], code, admin_token):
        assert secret not in log
    requests = [line for line in lines if line["event"] == "request"]
    if level == "info":
        assert made["daemonId"] not in log
        assert requests == []
    else:
        assert {"method", "route", "status", "milliseconds", "request_id"} <= set(requests[0])
        assert {line["route"] for line in requests} >= {"/api/trpc/{procedure}", "/relay", "unknown"}
        assert len({line["request_id"] for line in requests}) == len(requests)


@pytest.mark.parametrize(("form", "as_json"), [("auto", False), ("json", True)])
def test_a_log_on_a_terminal_is_text_unless_told_otherwise(tmp_path: Path, form: str, as_json: bool) -> None:
    command = (sys.executable, "-W", "error", "-m", "sideband", "serve", "--port", "0", "--no-private")
    settings = {"SIDEBAND_SERVER_DATA_DIR": str(tmp_path / "data"), "SIDEBAND_SERVER_LOG__FORMAT": form}
    terminal = Terminal(command, settings, tmp_path, columns=200)
    try:
        terminal.until(lambda lines: "stop with Ctrl-C" in lines)
        terminal.type("\x03")
        assert terminal.finish() == 130
    finally:
        terminal.close()
    [line] = [line.lstrip("^C") for line in terminal.lines if "stopping" in line]
    if as_json:
        assert json.loads(line)["event"] == "stopping"
    else:
        assert line.split()[1:] == ["[info", "]", "stopping", "[sideband.server]"]
