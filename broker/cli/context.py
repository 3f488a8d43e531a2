"""What every command starts from: settings, the addresses of what runs, and errors as one clear line."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import sys
from collections.abc import AsyncIterator, Coroutine
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from broker.endpoints import ENDPOINTS, Endpoints, KafkaEndpoint, locate
from broker.errors import MisuseError, NoticewireError, UnavailableError
from broker.observe import tracing
from broker.observe.logging import configure_logging
from broker.schema.codec import Codec
from broker.schema.registry import load_codec
from broker.settings import KafkaSettings, Settings
from broker.transport.directory import DirectoryFollower
from broker.transport.kafka import RawClient
from broker.trust.keys import KeyRing

__all__ = [
    "DONE",
    "ENDPOINTS",
    "FAILED",
    "INTERRUPTED",
    "MISUSE",
    "Context",
    "DataOption",
    "Endpoints",
    "JsonOption",
    "KafkaEndpoint",
    "load_context",
    "print_json",
    "run",
    "run_async",
]

T = TypeVar("T")

DONE, FAILED, MISUSE, INTERRUPTED = 0, 1, 2, 130

_nothing_runs: ContextVar[Path | None] = ContextVar("nothing_runs", default=None)
"""The data folder of this command, if neither it nor a setting says where the cluster is: a default was tried."""

DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="The data folder; finds there what runs. Otherwise NOTICEWIRE_DATA."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]


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

    def codec(self) -> Codec:
        """Return what this installation's records are written and read with.

        Raises:
            MisuseError: an external schema registry does not have the schemas.
            UnavailableError: it does not answer, and its ids are not on the disk.
        """
        return load_codec(self.settings.schema_registry, self.data, prefix=self.kafka.prefix)

    @contextlib.asynccontextmanager
    async def directory(self) -> AsyncIterator[DirectoryFollower]:
        """Connect, and follow the directory.

        Raises:
            UnavailableError: no broker answers.
        """
        client = RawClient(self.kafka, client_id="noticewire-cli")
        await client.start()
        try:
            yield DirectoryFollower(client, self.codec(), root_public=self.root_public)
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
    found = locate(data)
    if "log_level" in found.settings.observe.model_fields_set:
        configure_logging("cli", as_json=False, level=found.settings.observe.log_level)
    is_told = "bootstrap_servers" in found.settings.kafka.model_fields_set or (found.data / ENDPOINTS).exists()
    _nothing_runs.set(None if is_told else found.data)
    return Context(
        settings=found.settings,
        data=found.data,
        kafka=found.kafka,
        installation=found.installation,
        root_public=found.root_public,
    )


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's work to its end; Ctrl-C cancels it, and lets it clean up."""
    return asyncio.run(work)


def run(app: typer.Typer) -> int:
    """Run the command line and return its exit code; an error of ours is one line on standard error."""
    configure_logging("cli", as_json=False, level="ERROR")
    _nothing_runs.set(None)
    try:
        _export_spans()
        code = app(standalone_mode=False)
    except MisuseError as error:
        return _failed(error, MISUSE)
    except UnavailableError as error:
        return _failed(_explained(error), FAILED)
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


def _export_spans() -> None:
    """Export this command's spans, where OpenTelemetry is installed and the environment names an exporter."""
    named = os.environ.get("OTEL_TRACES_EXPORTER", "").split(",")
    if (names := [name for name in named if name not in {"", "none"}]) and tracing.IS_INSTALLED:
        importlib.import_module("broker.observe.exporting").export_spans(names, service="noticewire")


def print_json(value: object) -> None:
    """Write a value for programs."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, sort_keys=False))


def _explained(error: UnavailableError) -> UnavailableError:
    folder = _nothing_runs.get()
    if folder is None:
        return error
    mend = f"start `noticewire up --data {folder}`, or set NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS"
    return UnavailableError(f"nothing runs on {folder}: {mend} ({error})")


def _failed(error: NoticewireError, code: int) -> int:
    sys.stderr.write(f"noticewire: {' '.join(str(error).split())}\n")
    return code
