"""`noticewire simulate`: a believable, repeatable day of the network, on an installation that runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from broker.cli.context import FAILED, DataOption, JsonOption, load_context, print_json
from broker.cli.simulating import Options, SimulationRun
from broker.clock import SystemClock
from broker.errors import MisuseError
from producers.simulator.arrivals import Rate, parse_duration

_FRAME_SECONDS = 0.25
_REFUSALS_SHOWN = 5


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("simulate")(simulate)


def simulate(
    *,
    rate: Annotated[
        str, typer.Option("--rate", metavar="RATE", help="5/s, 300/m, 2/h; max: as fast as it goes.")
    ] = "5/s",
    duration: Annotated[
        str | None, typer.Option("--duration", metavar="TIME", help="90s, 10m, 2h; otherwise until Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed and start give the same messages.")] = 7,
    count: Annotated[int | None, typer.Option("--count", min=1, help="No more messages than this.")] = None,
    start: Annotated[
        str | None,
        typer.Option("--start", metavar="MOMENT", help="When it begins; now, if left out."),
    ] = None,
    bureaus: Annotated[
        str | None, typer.Option("--bureaus", metavar="CODES", help="Who takes part: zw,ke,fr; otherwise everybody.")
    ] = None,
    no_bureaus: Annotated[bool, typer.Option("--no-bureaus", help="Publish only; somebody else answers.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Publish a believable mix of notices and diffusions, and play the bureaus that answer them, late, or not at all.

    Signs as everybody, so it works on a data folder that holds everybody's keys: a demo's, or that of `noticewire up`.
    Numbers are of a range of its own. Repeatable: the same seed and start on the same folder give the same bytes.

    Example: noticewire simulate --rate 5/s --duration 10m --seed 7 --data ./data
    """
    context = load_context(data)
    options = Options(
        seed=seed,
        start=_moment(start),
        rate=Rate.parse(rate),
        duration=None if duration is None else parse_duration(duration),
        count=count,
        bureaus=None if bureaus is None else tuple(sorted({code.strip() for code in bureaus.split(",")})),
        plays_bureaus=not no_bureaus,
    )
    run = SimulationRun(context, options)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(run, options, Console(stderr=True)))
    summary = run.summary()
    if as_json:
        print_json(summary)
    else:
        for line in in_words(summary):
            typer.echo(line)
        for why in run.refused[:_REFUSALS_SHOWN]:
            typer.echo(f"refused: {why}", err=True)
    if run.failed:
        raise typer.Exit(FAILED)


def in_words(summary: dict[str, Any]) -> Iterator[str]:
    """Yield a summary's lines, for people."""
    events = ", ".join(f"{number} {event}" for event, number in summary["events"].items())
    yield f"{summary['published']} messages published in {summary['seconds']} s: {events or 'none'}"
    if "outcomes" in summary:
        outcomes = ", ".join(f"{number} {verdict}" for verdict, number in summary["outcomes"].items())
        yield f"The router's word: {outcomes or 'none'}; {summary['without_outcome']} still without"
        answers = ", ".join(f"{number} {stage}" for stage, number in summary["answers"].items())
        yield f"{summary['deliveries']} deliveries to bureaus, whose answers are: {answers or 'none'}"
        yield (
            f"{summary['failures']} failures of their own systems, {summary['absences']} absences,"
            f" {summary['open']} deliveries still open"
        )
    yield f"Repeat it with --seed {summary['seed']} --start {summary['start']}"


@contextlib.asynccontextmanager
async def stopping() -> AsyncIterator[asyncio.Event]:
    """Give what the first Ctrl-C (or SIGTERM) sets; a second one ends at once."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, first)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


async def _run(run: SimulationRun, options: Options, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    async with stopping() as stop:
        running = asyncio.create_task(run.run(stop))
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            publishing = progress.add_task("published", total=options.count or _expected(options))
            answering = progress.add_task("answers given")
            try:
                while not running.done():
                    summary = run.summary()
                    progress.update(publishing, completed=summary["published"])
                    progress.update(answering, completed=sum(summary.get("answers", {}).values()))
                    await asyncio.wait({running}, timeout=_FRAME_SECONDS)
                await running
            finally:
                running.cancel()
                await asyncio.wait({running})


def _expected(options: Options) -> float | None:
    if options.duration is None or options.rate.per_second is None:
        return None
    return round(options.duration / timedelta(seconds=1) * options.rate.per_second)


def _moment(text: str | None) -> datetime:
    if text is None:
        return SystemClock().now()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise MisuseError(f"--start {text!r} is no moment such as 2026-05-01T12:00:00Z") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
