"""The server's settings: one TOML file, the environment, flags, in rising order.

Environment variables are `SIDEBAND_SERVER_` and the key in capitals, two underscores between a table and its key:
`SIDEBAND_SERVER_LISTEN__PORT=8443`. A key that is not known is an error wherever it stands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import platformdirs
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from sideband.control.config import OidcConfig, no_credentials
from sideband.control.secrets import read_private_text
from sideband.errors import ConfigError
from sideband.inbox.config import InboxConfig
from sideband.relay.config import Network, RelayConfig
from sideband.server.listener import is_loopback

__all__ = [
    "ENVIRONMENT_PREFIX",
    "ControlSettings",
    "InboxSettings",
    "InternalSettings",
    "ListenSettings",
    "LogSettings",
    "PrivateSettings",
    "ServerSettings",
    "load_settings",
]

ENVIRONMENT_PREFIX = "SIDEBAND_SERVER_"
INTERNAL_SECRET_VARIABLE = "SIDEBAND_INTERNAL_SECRET"  # noqa: S105  (a variable's name)

Port = Annotated[int, Field(ge=0, le=65535)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ListenSettings(_Table):
    """The public listener."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=8080, description="Port to listen on; 0 takes a free one.")
    tls_certificate: Path | None = Field(
        default=None, description="PEM file of the certificate chain; read again on change."
    )
    tls_key: Path | None = Field(default=None, description="PEM file of its private key; read again on change.")
    trusted_proxies: tuple[Network, ...] = Field(default=(), description="Networks whose X-Forwarded-For is believed.")
    allow_plain_http: bool = Field(
        default=False, description="Listen on a public address without TLS and without a proxy."
    )

    @model_validator(mode="after")
    def _consistent(self) -> ListenSettings:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        encrypted = self.tls_certificate is not None or bool(self.trusted_proxies)
        if not (is_loopback(self.host) or encrypted or self.allow_plain_http):
            raise ValueError(
                "a public address needs tls_certificate and tls_key, or trusted_proxies of a proxy that does TLS; "
                "allow_plain_http = true would send tokens in clear"
            )
        return self


class PrivateSettings(_Table):
    """The private port: health, metrics and admin HTTP."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = Field(default=9464, description="0 takes a free one.")
    allowed_hosts: tuple[str, ...] = Field(default=(), description="More names for the Host header of admin requests.")


class InternalSettings(_Table):
    """The interface between a control plane and relays that are processes of their own (docs/protocol/internal.md)."""

    secret: SecretStr | None = Field(default=None, description="Shared by both, 32 characters or more.")
    secret_file: Path | None = Field(default=None, description="A file with mode 0600 that holds it.")
    control_url: str | None = Field(default=None, description="For a relay: the control plane's private port.")
    kick_url: str | None = Field(default=None, description="For a relay: where the control plane reaches it.")

    @field_validator("control_url", "kick_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("expected a URL that begins with https:// or http://")
        return no_credentials(value)


class LogSettings(_Table):
    """Logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = Field(
        default="auto", description="auto: text on a terminal, json elsewhere."
    )


class ControlSettings(_Table):
    """The control plane; see ControlConfig for the meaning. Times in seconds."""

    client_token_seconds: int = Field(default=120, ge=10, le=300)
    daemon_token_seconds: int = Field(default=3600, ge=60, le=3600)
    identity_token_seconds: int = Field(default=300, ge=60, le=3600)
    quick_connect_attempts_per_minute: int = Field(default=10, ge=1)
    quick_connect_addresses: int = Field(default=65536, ge=16)
    quick_connect_live_codes: int = Field(default=64, ge=1)
    max_request_bytes: int = Field(default=65536, ge=1024)
    request_seconds: float = Field(default=10.0, gt=0)
    refresh_seconds: float = Field(default=2.0, gt=0, le=5)
    audit_days: int = Field(default=400, ge=1)
    oidc: OidcConfig | None = None


class _InboxTable(_Table):
    enabled: bool = Field(default=False, description="Serve inboxes: whoever reaches this server may register one.")
    store_url: SecretStr | None = Field(
        default=None,
        description="Where they are kept: memory:, sqlite:, postgresql: or nats:; by default database_url if that is "
        "PostgreSQL, else inbox.db in the data folder.",
    )

    def store_address(self) -> str | None:
        """Return the URL of the store, with its password, or None for the default."""
        return None if self.store_url is None else self.store_url.get_secret_value()


# What the composition settles by itself is not for the file to set.
_SETTLED = ("issuer", "audience", "region", "loopback_listener", "trusted_proxies", "limits_by_client")

if TYPE_CHECKING:
    RelaySettings = _Table
    InboxSettings = _InboxTable
else:

    def _table_of(name: str, model: type[BaseModel], base: type[_Table] = _Table) -> type[_Table]:
        fields = {name: (field.annotation, field) for name, field in model.model_fields.items() if name not in _SETTLED}
        return create_model(name, __base__=base, **fields)

    RelaySettings = _table_of("RelaySettings", RelayConfig)
    InboxSettings = _table_of("InboxSettings", InboxConfig, _InboxTable)
"""The limits of relay and inbox; the names and meanings are those of RelayConfig and InboxConfig."""


class ServerSettings(BaseSettings):
    """Everything `sideband serve` is told."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__", hide_input_in_errors=True
    )

    data_dir: Path = Field(default_factory=lambda: platformdirs.user_data_path("sideband") / "server")
    first_account: bool = True
    database_url: SecretStr | None = Field(default=None, description="Another store than SQLite in the data folder.")
    database_wait_seconds: float = Field(default=5.0, gt=0, le=60, description="For a lock, or PostgreSQL's answer.")
    public_url: str | None = Field(
        default=None, description="Where clients reach this server; the listener when not given."
    )
    relay_url: str | None = Field(
        default=None, description="Where they reach the relay; /relay of the public URL by default."
    )
    issuer: str | None = Field(default=None, description="The control plane as tokens name it; the public URL.")
    region: str | None = Field(default=None, description="Region of this server's tokens and of its relay.")
    planes: Literal["both", "relay", "control"] = Field(default="both", description="What this process is.")
    listen: ListenSettings = ListenSettings()
    private: PrivateSettings = PrivateSettings()
    internal: InternalSettings = InternalSettings()
    log: LogSettings = LogSettings()
    control: ControlSettings = ControlSettings()
    relay: RelaySettings = RelaySettings()
    inbox: InboxSettings = InboxSettings()

    @field_validator("public_url", "relay_url", "issuer")
    @classmethod
    def _without_credentials(cls, value: str | None) -> str | None:
        return no_credentials(value)

    @field_validator("public_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("http://", "https://")):
            raise ValueError("expected a URL that begins with https:// or http://")
        return value.rstrip("/") if value else value

    @field_validator("relay_url")
    @classmethod
    def _websocket(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("ws://", "wss://")):
            raise ValueError("expected a URL that begins with wss:// or ws://")
        return value

    @model_validator(mode="after")
    def _reachable(self) -> ServerSettings:
        if self.listen.host in ("", "0.0.0.0", "::") and self.public_url is None:  # noqa: S104  (compared, not bound)
            raise ValueError("public_url is needed when listening on every address")
        return self

    @model_validator(mode="after")
    def _planes_know_each_other(self) -> ServerSettings:
        if self.planes == "control" and self.relay_url is None:
            raise ValueError("a control plane on its own needs relay_url: where its relay is reached")
        if self.planes == "relay" and self.issuer is None:
            raise ValueError("a relay on its own needs issuer: the control plane whose tokens it takes")
        if self.planes == "relay" and self.inbox.enabled:
            raise ValueError("a relay on its own serves no inboxes: enable inbox where the control plane is")
        return self

    @model_validator(mode="after")
    def _relay_limits_agree(self) -> ServerSettings:
        self.relay_config("https://settings.invalid")
        self.inbox_config()
        return self

    def relay_config(self, issuer: str) -> RelayConfig:
        """Return what the relay is told."""
        return RelayConfig(
            issuer=issuer,
            region=self.region,
            loopback_listener=is_loopback(self.listen.host),
            trusted_proxies=self.listen.trusted_proxies,
            **self.relay.model_dump(),
        )

    def inbox_config(self) -> InboxConfig:
        """Return what the inbox is told."""
        by_client = self.relay_config("https://settings.invalid").limits_by_address
        return InboxConfig(limits_by_client=by_client, **self.inbox.model_dump(exclude={"enabled", "store_url"}))

    def store_url(self) -> str | None:
        """Return the URL of a store that is not the data folder's, with its password."""
        return None if self.database_url is None else self.database_url.get_secret_value()

    def internal_secret(self) -> str | None:
        """Return the secret of the internal interface: from the setting, its file, or SIDEBAND_INTERNAL_SECRET.

        Raises:
            ConfigError: others can read the file, or it is not there.
        """
        if self.internal.secret is not None:
            return self.internal.secret.get_secret_value()
        if self.internal.secret_file is not None:
            return read_private_text(self.internal.secret_file)
        return os.environ.get(INTERNAL_SECRET_VARIABLE)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags over the environment over the file."""
        del dotenv_settings, file_secret_settings
        file = TomlConfigSettingsSource(settings_cls)
        return init_settings, env_settings, file


def load_settings(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> ServerSettings:
    """Return the settings in force.

    Args:
        file: a TOML file, or None.
        flags: nested keys that go before everything else.

    Raises:
        ConfigError: a key is unknown or a value is wrong; the text names the key and never the value.
    """
    _check_environment()
    if file is not None and not file.is_file():
        raise ConfigError(f"the configuration file {file} is not there")

    class Located(ServerSettings):
        model_config = SettingsConfigDict(**{**ServerSettings.model_config, "toml_file": file})

    try:
        located = Located(**_without_none(flags or {}))
    except ValidationError as error:
        raise ConfigError("the configuration is not valid:\n" + _flaws(error)) from None
    except ValueError as error:
        raise ConfigError(f"the configuration file {file} is not TOML: {error}") from None
    return located


def _without_none(flags: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in flags.items():
        inner = _without_none(value) if isinstance(value, Mapping) else value
        if inner is not None and inner != {}:
            kept[key] = inner
    return kept


def _check_environment() -> None:
    known = {ENVIRONMENT_PREFIX + name.upper(): field for name, field in ServerSettings.model_fields.items()}
    for name in os.environ:
        if name.startswith(ENVIRONMENT_PREFIX) and name.split("__")[0] not in known:
            raise ConfigError(f"the environment variable {name} is no setting of this server")


def _flaws(error: ValidationError) -> str:
    lines = []
    for flaw in error.errors(include_input=False, include_url=False, include_context=False):
        where = ".".join(str(part) for part in flaw["loc"])
        text = "unknown key" if flaw["type"] == "extra_forbidden" else flaw["msg"].removeprefix("Value error, ")
        lines.append(f"  {where}: {text}" if where else f"  {text}")
    return "\n".join(lines)
