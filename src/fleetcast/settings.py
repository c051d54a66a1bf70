"""Every setting, with unit and default, read once at the edge of the process.

All names begin with `FLEETCAST_` but three, which are the names that hosting platforms set: `DATABASE_URL`,
`REDIS_URL`, `PORT`. No setting is needed to start: without them Fleetcast runs its own servers.
"""

import ipaddress
import os
import sys
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from fleetcast import failpoints, guessing
from fleetcast.errors import ConfigurationError

SHORTEST_SECRET = 32
"""Characters of a secret that no person has to remember."""


class Mode(StrEnum):
    """What this installation is for."""

    STANDARD = "standard"
    PRODUCTION = "production"
    """Refuses everything that exists for tests: clock offsets, failpoints, the simulator's misbehaviour."""


def default_data_directory() -> Path:
    """`/var/lib/fleetcast` for root, else the user's own data folder (XDG; Application Support on macOS)."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/fleetcast")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "fleetcast"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "fleetcast"


class Settings(BaseSettings):
    """The settings of one process."""

    model_config = SettingsConfigDict(env_prefix="FLEETCAST_", frozen=True, extra="ignore", populate_by_name=True)

    database_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("DATABASE_URL"),
        description="postgresql://user:password@host/name. Without it: the embedded PostgreSQL.",
    )
    redis_url: SecretStr | None = Field(
        default=None,
        validation_alias=AliasChoices("REDIS_URL"),
        description="redis://host:6379/0 of a Redis or Valkey server. Without it: the embedded Valkey.",
    )
    port: int = Field(
        default=8080, ge=0, le=65535, validation_alias=AliasChoices("PORT"), description="Of the dashboard."
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address the dashboard and the API listen on. Other than loopback: put a proxy with TLS before it.",
    )
    url: str | None = Field(
        default=None,
        description="Where people open the dashboard, like https://fleetcast.example.org: for links and cookies.",
    )
    trusted_proxies: str = Field(
        default="", description="Addresses, by commas, of proxies whose word on a visitor's address is taken."
    )
    secret_key: SecretStr | None = Field(
        default=None,
        description="Seals secrets in the database; at least 32 characters, the same on all machines. Without it: a "
        "file of the data directory.",
    )
    metrics_token: SecretStr | None = Field(
        default=None, description="With it /metrics answers from everywhere who shows it; without it only on loopback."
    )
    api_requests_a_minute: int = Field(
        default=600, ge=1, le=1_000_000, description="Requests to the API that one key, or one person, has a minute."
    )
    owner_email: str = Field(default="owner@localhost", description="How the first owner signs in.")
    data: Path = Field(default_factory=default_data_directory, description="Data directory of this node.")
    mode: Mode = Field(default=Mode.STANDARD)
    log_level: str = Field(default="info", pattern="^(debug|info|warning|error)$")
    log_format: str = Field(default="auto", pattern="^(auto|json|console)$", description="auto: console on a terminal.")
    redis_prefix: str = Field(default="fleetcast", min_length=1, description="First part of every key in Redis.")
    simulator_socket: Path | None = Field(
        default=None, description="Unix socket of the simulator. Without it: `simulator.sock` in the run folder."
    )
    lease_seconds: float = Field(default=15.0, gt=0, le=300, description="How long a shard's lease holds unrenewed.")
    send_seconds: float = Field(
        default=30.0, gt=0, le=300, description="How long an attempt waits for its answer before it is in doubt."
    )
    senders_min: int = Field(default=1, ge=1, le=64, description="Senders that `fleetcast up` always runs.")
    senders_max: int = Field(
        default_factory=lambda: max(1, (os.cpu_count() or 1) // 2),
        ge=1,
        le=64,
        description="Senders that `fleetcast up` starts at most under load. Without it: one for every two cores.",
    )
    linked_per_process: int = Field(
        default=200,
        ge=1,
        le=250,
        description="Linked devices in one process. Fewer: its end costs fewer of them a few seconds, and each process "
        "costs 44 MB before its first device.",
    )
    media_max_bytes: int = Field(
        default=16 * 1024 * 1024, gt=0, description="Largest picture, video, audio or document, in bytes."
    )
    import_max_bytes: int = Field(
        default=1024**3, gt=0, description="Largest file of leads that is taken over HTTP, in bytes."
    )

    keep_messages_days: int = Field(
        default=180,
        ge=0,
        le=36_500,
        description="Days after a campaign's end until its messages are deleted; its counts stay. 0: never.",
    )
    keep_events_days: int = Field(
        default=90,
        ge=0,
        le=36_500,
        description="Days until processed receipts and replies and reports of imports are deleted. 0: never.",
    )

    failpoints: str = Field(
        default="",
        description="Faults at named places, for tests: `claim.committed=kill@3`. Refused in production mode.",
    )

    @field_validator("secret_key", "metrics_token")
    @classmethod
    def _secrets_cannot_be_guessed(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if secret is None:
            return None
        text = secret.get_secret_value()
        if len(text) < SHORTEST_SECRET or len(set(text)) < 8 or guessing.weakness(text, SHORTEST_SECRET // 2):
            raise ConfigurationError(
                f"FLEETCAST_{str(info.field_name).upper()} can be guessed: set it to at least {SHORTEST_SECRET} random "
                "characters, for example what `openssl rand -base64 33` prints."
            )
        return secret

    @field_validator("url")
    @classmethod
    def _url_is_an_origin(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url.strip())
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigurationError(
                "FLEETCAST_URL cannot be used: write it like https://fleetcast.example.org, without a path."
            )
        return f"{parts.scheme}://{parts.netloc}"

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_addresses(cls, proxies: str) -> str:
        for each in filter(None, (part.strip() for part in proxies.split(","))):
            try:
                ipaddress.ip_network(each)
            except ValueError:
                raise ConfigurationError(
                    "FLEETCAST_TRUSTED_PROXIES cannot be used: write addresses or networks by commas, like "
                    "127.0.0.1,10.0.0.0/8. Whoever is trusted may say where a visitor comes from."
                ) from None
        return proxies

    @field_validator("owner_email")
    @classmethod
    def _owner_has_an_address(cls, email: str) -> str:
        name, _, host = email.strip().partition("@")
        if not name or not host or "@" in host or not email.isprintable() or " " in email.strip() or len(email) > 320:
            raise ConfigurationError(
                "FLEETCAST_OWNER_EMAIL cannot be used: write an e-mail address, like ann@example.org."
            )
        return email.strip()

    @field_validator("failpoints")
    @classmethod
    def _failpoints_exist(cls, text: str) -> str:
        failpoints.read(text)
        return text

    @model_validator(mode="after")
    def _no_failpoints_in_production(self) -> Self:
        if self.failpoints and self.mode is Mode.PRODUCTION:
            raise ConfigurationError(
                f"{failpoints.SETTING} makes processes fail on purpose, which is for tests: leave it out, or leave "
                "FLEETCAST_MODE=production out."
            )
        return self

    @field_validator("database_url")
    @classmethod
    def _database_url_can_be_read(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _is_address(url.get_secret_value(), {"postgresql", "postgres"}):
            raise ConfigurationError(
                "DATABASE_URL cannot be read: write it like postgresql://user:password@host:5432/name, or leave it out "
                f"for the embedded PostgreSQL. {_ESCAPES}"
            )
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis_url_can_be_read(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _is_address(url.get_secret_value(), {"redis", "rediss", "unix"}):
            raise ConfigurationError(
                "REDIS_URL cannot be read: write it like redis://:password@host:6379/0 (rediss:// with TLS, for Valkey "
                f"too) or unix:///path, or leave it out for the embedded one. {_ESCAPES}"
            )
        return url

    @model_validator(mode="after")
    def _bounds_of_senders(self) -> "Settings":
        if "senders_max" in self.model_fields_set and self.senders_max < self.senders_min:
            raise ConfigurationError(
                f"FLEETCAST_SENDERS_MAX ({self.senders_max}) is less than FLEETCAST_SENDERS_MIN ({self.senders_min}): "
                "raise the one or lower the other."
            )
        return self

    @cached_property
    def production(self) -> bool:
        """Whether test-only devices are refused."""
        return self.mode is Mode.PRODUCTION


_ESCAPES = "In a password the characters @ : / ? # are written %40 %3A %2F %3F %23."


def _is_address(url: str, schemes: set[str]) -> bool:
    """Whether it has the parts of an address; never says why not, for it may hold a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no number of a port
    except ValueError:
        return False
    return parts.scheme in schemes and parts.netloc.count("@") <= 1


def load_settings(**overrides: object) -> Settings:
    """Read the environment; a wrong value becomes one sentence that names the setting and never prints a secret."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0])
        variable = name if name.isupper() else f"FLEETCAST_{name.upper()}"
        raise ConfigurationError(f"Setting {variable}: {first['msg']}.") from None
