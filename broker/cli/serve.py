"""`noticewire serve`: run services until told to stop, each in its own process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from broker.cli.context import FAILED, Context, DataOption, load_context
from broker.embedded import leash
from broker.errors import UnavailableError
from broker.members.seed import AUDIT
from broker.model.outcome import BROKER
from broker.observe.faultpoints import faults_from
from broker.observe.logging import configure_logging
from broker.schema.codec import Codec
from broker.store.engine import open_store, sqlite_url
from broker.transport.directory import DirectoryFollower
from broker.transport.kafka import RawClient
from broker.transport.membership import Membership, claim_slot
from broker.transport.publisher import Publisher
from consumers.audit.service import AuditService
from consumers.router.service import RouterService
from consumers.tracker.service import TrackerService

STOP_PATIENCE_SECONDS = 15.0
"""How long a service may take to finish what is in flight before it is killed; nothing is lost either way."""


class Service(StrEnum):
    """What can be served."""

    ROUTER = "router"
    TRACKER = "tracker"
    AUDIT = "audit"


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("serve")(serve)


def serve(
    services: Annotated[list[Service], typer.Argument(metavar="SERVICE...", help="router, tracker, audit")],
    *,
    data: DataOption = None,
) -> None:
    """Run services until Ctrl-C or SIGTERM. Several of a kind share the shards.

    Example: noticewire serve router tracker --data ./data
    """
    context = load_context(data)
    if len(services) > 1:
        _serve_each(services, context.data)
        return
    configure_logging(services[0], as_json=not sys.stderr.isatty())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(services[0], context))


def start(service: Service, data: Path, *, log: Path | None = None) -> leash.Leashed:
    """Start a service in a process of its own, which ends when this one does.

    Args:
        service: which one.
        data: the data folder.
        log: where its JSON lines go; this process's standard error where left out.
    """
    argv = [sys.executable, "-m", "broker.cli.main", "serve", service, "--data", str(data)]
    if log is None:
        return leash.spawn(argv)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return leash.spawn(argv, stdout=out, stderr=out)


def _serve_each(services: Sequence[Service], data: Path) -> None:
    """Run several services side by side; if one ends, end the others and say so."""
    running = [(service, start(service, data)) for service in services]
    with contextlib.ExitStack() as stack:
        for _, process in running:
            stack.callback(process.stop, STOP_PATIENCE_SECONDS)
        stopped = _signalled()
        while not stopped():
            for service, process in running:
                if (code := process.poll()) is not None:
                    typer.echo(f"noticewire: {service} ended with exit code {code}", err=True)
                    raise typer.Exit(FAILED)
            signal.sigtimedwait([], 0.2)


def _signalled() -> Any:
    """Return a function that says whether SIGINT or SIGTERM has come."""
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: came.append(received))
    return lambda: bool(came)


async def _serve(service: Service, context: Context) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(_connected(context, service))
        codec = Codec.load()
        directory = DirectoryFollower(client, codec, root_public=context.root_public)
        match service:
            case Service.ROUTER:
                router = RouterService(
                    client=client,
                    kafka=context.kafka,
                    settings=context.settings.router,
                    directory=directory,
                    codec=codec,
                    installation=await _installation(directory),
                    signer=context.keys.signer(BROKER),
                    cache_folder=context.data / "router",
                    faults=faults_from(os.environ),
                )
                await router.run(await stack.enter_async_context(_member(context, "router")), stopping)
            case Service.TRACKER:
                engine = await open_store(context.settings.tracker.url or sqlite_url(context.data / "tracker.db"))
                stack.push_async_callback(engine.dispose)
                tracker = TrackerService(client=client, engine=engine, directory=directory, codec=codec)
                await tracker.run(await stack.enter_async_context(_member(context, "tracker")), stopping)
            case Service.AUDIT:
                publisher = await stack.enter_async_context(Publisher(context.kafka, client_id="noticewire-audit"))
                audit = AuditService(
                    client=client,
                    archive=context.data / "archive",
                    signer=context.keys.signer(AUDIT),
                    installation=await _installation(directory),
                    publisher=publisher,
                )
                await audit.run(stopping)


@contextlib.asynccontextmanager
async def _connected(context: Context, service: Service) -> AsyncIterator[RawClient]:
    client = RawClient(context.kafka, client_id=f"noticewire-{service}")
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


@contextlib.asynccontextmanager
async def _member(context: Context, kind: str) -> AsyncIterator[Membership]:
    """Join the group of a kind of service under the lowest free slot: a replacement inherits the shards at once."""
    with claim_slot(context.data / "slots", kind) as slot:
        membership = Membership(kafka=context.kafka, group=f"{kind}s", instance=slot.instance)
        await membership.start()
        try:
            yield membership
        finally:
            await membership.stop()


async def _installation(directory: DirectoryFollower) -> str:
    installation = (await directory.at_its_end()).installation
    if installation is None:
        raise UnavailableError("this installation is not founded yet: no directory")
    return installation
