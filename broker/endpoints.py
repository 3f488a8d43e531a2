"""Where an installation is: the settings, and what a running system says of itself in its data folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings.exceptions import SettingsError

from broker.errors import MisuseError
from broker.schema.codec import Codec
from broker.schema.registry import load_codec
from broker.settings import KafkaSettings, Settings

ENDPOINTS = "endpoints.json"


class KafkaEndpoint(BaseModel, frozen=True):
    """How the cluster of what runs is reached."""

    bootstrap_servers: str
    prefix: str = ""


class ServiceEndpoint(BaseModel, frozen=True):
    """A service that runs."""

    pid: int
    observe: str | None = None
    """Where it shows `/metrics`, `/healthz` and `/readyz`: `http://127.0.0.1:9601`."""
    url: str | None = None
    """Where it answers what it is for, if over HTTP: the gateway."""


class Endpoints(BaseModel, frozen=True):
    """What a running system says of itself in `<data>/endpoints.json`; unknown parts are for others."""

    kafka: KafkaEndpoint
    installation: str | None = None
    root_key: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    pid: int | None = None
    """Of the process that keeps it running."""
    observe: str | None = None
    """Where that process shows its own metrics."""
    services: dict[str, ServiceEndpoint] = Field(default_factory=dict)
    """By name: `router-0`, `tracker`, `audit`, `gateway`."""

    def write(self, data: Path) -> None:
        """Put it where every command with `--data` finds it; whole or not at all."""
        data.mkdir(parents=True, exist_ok=True)
        temporary = data / f".{ENDPOINTS}"
        temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(data / ENDPOINTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whereabouts:
    """Where an installation's data, cluster and root of trust are."""

    settings: Settings
    data: Path
    kafka: KafkaSettings
    installation: str | None
    """As the running system says; the directory has the last word."""
    root_public: bytes | None
    """The Secretariat's first key, if pinned."""

    def codec(self) -> Codec:
        """Return what this installation's records are written and read with.

        Raises:
            MisuseError: an external schema registry does not have the schemas.
            UnavailableError: it does not answer, and its ids are not on the disk.
        """
        return load_codec(self.settings.schema_registry, self.data, prefix=self.kafka.prefix)


def locate(data: Path | None = None) -> Whereabouts:
    """Read the settings, and what runs on the data folder.

    What the settings say of the cluster outranks the folder's addresses only where somebody set it: a pinned root key
    always counts.

    Args:
        data: a data folder; otherwise the settings'.

    Raises:
        MisuseError: a setting or the addresses make no sense; names which.
    """
    try:
        settings = Settings() if data is None else Settings(data=data)
    except (ValidationError, SettingsError) as error:
        raise MisuseError(_settings_problem(error)) from error
    endpoints = _endpoints(settings.data)
    kafka, installation, root_key = settings.kafka, None, settings.root_key
    if endpoints is not None:
        said = endpoints.kafka.model_dump(exclude=settings.kafka.model_fields_set)
        kafka = settings.kafka.model_copy(update=said)
        installation = endpoints.installation
        root_key = root_key or endpoints.root_key
    return Whereabouts(
        settings=settings,
        data=settings.data,
        kafka=kafka,
        installation=installation,
        root_public=bytes.fromhex(root_key) if root_key is not None else None,
    )


def _endpoints(data: Path) -> Endpoints | None:
    path = data / ENDPOINTS
    try:
        return Endpoints.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise MisuseError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise MisuseError(f"{path} is not what a running system writes: {_settings_problem(error)}") from error


def _settings_problem(error: ValidationError | SettingsError) -> str:
    """Say which names are wrong and why; never the values, which may be secrets."""
    if isinstance(error, SettingsError):
        return f"settings: {error}"
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors())
