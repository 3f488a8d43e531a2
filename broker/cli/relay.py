"""`noticewire relay`: publishes what an outbox in the user's own database holds."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from broker.cli.context import FAILED, Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.cli.serve import ObservePortOption
from broker.cli.services.observing import Watch, watched
from broker.errors import MisuseError
from broker.observe.counting import DoorMetrics
from broker.observe.faultpoints import faults_from
from broker.observe.health import Health
from broker.observe.logging import configure_logging
from broker.observe.metrics import Metrics
from producers.client import Producer
from producers.relay import Relay, Relayed, outbox_engine

_RETRY_FOR = timedelta(seconds=5)
"""Then the relay looks up: at its lease, and whether it was told to stop."""


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("relay")(relay)


def relay(
    *,
    database: Annotated[
        str, typer.Option("--database", metavar="URL", help="SQLite or PostgreSQL, as SQLAlchemy writes it.")
    ],
    once: Annotated[bool, typer.Option("--once", help="Publish what waits, and end.")] = False,
    retry_refused: Annotated[
        bool, typer.Option("--retry-refused", help="First let what was refused wait to be published again.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
    observe_port: ObservePortOption = None,
) -> None:
    """Publish what an outbox holds, each notice's messages in their order, until Ctrl-C or SIGTERM.

    What was published is deleted; what was refused stays, with the reason. One relay works at a time, a second one
    stands by. With --once: exit code 0 only if nothing was refused. Leave a password out of the URL: PGPASSWORD, or
    ~/.pgpass, has it.

    Example: noticewire relay --database postgresql://cases@db/cases --data ./data
    """
    if as_json and not once:
        raise MisuseError("--json is for --once")
    context = load_context(data)
    if not once:
        configure_logging("relay", as_json=False)
    elif "log_level" not in context.settings.observe.model_fields_set:
        configure_logging("relay", as_json=False, level="WARNING")  # among them: who could not read a message
    done = run_async(_relay(context, database, once=once, retry_refused=retry_refused, observe_port=observe_port))
    if not once:
        return
    if as_json:
        print_json({"published": done.published, "refused": [asdict(one) for one in done.refused]})
    else:
        for one in done.refused:
            typer.echo(f"outbox {one.id}: {one.number}: refused: {one.problem}")
        typer.echo(f"{done.published} published, {len(done.refused)} refused")
    if done.refused:
        raise typer.Exit(FAILED)


async def _relay(
    context: Context, database: str, *, once: bool, retry_refused: bool, observe_port: int | None
) -> Relayed:
    faults = faults_from()
    metrics = Metrics("relay", Health(), reads_logs=False)
    async with (
        outbox_engine(database) as engine,
        Producer.connect(
            data=context.data, outcomes=False, retry_for=_RETRY_FOR, observer=DoorMetrics(metrics.registry)
        ) as producer,
    ):
        relay = Relay(engine=engine, producer=producer, faults=faults)
        if retry_refused:
            await relay.retry_refused()
        if once:
            return await relay.once()
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signalled, stop.set)
        port = context.settings.observe.port if observe_port is None else observe_port
        async with watched(Watch(metrics=metrics, asks_kafka=False, problems=tuple), None, port=port):
            await relay.run(stop)
    return Relayed()
