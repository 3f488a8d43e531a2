"""`noticewire up`: an installation that lasts, on a data folder, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
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
from broker.cli.supervisor import Fortune, Say, Supervisor, ending
from broker.cli.system import RunningKafka, found_installation, held, kafka_for, supervise
from broker.embedded import EmbeddedKafka
from broker.endpoints import ServiceEndpoint
from broker.errors import NoticewireError
from broker.observe.health import Health
from broker.observe.listener import HOST, free_row
from broker.observe.metrics import Metrics, SupervisorMetrics

_LOOK_SECONDS = 0.25

_KAFKA_LINES = 3
"""Of what the JVM printed, and of what Kafka logged: shown when it has ended."""


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
        console.print(f"[dim]{monotonic() - since:8.1f} s[/]  {escape(line)}", highlight=False, soft_wrap=True)

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
        for line in _addresses(_write_endpoints(context, supervisor, first, ports, answers)):
            say(line)
        say(f"Runs until Ctrl-C, on {folder}; where everything listens is in {folder / 'endpoints.json'}")
        async with watched(_watch(supervisor, node, folder), None, port=first), asyncio.TaskGroup() as beside:
            keeping = beside.create_task(node.keep())
            changed = False
            while not stopping.is_set():
                changed |= supervisor.check()
                if changed:
                    with contextlib.suppress(OSError):  # a full disk: the old ones stay until it takes them
                        _write_endpoints(context, supervisor, first, ports, answers)
                        changed = False
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _LOOK_SECONDS)
            keeping.cancel()
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
        shown.service("kafka", restarts=node.fortune.starts - 1, is_failing=node.fortune.is_failing)
        disk = shutil.disk_usage(folder)
        shown.disk(free_bytes=disk.free, size_bytes=disk.total)

    def problems() -> Iterator[str]:
        runs = [(one, one.process is not None) for one in supervisor.services]
        for one, is_running in [*runs, (node.fortune, node.is_running)]:
            if one.is_failing or not is_running:
                yield f"{one.name} {'keeps dying' if one.is_failing else 'does not run'}"

    return Watch(metrics=metrics, asks_kafka=False, on_beat=look, problems=problems)


class _Node:
    """Starts our own Kafka again when it dies, as the supervisor does services; somebody else's is not our affair."""

    def __init__(self, kafka: RunningKafka, say: Say, *, now: Callable[[], float] = monotonic) -> None:
        self._node = kafka.node
        self._say = say
        self._now = now
        self.fortune = Fortune(name="Apache Kafka", started_at=now(), starts=1)
        self.is_running = True

    async def keep(self) -> None:
        """Check it until cancelled; beside the services, since a start takes seconds, and one that fails 90 of them."""
        while True:
            await self.check()
            await asyncio.sleep(_LOOK_SECONDS)

    async def check(self) -> None:
        """Look, and start it again, once its time has come, on the same data and the same port."""
        if self._node is None:
            return
        if self.is_running:
            self.fortune.look(self._now())
            if (code := self._node.exit_code) is not None:
                self.is_running = False
                self._put_off(ending(code), self._node.log_tail(_KAFKA_LINES))
        if not self.is_running and self._now() >= self.fortune.not_before:
            await self._start(self._node)

    async def _start(self, node: EmbeddedKafka) -> None:
        self.fortune.starts += 1
        starting = asyncio.create_task(asyncio.to_thread(node.start))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:  # we are to stop, and do not wait until it serves
            await asyncio.to_thread(node.stop)
            await asyncio.gather(starting, return_exceptions=True)
            raise
        except (NoticewireError, OSError) as error:  # its disk may be full: it is tried again for ever
            self._put_off("could not be started", str(error))
        else:
            self.fortune.started_at = self._now()
            self.is_running = True

    def _put_off(self, reason: str, words: str) -> None:
        self._say(self.fortune.put_off(self._now(), reason, words))


def _wanted(routers: int) -> Iterator[tuple[str, Service]]:
    for number in range(routers):
        yield f"router-{number}", Service.ROUTER
    yield "tracker", Service.TRACKER
    yield "audit", Service.AUDIT
    yield "gateway", Service.GATEWAY


def _write_endpoints(
    context: Context, supervisor: Supervisor, first: int, ports: Mapping[str, int], answers: Mapping[str, int]
) -> Endpoints:
    """Write where everything is now, and return it: process ids change with a new start, ports do not.

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
    endpoints = known.model_copy(update=here)
    endpoints.write(context.data)
    return endpoints


def _addresses(endpoints: Endpoints) -> Iterator[str]:
    """Yield a line for each address at which something listens."""
    yield f"Apache Kafka listens on {endpoints.kafka.bootstrap_servers}"
    for name, service in endpoints.services.items():
        if service.url is not None:
            yield f"{name} answers on {service.url}"
        yield f"{name} shows its metrics and health on {service.observe}"
    yield f"This process shows its own on {endpoints.observe}"
