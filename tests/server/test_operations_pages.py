"""What the pages under docs/operations say about settings and metrics is so."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sideband.control.config import OidcConfig
from sideband.inbox.config import InboxConfig
from sideband.relay.config import RelayConfig
from sideband.server.settings import ServerSettings, load_settings

PAGES = Path(__file__).parents[2] / "docs/operations"
ROW = re.compile(r"^\| `([a-z0-9_.]+)` \| ([^|]*) \|", re.MULTILINE)
TOML = re.compile(r"^```toml\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IN_WORDS = {"data_dir", "inbox.store_url", "database_url", "public_url", "relay_url", "issuer", "control.oidc.jwks_url"}


def defaults(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key with its default."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from defaults(field.annotation, f"{prefix}{name}.")
        elif prefix + name == "control.oidc":
            yield from defaults(OidcConfig, "control.oidc.")
        else:
            yield prefix + name, "required" if field.is_required() else field.get_default(call_default_factory=True)


def shown(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, str):
        return value if value == "required" else f'"{value}"'
    return str(int(value)) if float(value).is_integer() else str(value)


def test_every_setting_is_on_the_page_with_its_default() -> None:
    documented = dict(ROW.findall((PAGES / "configuration.md").read_text()))
    expected = dict(defaults(ServerSettings))
    relay = RelayConfig(issuer="x")
    for rates in ("client_rates", "daemon_rates"):
        for name, value in getattr(relay, rates).model_dump().items():
            expected[f"relay.{rates}.{name}"] = value
    for name, value in InboxConfig().model_dump().items():
        if name.endswith("_rate"):
            expected |= {f"inbox.{name}.{part}": number for part, number in value.items()}
    assert set(documented) == set(expected)
    wrong = {
        key: (documented[key], shown(value))
        for key, value in expected.items()
        if key not in IN_WORDS and documented[key].replace(",", "") != shown(value).replace(",", "")
    }
    assert wrong == {}


def test_every_metric_is_on_the_page() -> None:
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import generate_latest

    from sideband.inbox.metrics import InboxCollector
    from sideband.inbox.service import Inbox
    from sideband.inbox.store import MemoryInboxStore
    from sideband.relay.core import Relay
    from sideband.relay.metrics import RelayCollector

    registry = CollectorRegistry()
    registry.register(RelayCollector(Relay(RelayConfig(issuer="x"))))
    registry.register(InboxCollector(Inbox(MemoryInboxStore())))
    text = generate_latest(registry).decode()
    documented = set(re.findall(r"^\| `(sideband_\w+)`", (PAGES / "monitoring.md").read_text(), re.MULTILINE))
    names = {name.removesuffix("_total") for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)}
    control = {"sideband_control_answers", "sideband_control_signing_keys", "sideband_control_redeem_addresses"}
    assert {name.removesuffix("_total") for name in documented} == names | control


@pytest.mark.parametrize("number", range(3))
def test_configurations_that_the_pages_show_are_valid(tmp_path: Path, number: int) -> None:
    examples = TOML.findall((PAGES / "running.md").read_text())
    assert len(examples) == 3
    file = tmp_path / "server.toml"
    file.write_text(examples[number])
    settings = load_settings(file)
    assert settings.public_url is not None


def test_commands_in_tables_exist() -> None:
    import typer

    from sideband.cli.main import app

    text = (PAGES / "running.md").read_text() + (PAGES / "configuration.md").read_text()
    named = re.findall(r"`sideband admin ([a-z-]+) ([a-z-]+)", text)
    assert len(named) > 10
    admin = typer.main.get_command(app).commands["admin"]  # type: ignore[attr-defined]  # a group has commands
    for group, command in named:
        assert command in admin.commands[group].commands
