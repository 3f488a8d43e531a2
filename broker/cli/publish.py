"""`noticewire publish`: notices and diffusions from files; a line for each one, and the others go on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from broker.cli.context import FAILED, DataOption, JsonOption, load_context, print_json, run_async
from broker.clock import SystemClock
from broker.errors import InvalidFieldError, InvalidMessageError, RefusedError, UnavailableError
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.model.outcome import Verdict
from broker.model.versions import FORMAT_VERSION, needs
from producers.client import Producer, Published
from producers.files import expand, read
from producers.preparation import prepare

OUTCOME_WITHIN = timedelta(seconds=60)


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("publish", no_args_is_help=True)(publish)


def publish(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="JSON, JSON Lines or YAML; or folders that hold them.")
    ],
    *,
    issuer: Annotated[
        str | None,
        typer.Option("--as", metavar="BUREAU", help="Only what this bureau issues; refuse the rest."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the router's word on each.")] = False,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", metavar="FILE", help="Keep what was accepted there, encrypted, until Kafka has it."),
    ] = None,
    format_version: Annotated[
        int | None,
        typer.Option("--format-version", min=1, max=FORMAT_VERSION, help="Write this version of the format."),
    ] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Publish notices and diffusions from files, in the files' order.

    What a file leaves out follows from the rest: id, time, owner, issuer, region. A message that breaks a rule is
    refused with its place, field and rule; the others go on. Whoever could not read a message, because their programs
    are too old, is named before it is sent. Exit code 0 only if all were published (and, with --wait, routed).

    Example: noticewire publish samples/ --wait --data ./data
    """
    context = load_context(data)
    report = _Report(quiet=as_json)
    run_async(
        _publish(
            context.data,
            files,
            issuer=issuer,
            wait=wait,
            journal=journal,
            format_version=format_version,
            report=report,
        )
    )
    if as_json:
        print_json({"messages": report.rows, "summary": report.summary()})
    else:
        typer.echo(", ".join(f"{count} {what}" for what, count in report.summary().items()) or "nothing to publish")
    if report.failed:
        raise typer.Exit(FAILED)


class _Report:
    """What became of each message: lines for people as they come, rows for programs at the end."""

    def __init__(self, *, quiet: bool) -> None:
        self.rows: list[dict[str, Any]] = []
        self.unread: dict[str, list[str]] = {}
        self.failed = False
        self._quiet = quiet
        self._counts: Counter[str] = Counter()
        self.console = Console(stderr=True)

    def summary(self) -> dict[str, int]:
        """How many were published, refused, routed, ..."""
        order = ("published", "refused", "routed", "repeat", "rejected", "without outcome")
        return {what: self._counts[what] for what in order if self._counts[what]}

    def refused(self, place: str, error: RefusedError) -> None:
        """Name place, field and rule of everything that is wrong with an entry."""
        self._counts["refused"] += 1
        self.failed = True
        problems: Sequence[RefusedError] = error.problems if isinstance(error, InvalidMessageError) else (error,)
        self.rows.append({"place": place, "refused": [_problem(problem) for problem in problems]})
        for problem in problems:
            self._say(f"{place}: refused: {problem}")

    def unreadable(self, place: str, message: Notice | Diffusion, bureaus: frozenset[str]) -> None:
        """Name those who will not be given a message, because they read no version that can say it."""
        self.unread[place] = sorted(bureaus)
        codes = " ".join(self.unread[place])
        self._say(f"{place}: {message.number}: needs version {needs(message)} of the format; not read by: {codes}")

    def empty(self, path: Path) -> None:
        """Say that a file holds no entry: what came out of a pipeline that broke looks like that."""
        self._say(f"{path}: nothing in it")

    def published(self, place: str, message: Notice | Diffusion, where: Published) -> dict[str, Any]:
        """Say where a message landed."""
        self._counts["published"] += 1
        row: dict[str, Any] = {
            "place": place,
            "message_id": str(message.message_id),
            "number": message.number,
            "event": message.event,
            "issuer": message.issuer,
            "origin": where.origin,
            "appended_at": where.appended_at.isoformat(),
        }
        if place in self.unread:
            row["unreadable_by"] = self.unread[place]
        self.rows.append(row)
        self._say(f"{place}: {message.number} {message.event} by {message.issuer}: published at {where.origin}")
        return row

    async def outcome(self, row: dict[str, Any], producer: Producer, message: Notice | Diffusion) -> None:
        """Wait for the router's word, and say it."""
        try:
            outcome = await producer.outcome(message.message_id, timeout=OUTCOME_WITHIN)
        except UnavailableError as error:
            self._counts["without outcome"] += 1
            self.failed = True
            self._say(f"{row['place']}: {message.number}: {error}")
            return
        row["outcome"] = outcome.model_dump(
            mode="json", include={"verdict", "reason", "detail", "given", "ended", "withheld"}
        )
        self._counts[outcome.verdict] += 1
        if outcome.verdict is Verdict.REJECTED:
            self.failed = True
            self._say(f"{row['place']}: {message.number}: rejected: {outcome.reason}: {outcome.detail}")
        else:
            counts = f"given to {outcome.given}, ended for {outcome.ended}, withheld from {outcome.withheld}"
            self._say(f"{row['place']}: {message.number} {message.event}: {outcome.verdict}: {counts}")

    def _say(self, line: str) -> None:
        if not self._quiet:
            typer.echo(line)


def _problem(error: RefusedError) -> dict[str, str]:
    if isinstance(error, InvalidFieldError):
        return {"code": error.code, "field": error.field, "problem": error.problem, "rule": error.rule}
    return {"code": error.code, "problem": str(error)}


async def _publish(
    data: Path,
    files: Sequence[Path],
    *,
    issuer: str | None,
    wait: bool,
    journal: Path | None,
    format_version: int | None,
    report: _Report,
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shows = report.console.is_terminal
    async with Producer.connect(data=data, outcomes=wait, journal=journal, format_version=format_version) as producer:
        places: list[str] = []
        landed: list[tuple[dict[str, Any], Notice | Diffusion]] = []
        with Progress(*columns, console=report.console, disable=not shows, transient=True) as progress:
            publishing = progress.add_task("published", total=None)
            messages = _messages(producer, files, issuer=issuer, places=places, report=report)
            async for result in producer.publish_many(messages):
                place = places[result.index]
                if isinstance(result.result, RefusedError):
                    report.refused(place, result.result)
                else:
                    row = report.published(place, result.message, result.result)
                    landed.append((row, result.message))
                progress.advance(publishing)
            progress.update(publishing, total=len(places))
            if wait:
                routing = progress.add_task("outcomes", total=len(landed))
                for waiting in asyncio.as_completed(
                    [report.outcome(row, producer, message) for row, message in landed]
                ):
                    await waiting
                    progress.advance(routing)


async def _messages(
    producer: Producer, files: Sequence[Path], *, issuer: str | None, places: list[str], report: _Report
) -> AsyncIterator[Notice | Diffusion]:
    """Yield what can be published, and note where each stands; refuse the rest."""
    clock = SystemClock()
    for path in expand(files):
        entry = None
        for entry in read(path):
            try:
                message = prepare(entry, directory=await producer.directory(), now=clock.now(), issuer=issuer)
            except RefusedError as error:
                report.refused(entry.place, error)
                continue
            too_old = await producer.unreadable_by(message)
            if too_old:
                report.unreadable(entry.place, message, too_old)
            places.append(entry.place)
            yield message
        if entry is None:
            report.empty(path)
