"""The description of the HTTP API is what the server does."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from sideband.control.app import control_routes
from sideband.control.openapi import describe_api
from sideband.control.procedures import PROCEDURES

schema = schemathesis.openapi.from_dict(describe_api())


def test_every_route_is_described() -> None:
    routes = {route.path for route in control_routes(None)}  # type: ignore[arg-type]  # no route is called
    described = set(describe_api()["paths"])
    procedures = {f"/api/trpc/{name}" for name in PROCEDURES}
    assert described == (routes - {"/api/trpc/{procedure}"}) | procedures


@dataclass
class Running:
    url: str
    api_key: str
    token: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server process that lets one address redeem as often as it likes."""
    data: Path = tmp_path_factory.mktemp("openapi") / "data"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDEBAND_")}
    environment["SIDEBAND_SERVER_CONTROL__QUICK_CONNECT_ATTEMPTS_PER_MINUTE"] = "1000000"
    environment["SIDEBAND_SERVER_CONTROL__QUICK_CONNECT_LIVE_CODES"] = "1000000"
    command = [sys.executable, "-m", "sideband"]
    made = json.loads(
        subprocess.check_output([*command, "admin", "bootstrap", "--data-dir", data, "--json"], env=environment)
    )
    words = ["serve", "--data-dir", str(data), "--port", "0", "--no-private", "--json"]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        yield Running(json.loads(process.stdout.readline())["url"], made["apiKey"], made["token"])
        process.terminate()


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_server_keeps_to_its_description(case: schemathesis.Case, running: Running) -> None:
    schemes = [name for option in case.operation.definition.raw.get("security", []) for name in option]
    credential = {"apiKey": running.api_key, "userToken": running.token}
    headers = {"Authorization": f"Bearer {credential[schemes[0]]}"} if schemes else {}
    case.call_and_validate(base_url=running.url, headers=headers)
