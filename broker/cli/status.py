"""`noticewire status`: who has acknowledged what, by region or for one notice."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine

from broker.cli.checks.machine import running, unready
from broker.cli.context import Context, DataOption, JsonOption, load_context, print_json, run_async
from broker.errors import MisuseError, RefusedError
from broker.model.naming import NoticeNumber, Region
from broker.store.engine import open_to_read, sqlite_url
from consumers.tracker import board


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("status")(status)


def status(
    number: Annotated[str | None, typer.Argument(help="A notice number: each bureau's stage.")] = None,
    *,
    region: Annotated[Region | None, typer.Option(help="Only notices of this region.")] = None,
    json: JsonOption = False,
    data: DataOption = None,
) -> None:
    """Show the acknowledgement board, or how far every bureau is with one notice.

    Example: noticewire status zw-n-2026-000123 --data ./data
    """
    if number is not None:
        number = str(NoticeNumber.parse(number))
    context = load_context(data)
    halted = halted_shards(context)
    run_async(_status(_store_url(context), number=number, region=region, json=json, halted=halted))
    for shard in halted:
        typer.echo(shard, err=True)


def halted_shards(context: Context) -> list[str]:
    """Say which shards are run no more, as the services that run here know: what is due there will not change."""
    endpoints = running(context.data)
    services = endpoints.services.items() if endpoints is not None else ()
    problems = [(name, problem) for name, one in services if one.observe for problem in unready(one.observe)]
    return [f"{name}: {problem}" for name, problem in problems if " is halted at " in problem]


def _store_url(context: Context) -> str:
    if context.settings.tracker.url is not None:
        return context.settings.tracker.url
    path = context.data / "tracker.db"
    if not path.exists():
        raise MisuseError(f"no tracker has written {path} yet: start one with noticewire serve tracker, or name --data")
    return sqlite_url(path)


async def _status(url: str, *, number: str | None, region: Region | None, json: bool, halted: list[str]) -> None:
    engine = await open_to_read(url)
    try:
        if number is None:
            await _show_board(engine, region=region, json=json, halted=halted)
        else:
            await _show_notice(engine, number, region=region, json=json)
    finally:
        await engine.dispose()


async def _show_board(engine: AsyncEngine, *, region: Region | None, json: bool, halted: list[str]) -> None:
    rows = await board.read_board(engine, region=region)
    if json:
        total = board.total(rows)
        print_json({"regions": board.board_json(rows), "total": board.board_json([total])[0], "halted": halted})
    else:
        Console().print(board.board_table(rows))


async def _show_notice(engine: AsyncEngine, number: str, *, region: Region | None, json: bool) -> None:
    rows = await board.read_deliveries(engine, number, region=region)
    if not rows:
        raise RefusedError(f"{number}: the tracker knows of no delivery of it")
    if json:
        print_json(board.deliveries_json(rows))
    else:
        Console().print(board.deliveries_table(rows, title=number))
