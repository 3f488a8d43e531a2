"""`noticewire rejected`: what could not be routed; look at it, mend it, send it again with the link to what it was."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from broker.cli.context import FAILED, Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.cli.publish import OUTCOME_WITHIN
from broker.clock import SystemClock
from broker.errors import MisuseError, RefusedError
from broker.model.diffusion import Diffusion
from broker.model.naming import Origin, Region
from broker.model.notice import Notice
from broker.model.outcome import Outcome, Verdict
from broker.model.rejection import Rejection, RejectReason
from broker.model.versions import needs
from broker.transport.link import Link, linked
from consumers.rejected.desk import Mending, RejectedDesk, by_reason
from consumers.rejected.record import OpenedRecord, opened
from producers.client import Producer, Published
from producers.files import Entry, read
from producers.preparation import prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

app = typer.Typer(no_args_is_help=True, help="What could not be routed: list it, look at it, send it again mended.")

OriginArgument = Annotated[str, typer.Argument(metavar="ORIGIN", help="Of the rejected record: notices.africa/1/42.")]


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.add_typer(app, name="rejected")


@app.command("list")
def list_rejected(
    *,
    reason: Annotated[
        list[RejectReason] | None, typer.Option("--reason", help="Only for this reason; may be given several times.")
    ] = None,
    region: Annotated[Region | None, typer.Option("--region", help="Only from this region's feeds.")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only what nothing has mended yet.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what was set aside, oldest first: codes and places, no personal data.

    Example: noticewire rejected list --reason invalid --region africa --open --data ./data
    """
    wanted = frozenset(reason or ())
    rows, strangers = run_async(_list(load_context(data), wanted, region, open_only=open_only))
    if as_json:
        print_json({"rejected": [_as_json(*row) for row in rows], "not_the_brokers": strangers})
        return
    table = Table("origin", "rejected at", "reason", "number", "mended by", "what is wrong, and the mend", box=None)
    for rejection, record, mendings in rows:
        mended = ", ".join(_mended(one) for one in mendings) or "-"
        at = rejection.rejected_at.isoformat(timespec="seconds").replace("+00:00", "Z")
        table.add_row(rejection.origin, at, rejection.reason, record.number or "-", mended, rejection.detail)
    _console().print(table)
    counts = ", ".join(f"{count} {why}" for why, count in by_reason(row[0] for row in rows).items())
    typer.echo(f"{len(rows)} rejected" + (f": {counts}" if counts else ""))
    if strangers:
        typer.echo(f"noticewire: {strangers} records on the topic are not the broker's; passed over", err=True)


@app.command("show")
def show_rejected(
    origin: OriginArgument,
    *,
    with_value: Annotated[
        bool, typer.Option("--with-value", help="Everything that the record holds, PERSONAL DATA included.")
    ] = False,
    message: Annotated[
        bool, typer.Option("--message", help="With --with-value: the message alone, as a file to be mended.")
    ] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a rejected record as far as it can be read; personal data only with --with-value.

    Example: noticewire rejected show notices.africa/1/42 --data ./data
    """
    if message and not with_value:
        raise MisuseError("--message shows personal data: say --with-value too")
    rejection, record, mendings = run_async(_show(load_context(data), Origin.parse(origin)))
    if message:
        if record.message is None:
            raise RefusedError(f"{origin} holds no message that can be read: {record.problem or 'it is a command'}")
        print_json(_to_mend(record.message))
    elif as_json:
        print_json(_as_json(rejection, record, mendings) | _whole(rejection, record, with_value=with_value))
    else:
        for line in _lines(rejection, record, mendings, with_value=with_value):
            typer.echo(line)


@app.command("resubmit")
def resubmit(
    origin: OriginArgument,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="JSON or YAML with the one mended message.")
    ] = None,
    *,
    edit: Annotated[bool, typer.Option("--edit", help="Mend the rejected message in $VISUAL or $EDITOR.")] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Although one was routed already: the same is a repeat, another is rejected."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the router's word.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a mended message in place of a rejected one, signed by its issuer, whose key must be here.

    Its id follows from the rejected record's origin, whatever the file says, and its header `mends` names it: so the
    ledger shows what was mended by what, and of two people who mend the same record one is routed. Exit code 0 only if
    it was published (and, with --wait, routed).

    Example: noticewire rejected resubmit notices.africa/1/42 mended.json --wait --data ./data
    """
    if (file is None) == (not edit):
        raise MisuseError("name a FILE with the mended message, or say --edit")
    place = Origin.parse(origin)
    message, published, outcome = run_async(_resubmit(load_context(data), place, file, again=again, wait=wait))
    if as_json:
        row = {
            "mends": str(place),
            "message_id": str(published.message_id),
            "number": message.number,
            "event": message.event,
            "issuer": message.issuer,
            "origin": published.origin,
        }
        fields = {"verdict", "reason", "detail", "given", "ended", "withheld"}
        print_json(row if outcome is None else row | {"outcome": outcome.model_dump(mode="json", include=fields)})
    else:
        typer.echo(
            f"{place}: mended by {message.number} {message.event} by {message.issuer}: published at {published.origin}"
        )
        if outcome is not None:
            said = f": {outcome.reason}: {outcome.detail}" if outcome.verdict is Verdict.REJECTED else ""
            typer.echo(f"{published.origin}: {outcome.verdict}{said}")
    if outcome is not None and outcome.verdict is Verdict.REJECTED:
        raise typer.Exit(FAILED)


Row = tuple[Rejection, OpenedRecord, tuple[Mending, ...]]


@asynccontextmanager
async def _desk(context: Context) -> AsyncIterator[tuple[RejectedDesk, Link]]:
    async with linked(
        context.kafka, codec=context.codec(), client_id="noticewire-rejected", root_public=context.root_public
    ) as link:
        directory = await link.follower.at_its_end()
        yield RejectedDesk(client=link.client, codec=link.codec, directory=directory), link


async def _list(
    context: Context, reasons: frozenset[RejectReason], region: Region | None, *, open_only: bool
) -> tuple[list[Row], int]:
    async with _desk(context) as (desk, link):
        directory = await link.follower.at_its_end()
        mendings = await desk.mendings()
        rows: list[Row] = []
        async for rejection in desk.rejections(reasons=reasons, region=region):
            found = mendings.of(rejection.origin)
            if not (open_only and any(one.is_routed for one in found)):
                record = opened(rejection, codec=link.codec, directory=directory)
                rows.append((rejection, record, found))
        return rows, desk.strangers


async def _show(context: Context, origin: Origin) -> Row:
    async with _desk(context) as (desk, link):
        rejection = await desk.rejection(origin)
        record = opened(rejection, codec=link.codec, directory=await link.follower.at_its_end())
        return rejection, record, (await desk.mendings()).of(str(origin))


async def _resubmit(
    context: Context, origin: Origin, file: Path | None, *, again: bool, wait: bool
) -> tuple[Notice | Diffusion, Published, Outcome | None]:
    _, record, mendings = await _show(context, origin)
    routed = [one for one in mendings if one.is_routed]
    if routed and not again:
        raise RefusedError(f"{origin} was mended already by {routed[0].number} at {routed[0].origin}; --again insists")
    entry = _only(file) if file is not None else _edited(record, context.data)
    async with Producer.connect(data=context.data, outcomes=wait) as producer:
        message = prepare(entry, directory=await producer.directory(), now=SystemClock().now())
        if too_old := await producer.unreadable_by(message):
            needed = f"needs version {needs(message)} of the format"
            typer.echo(f"{message.number}: {needed}; not read by: {' '.join(sorted(too_old))}", err=True)
        published = await producer.publish(message, mends=str(origin))
        outcome = await producer.outcome(published.message_id, timeout=OUTCOME_WITHIN) if wait else None
    return message, published, outcome


def _only(file: Path) -> Entry:
    if not file.is_file():
        raise MisuseError(f"{file} is not a file")
    entries = list(read(file))
    if len(entries) != 1:
        raise MisuseError(f"{file} holds {len(entries)} messages; one mends one")
    return entries[0]


def _edited(record: OpenedRecord, data: Path) -> Entry:
    """Let a person mend the message in their editor; the file lies in a folder that only they can enter, and goes."""
    if record.message is None:
        raise RefusedError(f"it holds no message that can be read ({record.problem or 'a command'}); name a FILE")
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory(dir=data, prefix=".mending-") as folder:
        path = Path(folder) / "message.json"
        before = record.message.model_dump_json(indent=2, exclude_defaults=True, exclude={"message_id"}) + "\n"
        path.write_text(before, encoding="utf-8")
        try:
            ended = subprocess.run([*editor, str(path)], check=False).returncode  # noqa: S603 - the person's own choice
        except OSError as error:
            raise MisuseError(f"{editor[0]}: {error.strerror}; name an editor in EDITOR") from error
        if ended:
            raise MisuseError(f"{editor[0]} ended with exit code {ended}; nothing was published")
        if path.read_text(encoding="utf-8") == before:
            raise MisuseError("nothing was changed, and nothing was published")
        return _only(path)


def _to_mend(message: Notice | Diffusion) -> dict[str, Any]:
    """Return a message as a file holds it; the mended one has another id."""
    return message.model_dump(mode="json", exclude_defaults=True, exclude={"message_id"})


def _mended(one: Mending) -> str:
    return one.origin if one.is_routed else f"{one.origin} (rejected: {one.reason})"


def _as_json(rejection: Rejection, record: OpenedRecord, mendings: tuple[Mending, ...]) -> dict[str, Any]:
    return {
        "origin": rejection.origin,
        "rejected_at": rejection.rejected_at.isoformat(),
        "reason": rejection.reason,
        "detail": rejection.detail,
        "number": record.number,
        "message_id": None if record.message_id is None else str(record.message_id),
        "issuer": record.issuer,
        "mended_by": [
            {"origin": one.origin, "number": one.number, "issuer": one.issuer, "routed": one.is_routed}
            | ({} if one.reason is None else {"reason": one.reason})
            for one in mendings
        ],
    }


def _whole(rejection: Rejection, record: OpenedRecord, *, with_value: bool) -> dict[str, Any]:
    shown = {
        "is_raw_batch": rejection.is_raw_batch,
        "key_bytes": None if record.key is None else len(record.key),
        "value_bytes": None if record.value is None else len(record.value),
        "headers": [
            {"name": one.name, "content": one.content}
            if with_value or one.is_harmless
            else {"name": None, "size_bytes": one.size_bytes}
            for one in record.headers
        ],
        "problem": record.problem,
    }
    if not with_value:
        return shown
    return shown | {
        "key": None if record.key is None else record.key.hex(),
        "value": None if record.value is None else record.value.hex(),
        "message": None if record.content is None else record.content.model_dump(mode="json", exclude_defaults=True),
    }


def _lines(
    rejection: Rejection, record: OpenedRecord, mendings: tuple[Mending, ...], *, with_value: bool
) -> Iterator[str]:
    yield f"{rejection.origin}: rejected as {rejection.reason} at {rejection.rejected_at.isoformat()}"
    yield f"  {rejection.detail}"
    for one in mendings:
        yield f"  {'mended by' if one.is_routed else 'mending failed:'} {_mended(one)}: {one.number} by {one.issuer}"
    yield f"  number {record.number or '-'}, issuer {record.issuer or '-'}, message id {record.message_id or '-'}"
    key = "none" if record.key is None else f"{len(record.key)} bytes"
    value = "none" if record.value is None else f"{len(record.value)} bytes"
    yield f"  key: {key}; value: {value}" + (" (set aside as the log's own batch)" if rejection.is_raw_batch else "")
    for header in record.headers:
        if with_value or header.is_harmless:
            yield f"  header {_one_line(header.name)}: {_one_line(header.content or '')}"
        else:
            yield f"  a header that is not as ours are: {header.size_bytes} bytes, shown with --with-value"
    if record.problem is not None:
        yield f"  cannot be decoded: {record.problem}"
    if with_value:
        if record.key is not None:
            yield f"  key in hexadecimal: {record.key.hex()}"
        if record.content is not None:
            yield record.content.model_dump_json(indent=2, exclude_defaults=True)
        elif record.value is not None:
            yield f"  value in hexadecimal: {record.value.hex()}"
    elif record.content is not None:
        yield "  the message can be decoded: --with-value shows it, personal data included"


def _one_line(text: str) -> str:
    """Return text that a stranger chose so that it cannot pose as another line, or command the terminal."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _console() -> Console:
    return Console(soft_wrap=True)
