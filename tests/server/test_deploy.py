"""The files under deploy/ agree with the server they deploy."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sideband.server.settings import load_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
METRIC = re.compile(r"\b(?:sideband|process)_[a-z_]+\b")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("SIDEBAND_"):
            monkeypatch.delenv(name)


@pytest.fixture
async def metrics(serve: Any, http: Any) -> set[str]:
    """The names that a server's /metrics has, also those of counters that nothing was counted with yet."""
    server = await serve()
    async with http.get(server.private_url + "/metrics") as response:
        text = await response.text()
    declared = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    return {
        name if kind != "counter" or name.endswith("_total") else f"{name}_total" for name, kind in declared.items()
    }


def test_the_example_configuration_is_valid() -> None:
    settings = load_settings(DEPLOY / "server.toml")
    assert settings.listen.tls_certificate is not None
    assert settings.private.host == "127.0.0.1"
    assert not settings.relay_config("x").loopback_listener


def test_the_unit_starts_the_server_with_that_configuration() -> None:
    unit = (DEPLOY / "systemd/sideband.service").read_text()
    assert "ExecStart=/opt/sideband/bin/sideband serve --config /etc/sideband/server.toml\n" in unit
    assert "StateDirectory=sideband\n" in unit
    settings = load_settings(DEPLOY / "server.toml")
    assert settings.data_dir == Path("/var/lib/sideband")
    stop = re.search(r"TimeoutStopSec=(\d+)", unit)
    assert stop is not None
    assert int(stop[1]) > settings.relay_config("x").shutdown_seconds


@pytest.mark.servers
def test_systemd_takes_the_unit_and_finds_it_tight() -> None:
    unit = DEPLOY / "systemd/sideband.service"
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=True,
    )
    level = re.search(r"Overall exposure level for sideband\.service: ([\d.]+)", rated.stdout)
    assert level is not None
    assert float(level[1]) < 2.5


def test_the_container_s_variables_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DEPLOY / "container/Containerfile").read_text()
    compose = yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())
    variables = dict(re.findall(r"(SIDEBAND_SERVER_\w+)=(\S+)", text))
    told = compose["services"]["sideband"]["environment"]
    variables.update({name: re.sub(r"\$\{[^}]*\}", "word", value) for name, value in told.items()})
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert settings.data_dir == Path("/data")
    assert settings.public_url == "https://word"
    assert settings.store_url() == "postgresql://sideband:word@postgres/sideband"
    assert settings.listen.tls_key == Path("/run/tls/key.pem")
    [port] = compose["services"]["sideband"]["ports"]
    assert port.endswith(f":{settings.listen.port}")
    assert f"127.0.0.1:{settings.private.port}/readyz" in text


def test_the_container_has_time_to_stop() -> None:
    compose = yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())
    seconds = int(compose["services"]["sideband"]["stop_grace_period"].removesuffix("s"))
    assert seconds > load_settings().relay_config("x").shutdown_seconds


def test_rules_ask_for_metrics_that_there_are(metrics: set[str]) -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus/sideband.rules.yaml").read_text())
    found = [rule for group in rules["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in found}) == len(found)
    for rule in found:
        assert rule["annotations"]["summary"]
        assert set(METRIC.findall(rule["expr"])) <= metrics, rule["alert"]


def test_the_dashboard_shows_metrics_that_there_are(metrics: set[str]) -> None:
    dashboard = json.loads((DEPLOY / "grafana/sideband.json").read_text())
    shown = {name for panel in dashboard["panels"] for one in panel["targets"] for name in METRIC.findall(one["expr"])}
    assert shown <= metrics
    assert {name for name in metrics if name.startswith("sideband_relay")} <= shown, "each has its panel"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
