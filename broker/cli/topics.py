"""`noticewire topics`: what should exist on the cluster, where it differs, and the mend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer

from broker.cli.context import FAILED, Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.members.seed import seeds
from broker.model.naming import DIRECTORY
from broker.topics.apply import TopicAdmin
from broker.topics.plan import MENDED, Drift, TopicSpec, plan
from broker.transport.kafka import RawClient

app = typer.Typer(no_args_is_help=True, help="The topics of this installation: as planned, as they are, and the mend.")


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.add_typer(app, name="topics")


@app.command("plan")
def show(*, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show where the cluster differs from the plan; exits with 1 if it does.

    Example: noticewire topics plan --data ./data
    """
    context = load_context(data)
    specs, differences = run_async(_drift(context))
    _print(specs, differences, as_json=as_json, done="")
    if differences:
        raise typer.Exit(FAILED)


@app.command("apply")
def mend(
    *,
    data: DataOption = None,
    as_json: JsonOption = False,
    delete_unplanned: Annotated[
        bool,
        typer.Option("--delete-unplanned", help="Also delete topics of ours that are not planned, and all they hold."),
    ] = False,
) -> None:
    """Make missing topics and set settings right. Nothing is shrunk, and nothing deleted unless told.

    Example: noticewire topics apply --data ./data
    """
    context = load_context(data)
    specs, mended = run_async(_apply(context, delete_unplanned=delete_unplanned))
    _print(specs, mended, as_json=as_json, done="mended: ")
    _, left = run_async(_drift(context))
    for one in left:
        typer.echo(f"left as it is: {one}", err=True)
    if any(one.difference in MENDED for one in left):
        raise typer.Exit(FAILED)


async def _drift(context: Context) -> tuple[Sequence[TopicSpec], list[Drift]]:
    specs = plan(await _recipients(context), kafka=context.kafka)
    return specs, await TopicAdmin(context.kafka).drift(specs)


async def _apply(context: Context, *, delete_unplanned: bool) -> tuple[Sequence[TopicSpec], list[Drift]]:
    specs = plan(await _recipients(context), kafka=context.kafka)
    return specs, await TopicAdmin(context.kafka).apply(specs, delete_unplanned=delete_unplanned)


async def _recipients(context: Context) -> tuple[str, ...]:
    """Return who has an inbox: by the directory, or by its seed where nothing is founded yet."""
    client = RawClient(context.kafka, client_id="noticewire-topics")
    await client.start()
    try:
        is_there = DIRECTORY in await client.topics()
    finally:
        await client.stop()
    if is_there:
        async with context.directory() as follower:
            directory = await follower.at_its_end()
        if directory.installation is not None:
            return directory.recipients()
    return tuple(seed.code for seed in seeds() if not seed.is_service)


def _print(specs: Sequence[TopicSpec], differences: Sequence[Drift], *, as_json: bool, done: str) -> None:
    if as_json:
        print_json({"planned": len(specs), "drift": [asdict(one) for one in differences]})
        return
    for one in differences:
        typer.echo(f"{done}{one}")
    typer.echo(f"{len(specs)} topics planned, {len(differences)} differences{' mended' if done else ''}")
