"""`noticewire audit`: check the archive, and tell its story."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from broker.cli.context import FAILED, Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.clock import SystemClock
from broker.errors import MisuseError, RefusedError
from broker.members.seed import AUDIT
from broker.model.naming import Region
from broker.transport.kafka import RawClient
from consumers.audit.live import compare_live, published_checkpoints, settled_before
from consumers.audit.replay import Wanted, replay
from consumers.audit.report import Report
from consumers.audit.verify import LeafIndex, Verification

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = typer.Typer(no_args_is_help=True, help="The archive: verify the history, replay it.")

ArchiveOption = Annotated[
    Path | None, typer.Option("--archive", metavar="DIR", help="An archive's folder. Otherwise the data folder's.")
]


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.add_typer(app, name="audit")


@app.command("verify")
def verify(
    *,
    data: DataOption = None,
    archive: ArchiveOption = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="HEX", help="The audit key's public bytes. Otherwise from the data folder."),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="The archive alone; ask no cluster.")] = False,
    newest: Annotated[
        int | None,
        typer.Option("--newest", min=1, metavar="N", help="Compare only each partition's newest N records with Kafka."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check every row, leaf, signature, offset, ledger entry and delivery; with a cluster, every record against it.

    Exits with 1 if anything is found. Example: noticewire audit verify --data ./data
    """
    context = load_context(data)
    report = run_async(
        verify_history(
            context,
            archive=archive,
            public=_public(context, key),
            offline=offline,
            newest=newest,
        )
    )
    if as_json:
        print_json(report.to_json())
    else:
        print_report(report)
    if not report.holds:
        raise typer.Exit(FAILED)


@app.command("replay")
def tell(
    *,
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="2026-05-01 or 2026-05-01T12:00Z.")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Before this moment.")] = None,
    region: Annotated[Region | None, typer.Option("--region", help="Regional topics of this region.")] = None,
    notice: Annotated[str | None, typer.Option("--notice", metavar="NUMBER", help="One notice or diffusion.")] = None,
    bureau: Annotated[str | None, typer.Option("--bureau", metavar="CODE", help="One bureau's inbox.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", help="One topic.")] = None,
    with_values: Annotated[
        bool, typer.Option("--with-values", help="Also the decoded values: they hold personal data.")
    ] = False,
    data: DataOption = None,
    archive: ArchiveOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: one JSON object a line.")] = False,
) -> None:
    """Show what was written, in the order of the archive: place, time, kind, event and number.

    Exits with 1 if nothing matches. Example: noticewire audit replay --notice zw-n-2026-000123 --data ./data
    """
    context = load_context(data)
    wanted = Wanted(
        since=_moment("--from", since),
        until=_moment("--to", until),
        region=region,
        notice=notice,
        bureau=bureau,
        topic=topic,
    )
    folder = _archive(context, archive)
    shown = 0
    for one in replay(folder, wanted, codec=context.codec(), with_values=with_values):
        shown += 1
        if as_json:
            typer.echo(json.dumps(one.to_json(), ensure_ascii=False))
            continue
        number = f"  {one.number}" if one.number else ""
        typer.echo(f"{one.place}  {one.at.isoformat(timespec='milliseconds')}  {one.what}{number}")
        if one.value is not None:
            typer.echo(json.dumps(one.value, ensure_ascii=False))
    if not shown:
        raise RefusedError("nothing that is archived matches")


async def verify_history(
    context: Context,
    *,
    public: bytes,
    archive: Path | None = None,
    offline: bool = False,
    newest: int | None = None,
) -> Report:
    """Verify an archive, and unless `offline` hold it against the cluster.

    Args:
        context: Where the data and the cluster are.
        public: The audit key's public bytes.
        archive: Its folder; by default the data folder's.
        offline: Ask no cluster.
        newest: Compare only so many of each partition's newest records with Kafka.

    Raises:
        UnavailableError: no broker answers.
        MisuseError: there is no archive.
    """
    folder, codec = _archive(context, archive), context.codec()
    if offline:
        return await asyncio.to_thread(Verification(folder, public=public, codec=codec).run)
    async with _connected(context) as client:
        index = LeafIndex()
        settled_ms = await settled_before(client, folder, now=SystemClock().now())
        verification = Verification(
            folder,
            public=public,
            codec=codec,
            published=await published_checkpoints(client),
            index=index,
            settled_ms=settled_ms,
        )
        report = await asyncio.to_thread(verification.run)
        await compare_live(client, index, report, archived=verification.ends, newest=newest)
        return report


def print_report(report: Report) -> None:
    """Write a report for people: the findings, then what was looked at."""
    for finding in report.findings:
        typer.echo(f"{finding.place}: {finding.problem}")
    counts = report.counts
    typer.echo(
        f"{counts.leaves:,} leaves in {counts.segments:,} segments: {counts.records:,} records, {counts.markers:,} "
        f"markers, {counts.aborted_batches:,} aborted and {counts.undecodable_batches:,} undecodable batches of "
        f"{counts.partitions:,} partitions; {counts.checkpoints:,} signed checkpoints"
    )
    typer.echo(f"{counts.ledger_entries:,} ledger entries held against their feeds, {counts.deliveries:,} deliveries")
    if report.behind is not None:
        typer.echo(f"{counts.compared_live:,} compared with Kafka; {report.behind:,} offsets not archived yet")
    if report.unsettled:
        typer.echo(f"{report.unsettled:,} too young, or not archived yet, to be missed")
    if not report.holds:
        typer.echo(f"{len(report.findings):,} findings: the history does not hold.")
    elif report.behind:
        typer.echo("What is archived holds; the rest is not archived yet.")
    else:
        typer.echo("The history holds.")


@asynccontextmanager
async def _connected(context: Context) -> AsyncIterator[RawClient]:
    client = RawClient(context.kafka, client_id="noticewire-audit-verify")
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


def _archive(context: Context, archive: Path | None) -> Path:
    folder = archive or context.data / "archive"
    if not folder.is_dir():
        raise MisuseError(f"{folder} is no archive; name its folder with --archive, or the data folder with --data")
    return folder


def _public(context: Context, key: str | None) -> bytes:
    if key is None:
        return context.keys.signer(AUDIT).public
    try:
        public = bytes.fromhex(key)
    except ValueError:
        public = b""
    if len(public) != 32:  # noqa: PLR2004 - an Ed25519 public key (RFC 8032)
        raise MisuseError("--key takes the 64 hexadecimal digits of an Ed25519 public key")
    return public


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise MisuseError(f"{option} {text!r} is no moment, such as 2026-05-01 or 2026-05-01T12:00:00Z") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
