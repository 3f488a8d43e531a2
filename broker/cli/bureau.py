"""`noticewire bureau CODE ...`: what a bureau's own client does, by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from broker.cli import listening
from broker.cli.context import Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.cli.listening import OPERATOR
from broker.clock import SystemClock
from broker.errors import MisuseError, RefusedError
from broker.members.bureau import Bureau
from broker.model.base import new_message_id
from broker.model.change import SUBSCRIPTIONS_MAX, ChangeKind, DirectoryChange, Subscription
from broker.model.diffusion import Diffusion, DiffusionKind
from broker.model.message import Status
from broker.model.naming import Region
from broker.model.notice import Notice, NoticeType
from broker.model.offences import OFFENCES
from broker.model.parsing import shape_problems
from broker.model.receipt import ActorKind, DeclineReason, Stage
from broker.model.versions import FORMAT_VERSION
from broker.transport.changes import submit
from broker.transport.link import linked
from consumers.bureau.by_hand import acknowledge_by_hand
from consumers.bureau.state import BureauState

app = typer.Typer(no_args_is_help=True, help="A bureau's inbox: listen, acknowledge, what it holds, subscribe.")

OfficerOption = Annotated[
    str | None, typer.Option("--officer", metavar="PSEUDONYM", help="An officer gives it: a pseudonym, never a name.")
]
ReasonOption = Annotated[DeclineReason | None, typer.Option("--reason", help="Why, with --stage declined.")]


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.add_typer(app, name="bureau")


@app.callback()
def bureau(ctx: typer.Context, code: Annotated[str, typer.Argument(metavar="CODE", help="The bureau's code.")]) -> None:
    """Act as a bureau, with its key and its file in the data folder.

    Example: noticewire bureau zw listen --accept --data ./data
    """
    ctx.obj = code


@app.command()
def listen(
    ctx: typer.Context,
    *,
    accept: Annotated[bool, typer.Option("--accept", help="Accept what is in force, purge what has ended.")] = False,
    stage: Annotated[Stage | None, typer.Option("--stage", help="Acknowledge this stage of each message.")] = None,
    reason: ReasonOption = None,
    officer: OfficerOption = None,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many.")] = None,
    each: Annotated[
        str | None, typer.Option("--exec", metavar="CMD", help="Start this for each; JSON on its standard input.")
    ] = None,
    kept_open: Annotated[
        str | None, typer.Option("--exec-open", metavar="CMD", help="Keep this open: JSON Lines in, receipts out.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--to-folder", metavar="DIR", help="A file for each; receipts from DIR/receipts.")
    ] = None,
    time_out: Annotated[float, typer.Option("--time-out", min=0.1, help="Seconds that a program may take.")] = 60.0,
    as_json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Show messages as they come, and acknowledge them as received (or further).

    With --exec, --exec-open or --to-folder they are handed to another system, and acknowledged only once it has taken
    them: exit code 0, an answer, or a file that is on the disk. What is not taken is handed over again, and what
    follows waits. Takes over from another client of this bureau. Ctrl-C ends it; what was shown is finished.

    Example: noticewire bureau zw listen --accept --count 10 --data ./data
    """
    listening.listen(
        ctx.obj,
        load_context(data),
        wants=listening.Wants(accept=accept, stage=stage, reason=reason, officer=officer),
        to=listening.other_side(each=each, kept_open=kept_open, folder=folder, time_out=timedelta(seconds=time_out)),
        count=count,
        as_json=as_json,
    )


@app.command()
def ack(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NUMBER|MESSAGE_ID", help="What to acknowledge: its latest message.")],
    *,
    stage: Annotated[Stage, typer.Option("--stage", help="How far the bureau is with it.")],
    reason: ReasonOption = None,
    officer: OfficerOption = None,
    data: DataOption = None,
) -> None:
    """Acknowledge a message that this bureau has received.

    Example: noticewire bureau zw ack gh-n-2026-000001 --stage actioned --officer duty-7 --data ./data
    """
    context = load_context(data)
    number = run_async(_ack(ctx.obj, context, name, stage=stage, reason=reason, officer=officer))
    typer.echo(f"{number}: {stage}")


@app.command("list")
def list_holdings(ctx: typer.Context, *, as_json: JsonOption = False, data: DataOption = None) -> None:
    """List what this bureau holds: the latest revision of each notice, and what has ended.

    Example: noticewire bureau zw list --data ./data
    """
    with _looking(load_context(data), ctx.obj) as state:
        holdings = state.holdings()
    if as_json:
        print_json(
            [
                {
                    "number": one.number,
                    "event": one.event,
                    "revision": one.revision,
                    "held": not one.is_ended,
                    "origin": one.origin,
                    "at": one.appended_at.isoformat(),
                }
                for one in holdings
            ]
        )
        return
    table = Table("number", "last event", "revision", "copy", "since", box=None)
    for one in holdings:
        since = one.appended_at.isoformat(timespec="seconds")
        table.add_row(one.number, one.event, str(one.revision), "removed" if one.is_ended else "held", since)
    _console().print(table)
    typer.echo(f"{sum(not one.is_ended for one in holdings)} held, {sum(one.is_ended for one in holdings)} ended")


@app.command()
def show(
    ctx: typer.Context,
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="A notice number.")],
    *,
    data: DataOption = None,
) -> None:
    """Show what this bureau holds of a notice, whole, as JSON.

    Example: noticewire bureau zw show gh-n-2026-000001 --data ./data
    """
    context = load_context(data)
    with _looking(context, ctx.obj) as state:
        holding = state.holding(number)
    if holding is None:
        raise RefusedError(f"{ctx.obj} holds nothing under {number}")
    shown: dict[str, Any] = {"number": number, "event": holding.event, "revision": holding.revision}
    if holding.value is None:
        print_json(shown | {"held": False, "copy": "removed: it ended, or this bureau may no longer see it"})
        return
    message = context.codec().decode(holding.value, Notice, Diffusion)
    print_json(shown | {"held": True, "message": message.model_dump(mode="json", exclude_defaults=True)})


@app.command()
def parked(ctx: typer.Context, *, as_json: JsonOption = False, data: DataOption = None) -> None:
    """List the records of the inbox that were set aside, and why: never acted on, never acknowledged.

    Example: noticewire bureau zw parked --data ./data
    """
    with _looking(load_context(data), ctx.obj) as state:
        records = state.parked()
    if as_json:
        print_json(
            [
                {
                    "offset": one.offset,
                    "at": one.appended_at.isoformat(),
                    "reason": one.reason,
                    "detail": one.detail,
                    "size_bytes": len(one.value or b""),
                }
                for one in records
            ]
        )
        return
    for one in records:
        at = one.appended_at.isoformat(timespec="seconds")
        typer.echo(f"inbox.{ctx.obj}/0/{one.offset} of {at}: {one.reason}: {one.detail}")
    typer.echo(f"{len(records)} parked")


@app.command()
def subscribe(
    ctx: typer.Context,
    *,
    regions: Annotated[list[str], typer.Option("--region", help="Feed regions; repeat, or separate by commas.")] = [],  # noqa: B006 - typer copies it
    types: Annotated[list[str], typer.Option("--type", help="Notice types and diffusion kinds.")] = [],  # noqa: B006 - the same
    offences: Annotated[list[str], typer.Option("--offence", help="Categories, such as thb.")] = [],  # noqa: B006 - the same
    operations: Annotated[list[str], typer.Option("--operation", help="Operations, by their codes.")] = [],  # noqa: B006 - the same
    statuses: Annotated[list[str], typer.Option("--status", help="ACTUAL (if left out), EXERCISE, TEST.")] = [],  # noqa: B006 - the same
    also: Annotated[bool, typer.Option("--also", help="Beside the present subscriptions, not in their place.")] = False,
    data: DataOption = None,
) -> None:
    """Change what this bureau subscribes to; an absent part matches everything.

    Says whether the change took effect, or why not.

    Example: noticewire bureau zw subscribe --region africa --type red,yellow --offence thb --data ./data
    """
    try:
        wanted = Subscription(
            regions=tuple(map(Region, _checked("region", regions, set(Region)))),
            types=_checked("type", types, {*NoticeType, *DiffusionKind} - {NoticeType.UNKNOWN}),
            offences=_checked("offence", offences, set(OFFENCES)),
            operations=_words(operations),
            statuses=tuple(map(Status, _checked("status", statuses or ["ACTUAL"], set(Status) - {Status.UNKNOWN}))),
        )
    except ValidationError as error:  # the rest is checked above
        raise MisuseError(f"--operation: {shape_problems(error)[0]}") from None
    typer.echo(run_async(_subscribe(ctx.obj, load_context(data), wanted, also=also)))


@app.command()
def reads(
    ctx: typer.Context,
    version: Annotated[int, typer.Argument(min=1, max=FORMAT_VERSION, help="The newest that its programs read.")],
    *,
    data: DataOption = None,
) -> None:
    """State the newest version of the format that this bureau's programs read.

    Messages come in that version or an older one. One that cannot be said in it is withheld, and its issuer is told
    before it is sent. `noticewire schema list` shows the versions.

    Example: noticewire bureau zw reads 1 --data ./data
    """
    typer.echo(
        run_async(_change(ctx.obj, load_context(data), lambda _: {"kind": ChangeKind.READS_SET, "reads": version}))
    )


async def _ack(
    code: str, context: Context, name: str, *, stage: Stage, reason: DeclineReason | None, officer: str | None
) -> str:
    with _looking(context, code) as state:
        signer = context.keys.signer(code)
        client_id = f"noticewire-bureau-{code}"
        async with linked(
            context.kafka, codec=context.codec(), client_id=client_id, root_public=context.root_public
        ) as link:
            known = await acknowledge_by_hand(
                state,
                name,
                stage,
                reason=reason,
                actor=officer or OPERATOR,
                actor_kind=ActorKind.OFFICER if officer else ActorKind.PROGRAM,
                signer=signer,
                installation=(await link.follower.at_its_end()).installation or "",
                codec=link.codec,
                publisher=link.publisher,
                clock=SystemClock(),
            )
    return known.number


async def _subscribe(code: str, context: Context, wanted: Subscription, *, also: bool) -> str:
    def subscriptions(present: Bureau) -> dict[str, Any]:
        if also and len(present.subscriptions) >= SUBSCRIPTIONS_MAX:
            raise RefusedError(
                f"{code} has {SUBSCRIPTIONS_MAX} subscriptions, and no more: widen one, or leave out --also"
            )
        wished = (*present.subscriptions, wanted) if also else (wanted,)
        return {"kind": ChangeKind.SUBSCRIPTIONS_SET, "subscriptions": wished}

    return await _change(code, context, subscriptions)


async def _change(code: str, context: Context, parts: Callable[[Bureau], dict[str, Any]]) -> str:
    """Change the bureau's own entry; return whether that took effect, in words."""
    signer = context.keys.signer(code)
    async with linked(
        context.kafka, codec=context.codec(), client_id=f"noticewire-bureau-{code}", root_public=context.root_public
    ) as link:
        directory = await link.follower.at_its_end()
        present = directory.get(code)
        if present is None:
            raise RefusedError(f"{code} is not in the directory")
        change = DirectoryChange(
            change_id=new_message_id(),
            code=code,
            author=code,
            base_version=present.version,
            changed_at=SystemClock().now(),
            **parts(present),
        )
        logged = await submit(change, signer=signer, publisher=link.publisher, codec=link.codec, follower=link.follower)
        changed = (await link.follower.at_its_end()).get(code) or present
    return f"{code}: in effect, version {changed.version} (directory/0/{logged.offset})"


@contextlib.contextmanager
def _looking(context: Context, code: str) -> Iterator[BureauState]:
    """Open a bureau's file beside its client, and close it: an open reader holds up what an end empties.

    Raises:
        RefusedError: no client of this bureau has run on this data folder.
    """
    state = BureauState.look(_path(context.data, code))
    if state is None:
        raise RefusedError(f"{code} has received nothing here: run noticewire bureau {code} listen")
    with contextlib.closing(state):
        yield state


def _path(data: Path, code: str) -> Path:
    if not code.replace("-", "").isalnum():
        raise MisuseError("a bureau's code is letters, digits and '-'")
    return data / "bureaus" / f"{code}.db"


def _words(values: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for value in values for word in value.split(",") if word))


def _checked(option: str, values: list[str], known: set[Any]) -> tuple[str, ...]:
    words = _words(values)
    for word in words:
        if word not in known:
            raise MisuseError(f"--{option} {word}: one of {', '.join(sorted(map(str, known)))}")
    return words


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, width=200)
