"""The one place where configuration enters: `NOTICEWIRE_*` variables, or `noticewire.toml` beside the command.

Only entry points (the command line, the gateway) read it; everything else is handed its part by keyword.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from typing_extensions import override


class KafkaSettings(BaseModel, frozen=True, extra="forbid"):
    """How to reach the cluster. The defaults suit one broker on this machine."""

    bootstrap_servers: str = "127.0.0.1:9092"
    prefix: str = Field(
        "",
        pattern=r"^[a-z0-9-]{0,32}$",
        description="Before every topic, group, transactional and instance id, so that several installations (and "
        "every test) can share a cluster. Never in an origin or in what is signed.",
    )
    request_timeout: timedelta = Field(
        timedelta(seconds=8),
        description="How long an answer may take. Below the transaction time-out, so that a request without an answer "
        "is noticed while its transaction is still ours; above a fetch's longest wait.",
    )
    metadata_timeout: timedelta = Field(
        timedelta(seconds=6),
        description="How long a topic may be unknown before it counts as missing: brokers learn of a new topic some "
        "milliseconds after its creation was answered.",
    )
    transaction_timeout: timedelta = Field(
        timedelta(seconds=10),
        description="A hung router holds back its inboxes' readers for this long; keep it above the slowest poll.",
    )
    session_timeout: timedelta = Field(
        timedelta(seconds=6),
        description="After this long without a heartbeat a member's shards go to others. Lower is a faster takeover "
        "from a process that hangs, but a pause of that length then costs a restart. The cluster's "
        "group.min.session.timeout.ms must allow it.",
    )
    heartbeat_interval: timedelta = Field(
        timedelta(seconds=1),
        description="A sixth of the session time-out: five beats may be lost before a member counts as gone.",
    )
    delivery_timeout: timedelta = Field(
        timedelta(seconds=30),
        description="How long a record outside a transaction may wait for a broker that is away (a killed one is back "
        "after 4.5 to 12.5 s) before its sender is told.",
    )
    replication: int = Field(
        1, ge=1, description="Replicas of every topic. One for the embedded broker; three in production."
    )
    in_sync_min: int = Field(
        1,
        ge=1,
        description="Replicas that must have a record before its sender is told so. Two in production: with one, an "
        "acknowledged record can die with a disk; with three, one stopped node stops everything.",
    )
    record_bytes_max: int = Field(
        1_000_000,
        description="The largest record on a feed, headers included: just under Kafka's own default of 1,048,588, "
        "which leaves the batch's header room.",
    )
    enclosing_bytes_extra: int = Field(
        65_536,
        description="What an inbox or `rejected` takes more than a feed: the router's headers, and the record around a "
        "rejected one.",
    )


class RouterSettings(BaseModel, frozen=True, extra="forbid"):
    """How much a router takes at once."""

    poll_wait: timedelta = Field(
        timedelta(seconds=2),
        description="How long a feed may be quiet before we look up. What comes is there at once, whatever this says; "
        "a longer wait only spares broker and router the asking.",
    )
    poll_records_max: int = Field(
        400, gt=0, description="Records in one transaction: beyond some 400 the fan-out gains nothing more."
    )
    poll_bytes_max: int = Field(
        600_000,
        gt=0,
        description="Bytes of one transaction's records, before they are multiplied by their audience. Compressed, and "
        "for 226 inboxes, this stays below what one produce request may hold (socket.request.max.bytes, 100 MiB).",
    )


class TrackerSettings(BaseModel, frozen=True, extra="forbid"):
    """Where the tracker keeps the state of every delivery."""

    url: str | None = Field(
        None,
        description="As SQLAlchemy writes it: `sqlite+aiosqlite:///...` or `postgresql+asyncpg://...`. Without it, a "
        "SQLite file in the data folder. It can be deleted, and is then filled from the log again.",
    )


class ObserveSettings(BaseModel, frozen=True, extra="forbid"):
    """Where services show their metrics and their health, and how much they log."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO",
        description="The lowest level that services log. Commands log errors only, unless this is set. None of the "
        "levels shows a subject's data.",
    )

    port: int = Field(
        0,
        ge=0,
        le=65_500,
        description="On 127.0.0.1; 0 takes any free one. Under `up` the first of a row: its own, then one for each "
        "service, so that a scraper can name them.",
    )


class GatewaySettings(BaseModel, frozen=True, extra="forbid"):
    """Where the gateway answers."""

    port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="On 127.0.0.1; 0 takes any free one. Under `up` that is the one after the services' own, kept "
        "while it runs and written to endpoints.json. For other machines, put a proxy with TLS in front.",
    )


class SchemaRegistrySettings(BaseModel, frozen=True, extra="forbid"):
    """A schema registry of the operator's own, whose ids are then on the wire in place of the catalogue's."""

    url: str | None = Field(
        None,
        pattern=r"^https?://[^@\s]+$",
        description="Of a registry that speaks Confluent's protocol; without user and password, which have their own "
        "settings. Set it for every program of an installation, or for none, and before the first record.",
    )
    username: str | None = None
    password: SecretStr | None = None
    timeout: timedelta = Field(
        timedelta(seconds=10),
        description="How long an answer may take. It is asked at a start only, and only for ids that are not on the "
        "disk yet.",
    )


class Settings(BaseSettings):
    """Everything that can be set, as one frozen tree; an unknown name is refused."""

    model_config = SettingsConfigDict(
        env_prefix="NOTICEWIRE_", env_nested_delimiter="__", toml_file="noticewire.toml", frozen=True, extra="forbid"
    )

    data: Path = Field(Path("data"), description="Keys, stores, archive, addresses and logs of this installation.")
    kafka: KafkaSettings = KafkaSettings()
    router: RouterSettings = RouterSettings()
    tracker: TrackerSettings = TrackerSettings()
    observe: ObserveSettings = ObserveSettings()
    gateway: GatewaySettings = GatewaySettings()
    schema_registry: SchemaRegistrySettings = SchemaRegistrySettings()
    format_version: int | None = Field(
        None,
        ge=1,
        description="The version of the format that whatever publishes here writes (publish, import, resubmit, relay, "
        "the SDK); the newest one unless set. What cannot be said in an older one is refused.",
    )
    root_key: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="The 32 public bytes, in hexadecimal, of the General Secretariat's first key. A directory that was "
        "founded with another key is not believed; without a pinned key the first one is.",
    )

    @override
    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given outranks the environment, which outranks the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)
