"""Which servers and addresses the direct sessions of commands may use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sideband.cli import config
from sideband.cli.direct_settings import direct_policy
from sideband.direct import IceServer
from sideband.errors import ConfigError

STUN, TURN = "stun:stun.example:3478", "turn:192.0.2.1:3478?transport=tcp"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("SIDEBAND_ICE_SERVERS", "SIDEBAND_HOST_CANDIDATES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SIDEBAND_HOME", str(tmp_path))
    return tmp_path


def write(home: Path, **fields: object) -> None:
    path = home / "config.json"
    path.write_text(json.dumps({"v": 1, "kind": "sideband-config", **fields}))
    path.chmod(0o600)


def test_without_settings_there_are_no_servers_and_addresses_are_told() -> None:
    policy = direct_policy("prefer")
    assert (policy.mode, policy.ice_servers, policy.host_candidates) == ("prefer", (), True)


def test_the_environment_counts_before_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, ice_servers=[{"url": STUN}, {"url": TURN, "username": "u", "credential": "c"}], host_candidates=False)
    policy = direct_policy("require")
    assert policy.ice_servers == (IceServer(STUN), IceServer(TURN, "u", "c"))
    assert not policy.host_candidates
    monkeypatch.setenv("SIDEBAND_ICE_SERVERS", "stun:one.example stun:two.example:3479")
    monkeypatch.setenv("SIDEBAND_HOST_CANDIDATES", "Yes")
    policy = direct_policy("forbid")
    assert policy.ice_servers == (IceServer("stun:one.example"), IceServer("stun:two.example:3479"))
    assert policy.host_candidates
    monkeypatch.setenv("SIDEBAND_ICE_SERVERS", json.dumps([{"url": TURN, "username": "u", "credential": "c"}]))
    assert direct_policy("prefer").ice_servers == (IceServer(TURN, "u", "c"),)
    monkeypatch.setenv("SIDEBAND_ICE_SERVERS", "[]")
    assert direct_policy("prefer").ice_servers == ()


def test_the_guide_shows_what_works(home: Path) -> None:
    page = Path(__file__).parents[2] / "docs/guide/direct.md"
    shown = page.read_text(encoding="utf-8").partition("```json\n")[2].partition("```")[0]
    write(home, **json.loads(shown))
    policy = direct_policy("prefer")
    assert [server.url for server in policy.ice_servers] == ["stun:stun.example:3478", "turn:turn.example:3478"]
    assert not policy.host_candidates


def test_storing_a_key_keeps_the_servers(home: Path) -> None:
    write(home, ice_servers=[{"url": STUN}], host_candidates=False)
    config.save_config(api_url="https://control.example", api_key="key")
    kept = config.load_config()
    assert (kept.api_url, kept.api_key, kept.host_candidates) == ("https://control.example", "key", False)
    assert direct_policy("prefer").ice_servers == (IceServer(STUN),)


@pytest.mark.parametrize(
    "given",
    [
        "http://stun.example",
        "stun:",
        "stun:stun.example:0",
        "stun:stun.example:65536",
        "stun:stun.example?transport=udp",
        "stun:very@secret",
        "turn:192.0.2.1:3478",
        '[{"url": "turn:192.0.2.1", "username": "very secret"}]',
        '[{"url": "turns:192.0.2.1?transport=udp", "username": "u", "credential": "very secret"}]',
        '[{"url": "turn:very secret@192.0.2.1", "username": "u", "credential": "c"}]',
        '[{"credential": "very secret"}]',
        '[{"url": 1}]',
        '[{"url": "stun:stun.example", "password": "very secret"}]',
        '["stun:stun.example"]',
        '[{"very secret"',
    ],
)
def test_what_is_no_server_is_refused_without_telling_secrets(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("SIDEBAND_ICE_SERVERS", given)
    with pytest.raises(ConfigError, match="SIDEBAND_ICE_SERVERS") as refused:
        direct_policy("prefer")
    assert "secret" not in str(refused.value)


def test_an_option_counts_before_both(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, ice_servers=[{"url": STUN}], host_candidates=True)
    monkeypatch.setenv("SIDEBAND_ICE_SERVERS", "stun:two.example")
    monkeypatch.setenv("SIDEBAND_HOST_CANDIDATES", "yes")
    policy = direct_policy("prefer", ["stun:one.example", "stun:three.example"], False)
    assert policy.ice_servers == (IceServer("stun:one.example"), IceServer("stun:three.example"))
    assert not policy.host_candidates


@pytest.mark.parametrize(
    "url", ["turn:u:secret@192.0.2.1", "turns:192.0.2.1?secret", "stun:u:secret@host", "secret", "stun:host:70000"]
)
def test_an_option_takes_stun_servers_only(url: str) -> None:
    with pytest.raises(ConfigError, match="--ice-server") as refused:
        direct_policy("prefer", [STUN, url])
    assert "secret" not in str(refused.value)


def test_the_environment_can_name_a_file_of_its_owner(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home / "servers.json"
    monkeypatch.setenv("SIDEBAND_ICE_SERVERS", str(path))
    with pytest.raises(ConfigError, match="a file that is not there"):
        direct_policy("prefer")
    path.write_text(json.dumps([{"url": TURN, "username": "u", "credential": "c"}]))
    path.chmod(0o644)
    with pytest.raises(ConfigError, match=r"SIDEBAND_ICE_SERVERS: .*servers.json"):
        direct_policy("prefer")
    path.chmod(0o600)
    assert direct_policy("prefer").ice_servers == (IceServer(TURN, "u", "c"),)
    path.write_text("very secret")
    with pytest.raises(ConfigError, match="no JSON list") as refused:
        direct_policy("prefer")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("servers", [{"url": STUN}, "stun:stun.example", [STUN], 1])
def test_what_is_no_list_of_servers_in_the_file_is_refused(home: Path, servers: object) -> None:
    write(home, ice_servers=servers)
    with pytest.raises(ConfigError, match=r"ice_servers in .*config.json"):
        direct_policy("prefer")


def test_a_switch_is_yes_or_no(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, host_candidates="yes")
    with pytest.raises(ConfigError, match="host_candidates is neither"):
        direct_policy("prefer")
    write(home)
    monkeypatch.setenv("SIDEBAND_HOST_CANDIDATES", "perhaps")
    with pytest.raises(ConfigError, match="yes or no"):
        direct_policy("prefer")
