"""`noticewire backup`: keys, stores and archive of a data folder, also while everything runs."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.context import DataOption, JsonOption, load_context, print_json
from broker.clock import SystemClock
from broker.store.backup import Plan, back_up
from consumers.audit.copying import copy_archive


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("backup", no_args_is_help=True)(backup)


def backup(
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A folder that is not there yet, or is empty.")],
    *,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Copy keys, stores and archive, also while everything runs; Kafka's own data only while Kafka is stopped.

    The copy is as secret as the original: it holds private keys and personal data. Example: noticewire backup
    /backups/today --data ./data
    """
    context = load_context(data)
    with _stopped_kafka(context.data / "kafka") as has_kafka:
        plan = Plan(
            data=context.data,
            has_kafka=has_kafka,
            folders={"archive": copy_archive},
            installation=context.installation,
            made_at=SystemClock().now(),
        )
        manifest = back_up(plan, target)
    if as_json:
        print_json(manifest.model_dump(mode="json"))
        return
    size_bytes = sum(one.size_bytes for one in manifest.files)
    typer.echo(f"{len(manifest.files):,} files, {size_bytes:,} bytes, in {target}")
    if not has_kafka:
        typer.echo(
            "Without Kafka's own data: back them up with the cluster's means; those of `noticewire up` are taken along"
            " when it is stopped."
        )


@contextlib.contextmanager
def _stopped_kafka(folder: Path) -> Iterator[bool]:
    """Keep our own Kafka from starting meanwhile; yield whether there is one, and it does not run."""
    lock = folder / "lock"
    if not lock.exists():
        yield False
        return
    with lock.open("rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
