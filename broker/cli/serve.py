"""`noticewire serve`: run services until told to stop, each in its own process."""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from broker.cli.context import Context, DataOption, load_context
from broker.cli.supervisor import Supervisor
from broker.embedded import leash
from broker.observe.logging import configure_logging
from broker.transport.kafka import RawClient

STOP_PATIENCE_SECONDS = 15.0
"""How long a service may take to finish what is in flight before it is killed; nothing is lost either way."""


ObservePortOption = Annotated[
    int | None,
    typer.Option(
        "--observe-port",
        min=0,
        max=65_500,
        metavar="PORT",
        help="Where /metrics, /healthz and /readyz are answered, on 127.0.0.1 (several services: the first of a row)."
        " 0: any free port. Otherwise NOTICEWIRE_OBSERVE__PORT.",
    ),
]


class Service(StrEnum):
    """What can be served."""

    ROUTER = "router"
    TRACKER = "tracker"
    AUDIT = "audit"
    GATEWAY = "gateway"


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("serve")(serve)


def serve(
    services: Annotated[list[Service], typer.Argument(metavar="SERVICE...", help="router, tracker, audit, gateway")],
    *,
    data: DataOption = None,
    observe_port: ObservePortOption = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65_535,
            help="Where the gateway answers, on 127.0.0.1. 0: any free port. Otherwise NOTICEWIRE_GATEWAY__PORT.",
        ),
    ] = None,
) -> None:
    """Run services until Ctrl-C or SIGTERM. Several of a kind share the shards.

    Of several, one that dies is started again, and the others go on.

    Example: noticewire serve router tracker --data ./data
    """
    context = load_context(data)
    observe = context.settings.observe.port if observe_port is None else observe_port
    if len(services) > 1:
        _serve_each(services, context.data, observe, port)
        return
    level = context.settings.observe.log_level
    configure_logging(services[0], as_json=not sys.stderr.isatty(), level=level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(services[0], context, observe, port))


def start(
    service: Service, data: Path, *, log: Path | None = None, observe_port: int = 0, port: int | None = None
) -> leash.Leashed:
    """Start a service in a process of its own, which ends when this one does.

    Args:
        service: which one.
        data: the data folder.
        log: where its JSON lines go; this process's standard error where left out.
        observe_port: where it shows metrics and health; 0: any free port.
        port: where the gateway answers; the setting where left out.
    """
    argv = [sys.executable, "-m", "broker.cli.main", "serve", service, "--data", str(data)]
    argv += ["--observe-port", str(observe_port)]
    if port is not None:
        argv += ["--port", str(port)]
    if log is None:
        return leash.spawn(argv)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        return leash.spawn(argv, stdout=out, stderr=out)


def _serve_each(services: Sequence[Service], data: Path, observe: int, port: int | None) -> None:
    """Run several services side by side; one that ends is started again, and the others go on."""
    supervisor = Supervisor(partial(typer.echo, err=True), patience_seconds=STOP_PATIENCE_SECONDS)
    with supervisor.running():
        stopped = _signalled()
        for at, service in enumerate(services):
            own = observe + at if observe else 0
            supervisor.add(service, partial(start, service, data, observe_port=own, port=port))
        while not stopped():
            supervisor.check()
            signal.sigtimedwait([], 0.2)


def _signalled() -> Any:
    """Return a function that says whether SIGINT or SIGTERM has come."""
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: came.append(received))
    return lambda: bool(came)


async def _serve(service: Service, context: Context, observe_port: int, port: int | None) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    # By name: a router's start does not wait for SQLAlchemy (measured: 1.3 s of CPU against 3.9 for all of them).
    runner = importlib.import_module(f"broker.cli.services.{service}")
    if service is Service.GATEWAY:
        answers = context.settings.gateway.port if port is None else port
        await runner.run(context, stopping, observe_port=observe_port, port=answers)
        return
    client = RawClient(context.kafka, client_id=f"noticewire-{service}")
    await client.start()
    try:
        await runner.run(context, client, stopping, observe_port=observe_port)
    finally:
        await client.stop()
