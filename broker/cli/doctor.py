"""`noticewire doctor`: what is wrong with this installation, and the mend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import asdict
from datetime import timedelta

import typer
from rich.console import Console

from broker.cli.checks.cluster import look_at_brokers, look_at_clocks, look_at_topics, look_at_transactions
from broker.cli.checks.finding import Finding, Level, looked
from broker.cli.checks.installation import look_at_founding, look_at_keys, look_at_stores
from broker.cli.checks.lag import STANDS_STILL, look_at_lag
from broker.cli.checks.machine import look_at_machine, uses_own_kafka
from broker.cli.context import FAILED, Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.clock import SystemClock
from broker.members.directory import Directory
from broker.members.seed import seeds
from broker.model.naming import DIRECTORY
from broker.topics.plan import plan
from broker.transport.directory import DirectoryFollower
from broker.transport.kafka import RawClient

_SIGNS = {Level.OK: "[green]ok[/]      ", Level.WARNING: "[yellow]warning[/] ", Level.PROBLEM: "[bold red]problem[/] "}
_REGISTRY = (
    "bring the schema registry back, run noticewire schema register, or take NOTICEWIRE_SCHEMA_REGISTRY__URL away where"
    " nothing was written with its ids"
)
_AGAIN = "look whether the cluster is well, and run noticewire doctor once more"


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("doctor")(doctor)


def doctor(*, data: DataOption = None, json: JsonOption = False) -> None:
    """Look at machine, cluster, keys, stores and lag; say what is wrong and how it is mended. Changes nothing.

    Exits with 1 if there is a problem; a warning is none. Example: noticewire doctor --data ./data
    """
    context = load_context(data)
    console = Console()

    def show(findings: Iterable[Finding]) -> None:
        for one in [] if json else findings:
            console.print(f"{_SIGNS[one.level]} {one.check}: ", end="", highlight=False)
            console.print(one.what, markup=False, highlight=False, soft_wrap=True)
            if one.mend:
                console.print(f"         mend: {one.mend}", markup=False, highlight=False, soft_wrap=True)

    found = run_async(examine(context, show))
    problems = sum(one.level is Level.PROBLEM for one in found)
    if json:
        print_json({"problems": problems, "findings": [asdict(one) for one in found]})
    if problems:
        raise typer.Exit(FAILED)


async def examine(
    context: Context, show: Callable[[Iterable[Finding]], None] = lambda _: None, *, patience: timedelta = STANDS_STILL
) -> list[Finding]:
    """Make every check, as far as what it needs is there.

    Args:
        context: the installation.
        show: is handed what each check has found, as soon as it has.
        patience: after how long somebody who is behind must have moved.
    """
    found: list[Finding] = []

    def take(findings: Iterable[Finding]) -> bool:
        some = list(findings)
        show(some)
        found.extend(some)
        return all(one.level is not Level.PROBLEM for one in some)

    take(look_at_machine(context))
    own = f"start it: noticewire up --data {context.data}"
    named = "correct NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS, or start the cluster"
    mend = own if uses_own_kafka(context) else named
    client = RawClient(context.kafka, client_id="noticewire-doctor")
    directory = Directory.empty()

    async def take_folder() -> None:
        take(look_at_keys(context, directory, now=SystemClock().now()))
        take(await look_at_stores(context, directory))

    async def follow() -> list[Finding]:
        nonlocal directory
        directory = await _directory(client, context)
        return []

    if not take(await looked("cluster", lambda: _connected(client), mend=mend)):
        await take_folder()
        return found
    try:
        take(await looked("brokers", lambda: look_at_brokers(context.kafka), mend=mend))
        if not take(await looked("schemas", lambda: _codec(context), mend=_REGISTRY)):
            return found
        if not take(await looked("directory", follow, mend=_AGAIN)):
            await take_folder()
            return found
        specs = plan(directory.recipients() or [one.code for one in seeds() if not one.is_service], kafka=context.kafka)
        has_topics = take(await looked("topics", lambda: look_at_topics(context.kafka, specs), mend=_AGAIN))
        take(look_at_founding(context, directory))
        await take_folder()
        looks: list[tuple[str, Callable[[], Awaitable[list[Finding]]]]] = [
            ("clock", lambda: look_at_clocks(context.kafka)),
            ("transactions", lambda: look_at_transactions(client, specs)),
        ]
        if directory.installation is not None and has_topics:
            looks.append(("lag", lambda: look_at_lag(context, client, patience=patience)))
        for check, look in looks:
            take(await looked(check, look, mend=_AGAIN))
    finally:
        await client.stop()
    return found


async def _connected(client: RawClient) -> list[Finding]:
    await client.start()
    return []


async def _codec(context: Context) -> list[Finding]:
    context.codec()
    return []


async def _directory(client: RawClient, context: Context) -> Directory:
    """Return the directory; an empty one where there is no topic for it."""
    if DIRECTORY not in await client.topics():
        return Directory.empty()
    return await DirectoryFollower(client, context.codec(), root_public=context.root_public).at_its_end()
