"""One TOML file, the environment, flags, in rising order."""

from pathlib import Path
from typing import Any

import pytest

from sideband.errors import ConfigError
from sideband.server.settings import ServerSettings, load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("SIDEBAND_"):
            monkeypatch.delenv(name)


def load(tmp_path: Path, text: str, flags: dict[str, Any] | None = None) -> ServerSettings:
    file = tmp_path / "server.toml"
    file.write_text(text)
    return load_settings(file, flags)


def test_without_anything_it_is_loopback_and_sqlite() -> None:
    settings = load_settings()
    assert (settings.listen.host, settings.listen.port) == ("127.0.0.1", 8080)
    assert (settings.private.host, settings.private.port) == ("127.0.0.1", 9464)
    assert settings.store_url() is None
    assert settings.planes == "both"
    assert settings.relay_config("x").loopback_listener


def test_the_environment_goes_before_the_file_and_flags_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "[listen]\nport = 1\n[relay]\ngrace_seconds = 11\n[control]\naudit_days = 7\n"
    assert load(tmp_path, text).listen.port == 1
    monkeypatch.setenv("SIDEBAND_SERVER_LISTEN__PORT", "2")
    monkeypatch.setenv("SIDEBAND_SERVER_RELAY__GRACE_SECONDS", "12")
    settings = load(tmp_path, text)
    assert settings.listen.port == 2
    assert settings.relay_config("x").grace_seconds == 12
    settings = load(tmp_path, text, {"listen": {"port": 3}})
    assert settings.listen.port == 3
    assert settings.control.audit_days == 7


def test_flags_that_were_not_given_count_for_nothing(tmp_path: Path) -> None:
    settings = load(tmp_path, "[listen]\nport = 1\n", {"listen": {"port": None, "host": None}, "public_url": None})
    assert settings.listen.port == 1


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("colour = 'red'", "colour: unknown key"),
        ("[listen]\nprot = 1", "listen.prot: unknown key"),
        ("[relay]\ngrace = 1", "relay.grace: unknown key"),
        ("[relay]\nissuer = 'https://x'", "relay.issuer: unknown key"),
        ("[control.oidc]\nissuer = 'https://x'\naudience = 'a'\nscope = 'b'", "control.oidc.scope: unknown key"),
        ("[listen]\nport = 65536", "listen.port"),
        ("[listen]\nport = 'http'", "listen.port"),
        ("[listen]\nhost = '0.0.0.0'\ntls_certificate = 'c'", "tls_certificate and tls_key go together"),
        ("[listen]\nhost = '192.0.2.1'", "a public address needs"),
        ("[listen]\nhost = '0.0.0.0'\nallow_plain_http = true", "public_url is needed"),
        ("[listen]\ntrusted_proxies = ['10.0.0.0/33']", "listen.trusted_proxies"),
        ("public_url = 'ftp://x'", "public_url"),
        ("relay_url = 'https://x'", "relay_url"),
        ("[relay]\nqueue_bound_bytes = 9000000", "queue_bound_bytes"),
        ("[control]\nclient_token_seconds = 301", "control.client_token_seconds"),
        ("[control]\nrefresh_seconds = 6", "control.refresh_seconds"),
        ("[control.oidc]\nissuer = 'http://login.example'\naudience = 'a'", "control.oidc.issuer"),
        ("public_url = 'https://u:hunter2@x'", "public_url: a user or password"),
        ("relay_url = 'wss://u:hunter2@x'", "relay_url: a user or password"),
        ("issuer = 'https://hunter2@x'", "issuer: a user or password"),
        ("[internal]\ncontrol_url = 'http://u:hunter2@x'", "internal.control_url: a user or password"),
        ("[internal]\nkick_url = 'http://u:hunter2@x'", "internal.kick_url: a user or password"),
        ("[internal]\nkick_url = 'x:9464'", "internal.kick_url: expected a URL"),
        ("[control.oidc]\nissuer = 'https://u:hunter2@x'\naudience = 'a'", "control.oidc.issuer: a user or password"),
        ("planes = 'none'", "planes"),
        ("[log]\nlevel = 'loud'", "log.level"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert key in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_all_flaws_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "x = 1\ny = 2\n")
    assert "x: unknown key" in str(caught.value)
    assert "y: unknown key" in str(caught.value)


def test_a_file_that_is_not_toml_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not TOML"):
        load(tmp_path, "listen = [")
    with pytest.raises(ConfigError, match="is not there"):
        load_settings(tmp_path / "nowhere.toml")


def test_variables_that_are_no_settings_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDEBAND_SERVER_LISTEN_PORT", "1")
    with pytest.raises(ConfigError, match="SIDEBAND_SERVER_LISTEN_PORT"):
        load_settings()
    monkeypatch.delenv("SIDEBAND_SERVER_LISTEN_PORT")
    monkeypatch.setenv("SIDEBAND_SERVER_LISTEN__PROT", "1")
    with pytest.raises(ConfigError, match=r"listen\.prot: unknown key"):
        load_settings()


def test_other_variables_of_sideband_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDEBAND_API_KEY", "x")
    load_settings()


def test_errors_never_quote_a_value(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, "database_url = 7\n[internal]\nsecret = 12345678\n")
    assert "12345678" not in str(caught.value)


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    text = "database_url = 'postgresql://u:hunter2@db/x'\n[internal]\nsecret = 'correct horse'\n"
    settings = load(tmp_path, text)
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hunter2" not in shown
        assert "correct horse" not in shown
    assert settings.store_url() == "postgresql://u:hunter2@db/x"
    assert settings.internal_secret() == "correct horse"


def test_where_the_internal_secret_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDEBAND_INTERNAL_SECRET", "from the environment")
    assert load_settings().internal_secret() == "from the environment"
    file = tmp_path / "secret"
    file.write_text("from the file\n")
    file.chmod(0o600)
    text = f"[internal]\nsecret_file = '{file}'\n"
    assert load(tmp_path, text).internal_secret() == "from the file"
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        load(tmp_path, text).internal_secret()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_needs_no_tls(tmp_path: Path, host: str) -> None:
    load(tmp_path, f"[listen]\nhost = '{host}'\n")


def test_a_proxy_that_does_tls_is_enough(tmp_path: Path) -> None:
    settings = load(
        tmp_path, "public_url = 'https://x.example/'\n[listen]\nhost = '::'\ntrusted_proxies = ['10.0.0.1/8']\n"
    )
    assert settings.public_url == "https://x.example"
    config = settings.relay_config("x")
    assert not config.loopback_listener
    assert [str(network) for network in config.trusted_proxies] == ["10.0.0.0/8"]
