"""`noticewire demo`: the whole system on this machine, from the samples to a verified history."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import timedelta
from importlib.resources import as_file, files
from pathlib import Path
from time import monotonic
from typing import Annotated, Any, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from sqlalchemy.ext.asyncio import AsyncEngine

from broker.cli.audit import print_report, verify_history
from broker.cli.context import FAILED, Context, DataOption, load_context
from broker.cli.live import keep_moving
from broker.cli.serve import Service
from broker.cli.supervisor import Say
from broker.cli.system import LOCK, RunningKafka, System, held, kafka_for, running_system, topics_of
from broker.clock import SystemClock
from broker.errors import MisuseError, RefusedError, UnavailableError
from broker.members.seed import AUDIT
from broker.model.naming import SHARDS, ledger
from broker.model.outcome import Outcome, Verdict
from broker.store.engine import open_store, sqlite_url
from broker.store.positions import Place
from broker.topics.apply import TopicAdmin
from broker.transport.kafka import RawClient, TopicPartition
from consumers.audit.report import Report
from consumers.bureau.host import BureauHost
from consumers.tracker.board import board_table, everyone_acknowledged, read_board, total
from producers.client import Producer
from producers.files import expand, read
from producers.preparation import prepare

SERVICES = (Service.ROUTER, Service.TRACKER, Service.AUDIT)
MARK = ".noticewire-demo"
"""Marks a folder that a demo made, and that the next one may empty."""

T = TypeVar("T")

_FRAME_SECONDS = 0.5
_HOST_PATIENCE_SECONDS = 10.0
_OUTCOME_WITHIN = timedelta(seconds=60)
_ACKNOWLEDGED_WITHIN_SECONDS = 180.0
_ARCHIVED_WITHIN_SECONDS = 90.0

_NEXT = """
What to try next: `noticewire demo --keep` leaves all of this running for the other commands;
`noticewire demo --live` keeps the board moving."""

_NEXT_KEPT = """
What to try next, from another terminal:
  noticewire status --data {data}
  noticewire status zw-n-2026-000101 --data {data}
  noticewire explain zw-n-2026-000101 --data {data}
  noticewire bureau zw list --data {data}
  noticewire bureau ke listen --data {data}
  noticewire publish FILE --wait --data {data}
  noticewire audit verify --data {data}
"""


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("demo")(demo)


def demo(
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running afterwards, until Ctrl-C.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Afterwards a simulator keeps the board moving, until Ctrl-C.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Run the whole system on an embedded Kafka: the samples circulate, every bureau acknowledges, the audit verifies.

    Exits with 0 only if everyone entitled has acknowledged and the history holds. Example: noticewire demo --live
    """
    console = Console()
    since = monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{monotonic() - since:6.1f} s[/]  {escape(line)}", highlight=False)

    with (
        _folder(data, keep=keep) as folder,
        kafka_for(folder, say, default_prefix=f"demo-{secrets.token_hex(3)}-") as kafka,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        holds = runner.run(_demo(folder, kafka, console=console, say=say, keep=keep, live=live))
    if not holds:
        raise typer.Exit(FAILED)


async def _demo(folder: Path, kafka: RunningKafka, *, console: Console, say: Say, keep: bool, live: bool) -> bool:
    """Circulate the samples through running services; return whether everything holds."""
    async with contextlib.AsyncExitStack() as stack:
        system = await stack.enter_async_context(running_system(folder, kafka.endpoint, services=SERVICES, say=say))
        if kafka.endpoint.prefix and not keep:
            # Somebody's own cluster: leave it as it was found.
            stack.push_async_callback(TopicAdmin(system.context.kafka).remove, topics_of(system.context))
        engine = await open_store(sqlite_url(folder / "tracker.db"))
        stack.push_async_callback(engine.dispose)
        hosting = await stack.enter_async_context(contextlib.AsyncExitStack())
        watch = _Watch(system, await hosting.enter_async_context(_bureaus(system.context)), kafka)
        say("Every bureau listens to its inbox")

        outcomes = await watch.during(_circulate(folder, say))
        routed = [outcome for outcome in outcomes if outcome.verdict is Verdict.ROUTED]
        acknowledged = await watch.during(_board_fills(system.context, engine, console))
        say("Everyone entitled has acknowledged" if acknowledged else "Not everyone entitled has acknowledged in time")
        report = await watch.during(_verified(system.context, say))
        print_report(report)

        holds = acknowledged and _is_whole(report) and len(routed) == len(outcomes)
        if keep or not live:
            console.print(_NEXT_KEPT.format(data=folder) if keep else _NEXT)
        if live:
            await hosting.aclose()  # from here on the simulator plays the bureaus
            holds &= await _Watch(system, None, kafka).during(keep_moving(system.context, engine, console, say))
        elif keep:
            await watch.during(_until_ctrl_c(say))
        return holds


async def _until_ctrl_c(say: Say) -> None:
    """Wait for Ctrl-C (or SIGTERM): the end that was asked for, so no reason to exit with anything but 0."""
    came = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, came.set)
    say("Running until Ctrl-C")
    try:
        await came.wait()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # once more, and it ends at once


class _Watch:
    """Sees to it that whatever runs beside the demo's steps still does."""

    def __init__(self, system: System, bureaus: asyncio.Task[None] | None, kafka: RunningKafka) -> None:
        self._system = system
        self._bureaus = bureaus
        self._kafka = kafka.node

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something, unless Kafka or the bureaus' host ends first; services that end are started again.

        Raises:
            ServiceFailsError: a service keeps dying.
            UnavailableError: our own Kafka ended.
        """
        task = asyncio.create_task(work)
        try:
            while not task.done():
                watched = {task} if self._bureaus is None else {task, self._bureaus}
                await asyncio.wait(watched, timeout=_FRAME_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                self._system.check()
                if self._kafka is not None and not self._kafka.running:
                    raise UnavailableError(f"Apache Kafka has ended:\n{self._kafka.log_tail()}")
                if self._bureaus is not None and self._bureaus.done():
                    self._bureaus.result()
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait({task})


@contextlib.asynccontextmanager
async def _bureaus(context: Context) -> AsyncIterator[asyncio.Task[None]]:
    """Let every bureau receive and acknowledge through the real client; one process hosts them all."""
    stop = asyncio.Event()
    async with BureauHost.connect(
        data=context.data, kafka=context.kafka, root_public=context.root_public, codec=context.codec()
    ) as host:
        hosting = asyncio.create_task(host.run(stop))
        try:
            yield hosting
        finally:
            stop.set()
            # Without Kafka it would try for ever to send its receipts: they are in the bureaus' files.
            await asyncio.wait({hosting}, timeout=_HOST_PATIENCE_SECONDS)
            hosting.cancel()
            await asyncio.wait({hosting})


async def _circulate(folder: Path, say: Say) -> list[Outcome]:
    """Publish the samples as whoever issues each, and return the router's word on them.

    Raises:
        RefusedError: a sample breaks a rule: the samples are wrong.
    """
    since = monotonic()
    async with Producer.connect(data=folder) as producer:
        directory = await producer.directory()
        now = SystemClock().now()
        with as_file(files("samples")) as samples:
            entries = [entry for path in expand([samples]) for entry in read(path)]
            messages = [prepare(entry, directory=directory, now=now) for entry in entries]
        published = []
        async for result in producer.publish_many(messages):
            if isinstance(result.result, RefusedError):
                raise result.result
            published.append(result.result)
        say(f"{len(published)} samples published ({monotonic() - since:.1f} s)")
        outcomes = [await producer.outcome(one.message_id, timeout=_OUTCOME_WITHIN) for one in published]
    for outcome in outcomes:
        if outcome.verdict is not Verdict.ROUTED:
            say(f"{outcome.number}: {outcome.verdict}: {outcome.reason}: {outcome.detail}")
    say(f"{len(outcomes)} outcomes from the router ({monotonic() - since:.1f} s)")
    return outcomes


async def _board_fills(context: Context, engine: AsyncEngine, console: Console) -> bool:
    """Show the board until everyone entitled has acknowledged; return whether that came in time."""
    ledgers = [TopicPartition(ledger(shard.region), shard.partition) for shard in SHARDS]
    async with contextlib.AsyncExitStack() as stack:
        client = RawClient(context.kafka, client_id="noticewire-demo")
        await client.start()
        stack.push_async_callback(client.stop)
        ends = {Place(*one): end for one, end in (await client.end_offsets(ledgers, committed=True)).items()}
        live = stack.enter_context(Live(console=console, auto_refresh=False)) if console.is_terminal else None
        deadline = monotonic() + _ACKNOWLEDGED_WITHIN_SECONDS
        while True:
            done = await everyone_acknowledged(engine, ends)
            rows = await read_board(engine)  # afterwards, so that the last board shown is the one that is done
            if live is not None:
                live.update(board_table(rows), refresh=True)
            elif done:
                console.print(board_table(rows))
            if done or monotonic() > deadline:
                return done
            if live is None:
                console.print(f"{total(rows).received:,} of {total(rows).due:,} acknowledged", highlight=False)
            await asyncio.sleep(_FRAME_SECONDS)


async def _verified(context: Context, say: Say) -> Report:
    """Wait until the archive holds everything, and verify it."""
    since = monotonic()
    public = context.keys.signer(AUDIT).public
    while True:
        report = await verify_history(context, public=public)
        if _is_whole(report) or not report.holds or monotonic() - since > _ARCHIVED_WITHIN_SECONDS:
            say(f"History verified ({monotonic() - since:.1f} s)")
            return report
        await asyncio.sleep(_FRAME_SECONDS)


def _is_whole(report: Report) -> bool:
    """Whether the history holds, all of it: nothing is still to be archived, or too young to be missed."""
    return report.holds and not report.behind and not report.unsettled


@contextlib.contextmanager
def _folder(data: Path | None, *, keep: bool) -> Iterator[Path]:
    """Yield the folder to work in: a fresh one, removed afterwards unless it is kept or was named.

    Raises:
        MisuseError: the named folder holds something that no demo made, or an installation runs on it.
    """
    if data is None and not keep:
        with tempfile.TemporaryDirectory(prefix="noticewire-demo-") as temporary:
            yield Path(temporary)
        return
    folder = (data or load_context().data).absolute()
    with held(folder):
        if not (folder / MARK).exists() and any(one.name != LOCK for one in folder.iterdir()):
            raise MisuseError(f"{folder} is not empty, and no demo made it: name another folder with --data")
        for one in folder.iterdir():
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one)
            elif one.name != LOCK:
                one.unlink()
        (folder / MARK).touch()
        yield folder
