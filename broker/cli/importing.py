"""`noticewire import`: what foreign services publish, as messages that are marked as imported extracts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli.context import FAILED, Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.cli.import_report import Item, Report
from broker.clock import SystemClock
from broker.errors import MisuseError, RefusedError, UnavailableError
from broker.members.directory import SECRETARIAT, Bureau, Directory
from broker.members.seed import seeds
from broker.model.circulation import Scope
from broker.model.diffusion import Diffusion
from broker.model.naming import Region
from broker.transport.link import linked
from producers.client import Producer
from producers.door import refuse_if_wrong
from producers.files import expand, read
from producers.importers.imported import Imported
from producers.importers.importing import as_message
from producers.importers.landing import look_up_landed
from producers.importers.public_notices import Colour, list_total, notices_in, read_extract

OUTCOME_WITHIN = timedelta(seconds=60)

app = typer.Typer(no_args_is_help=True, help="Publish what foreign services show, marked as imported extracts.")


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.add_typer(app, name="import")


@app.callback()
def _importers() -> None:
    """Publish what foreign services show, marked as imported extracts."""  # a second importer will stand beside it


@app.command("public-notices", no_args_is_help=True)
def public_notices(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="The service's JSON: single notices, lists; or folders.")
    ],
    *,
    owner: Annotated[
        str, typer.Option("--as", metavar="BUREAU", help="Who imports them, and answers for them.")
    ] = SECRETARIAT,
    to: Annotated[
        list[str], typer.Option("--to", help="all (if left out), regions, or bureaus; repeat, or separate by commas.")
    ] = ["all"],  # noqa: B006 - typer copies it
    exclude: Annotated[list[str], typer.Option("--exclude", help="Bureaus that are not to have them.")] = [],  # noqa: B006 - the same
    colour: Annotated[Colour | None, typer.Option("--colour", help="Where the file does not say it.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be published; needs no cluster.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the router's word on each.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Import the JSON of the public notices service: red, yellow and UN notices.

    An extract is too little for a notice: each becomes an information diffusion of the bureau that imports it, marked
    as an extract, and no basis for an arrest. What cannot be taken over is named. Importing the same again is a repeat;
    a changed one becomes the next revision.

    Example: noticewire import public-notices red.json --as zw --dry-run
    """
    if dry_run and wait:
        raise MisuseError("--dry-run and --wait exclude each other")
    context = load_context(data)
    circulation = _circulation(to, exclude)
    report = Report(quiet=as_json)
    clock = SystemClock()
    with Imported.open(context.data / "imports" / f"{_code(owner)}.db", keep=not dry_run) as imported:
        reading = _Reading(
            files=files, owner=owner, circulation=circulation, colour=colour, imported=imported, clock=clock
        )
        if dry_run:
            _show(reading, report)
        else:
            run_async(_publish(context, reading, wait=wait, report=report))
    if as_json:
        print_json(report.as_json())
    else:
        report.sum_up()
    if report.failed:
        raise typer.Exit(FAILED)


def _code(owner: str) -> str:
    if not owner.replace("-", "").isalnum() or not owner.isascii():
        raise MisuseError("a bureau's code is letters, digits and '-'")
    return owner


def _circulation(to: Sequence[str], exclude: Sequence[str]) -> dict[str, Any]:
    named = _words(to)
    exclusions = sorted({*_words(exclude)})
    if named == ["all"]:
        return {"scope": Scope.ALL, "exclusions": exclusions}
    regions = [word for word in named if word in set(Region)]
    if not named or "all" in named or (regions and len(regions) != len(named)):
        raise MisuseError("--to names all, or regions, or bureaus")
    key = "regions" if regions else "bureaus"
    return {"scope": Scope(key), key: named, "exclusions": exclusions}


def _words(values: Sequence[str]) -> list[str]:
    return [word for value in values for word in value.split(",") if word]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """From files to messages."""

    files: Sequence[Path]
    owner: str
    circulation: dict[str, Any]
    colour: Colour | None
    imported: Imported
    clock: SystemClock

    def items(self, directory: Directory, report: Report) -> Iterator[Item]:
        """Yield what is to be published, each once; the rest is reported."""
        seen: set[tuple[str, int]] = set()
        for path in expand(self.files):
            for entry in read(path):
                if (page := list_total(entry)) is not None:
                    report.page(entry.place, *page)
                for found in notices_in(entry):
                    try:
                        if isinstance(found.content, RefusedError):
                            raise found.content
                        item = self._item(found.place, found.content, self.colour or found.colour, directory)
                    except RefusedError as error:
                        report.refused(found.place, error)
                        continue
                    place = item.made.place
                    if (place.number, place.revision) in seen:
                        report.duplicate(item)
                        continue
                    seen.add((place.number, place.revision))
                    yield item

    def _item(self, place: str, content: Any, colour: Colour | None, directory: Directory) -> Item:
        extract = read_extract(content, colour=colour)
        made = as_message(
            extract,
            owner=self.owner,
            circulation=self.circulation,
            imported=self.imported,
            directory=directory,
            now=self.clock.now(),
        )
        return Item(place=place, extract=extract, made=made)


def _show(reading: _Reading, report: Report) -> None:
    """Hold what would be published against the door's rules, with the directory that an installation starts with."""
    directory = Directory(
        [
            Bureau(
                code=seed.code,
                name=seed.facts.name,
                kind=seed.facts.kind,
                region=seed.facts.region,
                city=seed.facts.city,
                clearance=seed.facts.clearance,
                version=1,
            )
            for seed in seeds()
        ],
        offset=0,
        installation=None,
    )
    today = reading.clock.now().date()
    for item in reading.items(directory, report):
        try:
            refuse_if_wrong(item.made.message, directory=directory, signs_as=reading.owner, today=today)
        except RefusedError as error:
            reading.imported.forget(item.made.place)
            report.refused(item.place, error)
        else:
            report.would_publish(item)


async def _look_up_landed(context: Context, reading: _Reading) -> None:
    """Note what Kafka has of an earlier run that ended before it knew."""
    async with linked(
        context.kafka, codec=context.codec(), client_id="noticewire-import", root_public=context.root_public
    ) as link:
        await look_up_landed(
            reading.imported,
            owner=reading.owner,
            directory=await link.follower.at_its_end(),
            client=link.client,
            codec=link.codec,
        )


async def _publish(context: Context, reading: _Reading, *, wait: bool, report: Report) -> None:
    items: list[Item] = []
    landed: list[tuple[dict[str, Any], Diffusion]] = []

    async def messages(producer: Producer) -> AsyncIterator[Diffusion]:
        for item in reading.items(await producer.directory(), report):
            items.append(item)
            yield item.made.message

    if reading.imported.unlanded():
        await _look_up_landed(context, reading)
    async with Producer.connect(data=context.data, outcomes=wait) as producer:
        async for result in producer.publish_many(messages(producer)):
            item = items[result.index]
            if isinstance(result.result, RefusedError):
                reading.imported.forget(item.made.place)
                report.refused(item.place, result.result)
            else:
                reading.imported.landed(item.made.place)
                landed.append((report.published(item, result.result), item.made.message))

        async def hear(row: dict[str, Any], message: Diffusion) -> None:
            try:
                report.outcome(row, await producer.outcome(message.message_id, timeout=OUTCOME_WITHIN))
            except UnavailableError as error:
                report.no_outcome(row, error)

        if wait:
            await asyncio.gather(*(hear(row, message) for row, message in landed))
