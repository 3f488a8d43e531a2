"""`noticewire restore`: put a backup back, each file held against its SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from broker.cli.context import JsonOption, print_json
from broker.store.backup import restore as put_back


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("restore", no_args_is_help=True)(restore)


def restore(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="What `noticewire backup` made.")],
    *,
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="A folder that is not there yet, or is empty.")],
    as_json: JsonOption = False,
) -> None:
    """Put a backup back into a new data folder; nothing is written unless every file is what it was.

    Example: noticewire restore /backups/today --data ./data
    """
    manifest = put_back(source, data)
    if as_json:
        print_json(manifest.model_dump(mode="json", exclude={"files"}) | {"files": len(manifest.files)})
        return
    typer.echo(f"{len(manifest.files):,} files of {manifest.made_at}, all as they were, in {data}")
    if not manifest.has_kafka:
        typer.echo(
            "Without Kafka's own data: start the services on the cluster that this belongs to, and they read on from"
            " there. On a new Kafka another installation would begin, which refuses these stores and this archive."
        )
