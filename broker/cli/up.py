"""`noticewire up`: an installation that lasts, on a data folder, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
import uvloop
from rich.console import Console
from rich.markup import escape

from broker.cli.context import Context, DataOption, Endpoints, load_context
from broker.cli.serve import STOP_PATIENCE_SECONDS, ObservePortOption, Service
from broker.cli.services.observing import Watch, watched
from broker.cli.supervisor import BACK_OFF_SECONDS, Say, Supervisor
from broker.cli.system import RunningKafka, found_installation, held, kafka_for, supervise
from broker.endpoints import ServiceEndpoint
from broker.errors import NoticewireError
from broker.observe.health import Health
from broker.observe.listener import HOST, free_row
from broker.observe.metrics import Metrics, SupervisorMetrics

_LOOK_SECONDS = 0.25


def register(cli: typer.Typer) -> None:
    """Add this command to the command line."""
    cli.command("up")(up)


def up(
    *,
    data: DataOption = None,
    routers: Annotated[int, typer.Option("--routers", min=1, max=12, help="How many routers share the shards.")] = 1,
    observe_port: ObservePortOption = None,
) -> None:
    """Run Kafka and all services on a data folder that lasts, until Ctrl-C; what dies is started again.

    A second start carries on where the first ended. Where everything listens is in `endpoints.json` in that folder.
    Example: noticewire up --data ./data
    """
    console = Console()
    since = monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{monotonic() - since:8.1f} s[/]  {escape(line)}", highlight=False)

    folder = load_context(data).data.absolute()
    with (
        held(folder),
        kafka_for(folder, say, long_lived=True) as kafka,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(_up(folder, kafka, routers=routers, observe_port=observe_port, say=say))


async def _up(folder: Path, kafka: RunningKafka, *, routers: int, observe_port: int | None, say: Say) -> None:
    Endpoints(kafka=kafka.endpoint).write(folder)
    context = await found_installation(load_context(folder), say)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    supervisor = Supervisor(say, patience_seconds=STOP_PATIENCE_SECONDS)
    node = _Node(kafka, say)
    wanted = dict(_wanted(routers))
    first = context.settings.observe.port if observe_port is None else observe_port
    first = first or free_row(2 + len(wanted))
    ports = {name: first + 1 + at for at, name in enumerate(wanted)}
    answers = {"gateway": context.settings.gateway.port or first + 1 + len(wanted)}
    try:
        for name, service in wanted.items():
            supervise(supervisor, name, service, folder, observe_port=ports[name], port=answers.get(name))
        _write_endpoints(context, supervisor, first, ports, answers)
        say(f"Runs until Ctrl-C, on {folder}; where everything listens is in {folder / 'endpoints.json'}")
        async with watched(_watch(supervisor, node, folder), None, port=first):
            changed = False
            while not stopping.is_set():
                await node.check()
                changed |= supervisor.check()
                if changed:
                    with contextlib.suppress(OSError):  # a full disk: the old ones stay until it takes them
                        _write_endpoints(context, supervisor, first, ports, answers)
                        changed = False
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _LOOK_SECONDS)
        say(f"Stopping: what is in flight has {STOP_PATIENCE_SECONDS:g} s to finish")
    finally:
        await asyncio.to_thread(supervisor.stop)
        (folder / "endpoints.json").unlink(missing_ok=True)
    say("Stopped")


def _watch(supervisor: Supervisor, node: _Node, folder: Path) -> Watch:
    """Return what is shown of the services as this process sees them, and of the disk that they share."""
    metrics = Metrics("up", Health(), reads_logs=False)
    shown = SupervisorMetrics(metrics)

    def look() -> None:
        for one in supervisor.services:
            shown.service(one.name, restarts=one.starts - 1, is_failing=one.is_failing)
        shown.service("kafka", restarts=node.restarts, is_failing=node.is_failing)
        disk = shutil.disk_usage(folder)
        shown.disk(free_bytes=disk.free, size_bytes=disk.total)

    def problems() -> Iterator[str]:
        for one in supervisor.services:
            if one.process is None or one.is_failing:
                yield f"{one.name} {'keeps dying' if one.is_failing else 'does not run'}"
        if node.is_failing:
            yield "Apache Kafka could not be started again"

    return Watch(metrics=metrics, asks_kafka=False, on_beat=look, problems=problems)


class _Node:
    """Starts our own Kafka again when it dies; on a cluster of somebody else's there is nothing to do."""

    def __init__(self, kafka: RunningKafka, say: Say) -> None:
        self._node = kafka.node
        self._say = say
        self._deaths = 0
        self._not_before = 0.0
        self.restarts = 0

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt to start it again has failed."""
        return self._deaths > 0

    async def check(self) -> None:
        """Look, and start it again on the same data and the same port."""
        if self._node is None or self._node.running:
            return
        if monotonic() < self._not_before:
            return
        self._say("Apache Kafka has ended; started again")
        self.restarts += 1
        try:
            await asyncio.to_thread(self._node.start)
        except (NoticewireError, OSError) as error:  # its disk may be full: it is tried again for ever
            wait = BACK_OFF_SECONDS[min(self._deaths, len(BACK_OFF_SECONDS) - 1)]
            self._deaths += 1
            self._not_before = monotonic() + wait
            self._say(f"Apache Kafka could not be started, again in {wait:g} s: {error}")
        else:
            self._deaths = 0


def _wanted(routers: int) -> Iterator[tuple[str, Service]]:
    for number in range(routers):
        yield f"router-{number}", Service.ROUTER
    yield "tracker", Service.TRACKER
    yield "audit", Service.AUDIT
    yield "gateway", Service.GATEWAY


def _write_endpoints(
    context: Context, supervisor: Supervisor, first: int, ports: Mapping[str, int], answers: Mapping[str, int]
) -> None:
    """Say where everything is now: process ids change when something was started again, ports do not.

    Args:
        context: of the command.
        supervisor: has the services.
        first: where this process shows its own metrics.
        ports: where each service does.
        answers: where those that are for HTTP answer.
    """
    known = Endpoints.model_validate_json((context.data / "endpoints.json").read_bytes())
    services = {
        one.name: ServiceEndpoint(
            pid=one.process.pid,
            observe=f"http://{HOST}:{ports[one.name]}",
            url=f"http://{HOST}:{answers[one.name]}" if one.name in answers else None,
        )
        for one in supervisor.services
        if one.process is not None
    }
    here = {"services": services, "pid": os.getpid(), "observe": f"http://{HOST}:{first}"}
    known.model_copy(update=here).write(context.data)
