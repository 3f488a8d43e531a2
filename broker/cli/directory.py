"""`noticewire directory`: who takes part, as of now or as of any version, and every change with what came of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from broker.cli.context import Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.cli.system import found_installation
from broker.cli.terminal import printable
from broker.errors import RefusedError
from broker.members.bureau import Bureau
from broker.members.directory import Directory
from broker.model.change import PublicKey, Subscription
from broker.transport.directory import LoggedChange

app = typer.Typer(no_args_is_help=True, help="Bureaus, entities, keys and subscriptions; and the log of their changes.")

AsOfOption = Annotated[
    int | None,
    typer.Option("--as-of", metavar="OFFSET", min=0, help="As it was with the records before this offset."),
]


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.add_typer(app, name="directory")


@app.command("found")
def found(*, data: DataOption = None) -> None:
    """Found an installation on a cluster that runs: keys, topics, and everybody's entry. Goes on where it was ended.

    The keys of all bureaus are made in the data folder: in production, hand each to its bureau and delete it here.
    Example: NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS=127.0.0.1:9092 noticewire directory found --data ./data
    """
    context = run_async(found_installation(load_context(data), typer.echo))
    typer.echo(f"installation {context.installation} on {context.kafka.bootstrap_servers}")


@app.command("list")
def list_bureaus(*, data: DataOption = None, as_json: JsonOption = False, as_of: AsOfOption = None) -> None:
    """List everybody who is entered.

    Example: noticewire directory list --data ./data --as-of 120
    """
    directory, _ = run_async(_read(load_context(data), as_of))
    if as_json:
        print_json(
            {
                "installation": directory.installation,
                "offset": directory.offset,
                "bureaus": [_as_json(bureau) for bureau in directory.bureaus()],
            }
        )
        return
    table = Table("code", "name", "kind", "region", "clearance", "status", "subscribes to", box=None)
    for bureau in directory.bureaus():
        table.add_row(
            bureau.code,
            printable(bureau.name),
            bureau.kind,
            bureau.region,
            bureau.clearance,
            bureau.status,
            "; ".join(map(_said, bureau.subscriptions)) or "-",
        )
    _console().print(table)
    typer.echo(f"{len(directory)} entered, installation {directory.installation or '-'}, as of {directory.offset}")


@app.command("show")
def show_bureau(code: str, *, data: DataOption = None, as_json: JsonOption = False, as_of: AsOfOption = None) -> None:
    """Show one bureau: its rights, subscriptions and keys.

    Example: noticewire directory show zw --data ./data
    """
    directory, _ = run_async(_read(load_context(data), as_of))
    bureau = directory.get(code)
    if bureau is None:
        raise RefusedError(f"{code} is not in the directory (as of {directory.offset})")
    if as_json:
        print_json(_as_json(bureau))
        return
    lines: list[tuple[str, str]] = [
        ("code", bureau.code),
        ("name", bureau.name),
        ("kind", bureau.kind),
        ("region", bureau.region),
        ("city", bureau.city),
        ("clearance", bureau.clearance),
        ("status", bureau.status),
        ("version", str(bureau.version)),
        ("reads", f"version {bureau.reads} of the format"),
        *(("subscribes to", _said(one)) for one in bureau.subscriptions),
        *(("agreement", _said(one)) for one in bureau.agreement),
        *(("key", _key_said(key)) for key in bureau.keys),
    ]
    for name, text in lines:
        typer.echo(f"{name:<14} {printable(text)}")


@app.command("log")
def log(*, data: DataOption = None, as_json: JsonOption = False, as_of: AsOfOption = None) -> None:
    """Show every record of the directory's log, and whether it took effect.

    Example: noticewire directory log --data ./data
    """
    _, logged = run_async(_read(load_context(data), as_of))
    if as_json:
        print_json([_logged_as_json(one) for one in logged])
        return
    table = Table("offset", "at", "change", "code", "author", "based on", "effect", box=None)
    for one in logged:
        change = one.change
        table.add_row(
            str(one.offset),
            one.appended_at.isoformat(timespec="seconds"),
            change.kind if change is not None else "?",
            change.code if change is not None else "?",
            change.author if change is not None else "?",
            str(change.base_version) if change is not None else "?",
            _effect(one),
        )
    _console().print(table)


async def _read(context: Context, as_of: int | None) -> tuple[Directory, list[LoggedChange]]:
    async with context.directory() as follower:
        directory = await follower.at_its_end()
        if as_of is None:
            return directory, list(follower.log())
        return follower.as_of(as_of), [one for one in follower.log() if one.offset < as_of]


def _as_json(bureau: Bureau) -> dict[str, Any]:
    return {
        "code": bureau.code,
        "name": bureau.name,
        "kind": bureau.kind,
        "region": bureau.region,
        "city": bureau.city,
        "clearance": bureau.clearance,
        "status": bureau.status,
        "version": bureau.version,
        "reads": bureau.reads,
        "subscriptions": [one.model_dump(mode="json") for one in bureau.subscriptions],
        "agreement": [one.model_dump(mode="json") for one in bureau.agreement],
        "keys": [_key_as_json(key) for key in bureau.keys],
    }


def _key_as_json(key: PublicKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "public": key.public.hex(),
        "valid_from": key.valid_from.isoformat(),
        "valid_until": key.valid_until.isoformat() if key.valid_until is not None else None,
    }


def _logged_as_json(one: LoggedChange) -> dict[str, Any]:
    change = one.change
    return {
        "offset": one.offset,
        "appended_at": one.appended_at.isoformat(),
        "took_effect": one.no_effect is None,
        "no_effect": one.no_effect,
        "detail": one.detail,
        "change_id": str(change.change_id) if change is not None else None,
        "kind": change.kind if change is not None else None,
        "code": change.code if change is not None else None,
        "author": change.author if change is not None else None,
        "base_version": change.base_version if change is not None else None,
        "key_id": one.signed_with.key_id if one.signed_with is not None else None,
    }


def _effect(one: LoggedChange) -> str:
    if one.no_effect is None:
        return "took effect"
    return f"none: {one.no_effect}" + (f" ({one.detail})" if one.detail else "")


def _said(subscription: Subscription) -> str:
    """Say a subscription in words: absent parts match everything."""
    parts: dict[str, tuple[str, ...]] = {
        "regions": subscription.regions,
        "types": subscription.types,
        "offences": subscription.offences,
        "operations": subscription.operations,
        "statuses": subscription.statuses,
    }
    return ", ".join(f"{name} {' '.join(values)}" for name, values in parts.items() if values) or "everything"


def _key_said(key: PublicKey) -> str:
    until = f" until {key.valid_until.isoformat()}" if key.valid_until is not None else ""
    return f"{key.key_id} from {key.valid_from.isoformat()}{until}"


def _console() -> Console:
    """A console that neither cuts nor colours what another program reads."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, width=200)
