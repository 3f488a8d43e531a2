"""What every command starts from: settings, the addresses of what runs, and errors as one clear line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings.exceptions import SettingsError

from broker.errors import MisuseError, NoticewireError
from broker.observe.logging import configure_logging
from broker.schema.codec import Codec
from broker.settings import KafkaSettings, Settings
from broker.transport.directory import DirectoryFollower
from broker.transport.kafka import RawClient
from broker.trust.keys import KeyRing

T = TypeVar("T")

DONE, FAILED, MISUSE, INTERRUPTED = 0, 1, 2, 130

ENDPOINTS = "endpoints.json"

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The data folder; finds there what runs. Otherwise NOTICEWIRE_DATA."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]


class KafkaEndpoint(BaseModel, frozen=True):
    """How the cluster of what runs is reached."""

    bootstrap_servers: str
    prefix: str = ""


class Endpoints(BaseModel, frozen=True):
    """What a running system says of itself in `<data>/endpoints.json`; unknown parts are for others."""

    kafka: KafkaEndpoint
    installation: str | None = None
    root_key: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")

    def write(self, data: Path) -> None:
        """Put it where every command with `--data` finds it; whole or not at all."""
        data.mkdir(parents=True, exist_ok=True)
        temporary = data / f".{ENDPOINTS}"
        temporary.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary.replace(data / ENDPOINTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a command finds its data, its cluster and its root of trust."""

    settings: Settings
    data: Path
    kafka: KafkaSettings
    installation: str | None
    """As the running system says; the directory has the last word."""
    root_public: bytes | None
    """The Secretariat's first key, if pinned."""

    @property
    def keys(self) -> KeyRing:
        """The private keys of this data folder."""
        return KeyRing(self.data / "keys")

    @contextlib.asynccontextmanager
    async def directory(self) -> AsyncIterator[DirectoryFollower]:
        """Connect, and follow the directory.

        Raises:
            UnavailableError: no broker answers.
        """
        client = RawClient(self.kafka, client_id="noticewire-cli")
        await client.start()
        try:
            yield DirectoryFollower(client, Codec.load(), root_public=self.root_public)
        finally:
            await client.stop()


def load_context(data: Path | None = None) -> Context:
    """Read the settings, and what runs on the data folder.

    What the settings say of the cluster outranks the folder's addresses only where somebody set it: a pinned root key
    always counts.

    Args:
        data: the folder that `--data` names; otherwise the settings'.

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
    return Context(
        settings=settings,
        data=settings.data,
        kafka=kafka,
        installation=installation,
        root_public=bytes.fromhex(root_key) if root_key is not None else None,
    )


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end; Ctrl-C cancels it, and lets it clean up."""
    return asyncio.run(work)


def run(app: typer.Typer) -> int:
    """Run the command line and return its exit code; an error of ours is one line on standard error."""
    configure_logging("cli", as_json=False, level="ERROR")
    try:
        code = app(standalone_mode=False)
    except MisuseError as error:
        return _failed(error, MISUSE)
    except NoticewireError as error:
        return _failed(error, FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except typer.Exit as left:
        return left.exit_code
    except Exception as error:
        # Typer's own: an unknown option, a missing argument. It carries its exit code (2) and prints itself.
        if (show := getattr(error, "show", None)) is None:
            raise
        show()
        return int(getattr(error, "exit_code", MISUSE))
    return code if isinstance(code, int) else DONE


def print_json(value: object) -> None:
    """Write a value for programs."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=False))


def _failed(error: NoticewireError, code: int) -> int:
    sys.stderr.write(f"noticewire: {' '.join(str(error).split())}\n")
    return code


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
