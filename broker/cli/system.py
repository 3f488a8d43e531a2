"""A whole installation on this machine: Kafka, keys, topics, directory, and each service in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shlex
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from broker.cli.context import Context, Endpoints, KafkaEndpoint, load_context
from broker.cli.serve import STOP_PATIENCE_SECONDS, Service, start
from broker.cli.supervisor import Say, Supervisor
from broker.clock import SystemClock
from broker.embedded import EmbeddedKafka
from broker.errors import MisuseError, NoticewireError
from broker.members.bureau import SECRETARIAT
from broker.members.seed import seeds
from broker.topics.apply import TopicAdmin
from broker.topics.plan import TopicSpec, plan
from broker.transport.founding import found
from broker.transport.link import linked

_LOG_LINES = 8
_LOG_BYTES = 64 * 1024
"""More than these lines take; a log of years is not read whole."""


LOCK = "held.lock"
"""In a data folder: locked by, and naming, the process that runs an installation on it."""


class ServiceFailsError(NoticewireError):
    """A service keeps dying."""

    code = "service_fails"


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """What runs."""

    context: Context
    supervisor: Supervisor

    def check(self) -> None:
        """Start again what has ended.

        Raises:
            ServiceFailsError: one keeps dying; why was said.
        """
        self.supervisor.check()
        failing = [service.name for service in self.supervisor.services if service.is_failing]
        if failing:
            raise ServiceFailsError(f"{', '.join(failing)} keeps dying; see {self.context.data / 'logs'}")


@contextlib.contextmanager
def held(data: Path) -> Iterator[None]:
    """Hold a data folder for this process alone; made, readable by its owner only, where it is not there.

    Raises:
        MisuseError: another process holds it (named), or it cannot be made or written to.
    """
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data / LOCK).open("a+", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise MisuseError(f"{data} cannot be a data folder: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise MisuseError(f"{data} is held by process {lock.read().strip()}: an installation runs on it") from None
        lock.truncate(0)
        lock.write(f"{os.getpid()} (noticewire {shlex.join(sys.argv[1:])})")
        lock.flush()
        yield


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningKafka:
    """A cluster to work on."""

    endpoint: KafkaEndpoint
    node: EmbeddedKafka | None = None
    """Ours, if it is."""


@contextlib.contextmanager
def kafka_for(data: Path, say: Say, *, default_prefix: str = "", long_lived: bool = False) -> Iterator[RunningKafka]:
    """Run Kafka on the data folder; or, where the settings name a cluster, use that one.

    Synchronous, so that Ctrl-C reaches it at any moment of its start and stop.

    Args:
        data: the data folder; Kafka's own data lie in `kafka/`.
        say: is told of each step.
        default_prefix: on a cluster that exists, goes before every name, unless the settings have a prefix.
        long_lived: whether our own will run for hours.
    """
    named = load_context(data).settings.kafka
    if "bootstrap_servers" in named.model_fields_set:
        prefix = named.prefix if "prefix" in named.model_fields_set else default_prefix
        say(f"Using the cluster at {named.bootstrap_servers}, with the prefix {prefix!r}")
        yield RunningKafka(endpoint=KafkaEndpoint(bootstrap_servers=named.bootstrap_servers, prefix=prefix))
        return
    since = monotonic()
    with EmbeddedKafka(data / "kafka", progress=say, long_lived=long_lived) as node:
        say(f"Apache Kafka runs on {node.bootstrap_servers} ({monotonic() - since:.1f} s)")
        yield RunningKafka(endpoint=KafkaEndpoint(bootstrap_servers=node.bootstrap_servers), node=node)


@contextlib.asynccontextmanager
async def running_system(
    data: Path, kafka: KafkaEndpoint, *, services: Sequence[Service], say: Say
) -> AsyncIterator[System]:
    """Found the installation where it is not yet, start its services, and stop them at the end.

    Args:
        data: the data folder; `endpoints.json` in it tells every other command where this runs.
        kafka: a cluster that runs.
        services: which to start; each may stand there once. One that dies is started again.
        say: is told of each step.
    """
    Endpoints(kafka=kafka).write(data)
    context = await found_installation(load_context(data), say)
    supervisor = Supervisor(say, patience_seconds=STOP_PATIENCE_SECONDS)
    try:
        for service in services:
            supervise(supervisor, service, service, data)
        say(f"Services started: {', '.join(services)}")
        yield System(context=context, supervisor=supervisor)
    finally:
        await asyncio.to_thread(supervisor.stop)
        (data / "endpoints.json").unlink(missing_ok=True)


def supervise(
    supervisor: Supervisor, name: str, service: Service, data: Path, *, observe_port: int = 0, port: int | None = None
) -> None:
    """Start a service under a name, to be kept running; its log is named after it."""
    log = log_of(data, name)
    supervisor.add(
        name,
        lambda: start(service, data, log=log, observe_port=observe_port, port=port),
        last_words=lambda: log_tail(log, lines=3),
    )


def log_of(data: Path, service: str) -> Path:
    """Return where a service's JSON lines go."""
    return data / "logs" / f"{service}.log"


def log_tail(log: Path, lines: int = _LOG_LINES) -> str:
    """Return the end of a log; nothing where it cannot be read, as whoever asks has worse to tell."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


async def found_installation(context: Context, say: Say) -> Context:
    """Make keys, topics and directory, as far as they are not there, and write down where everything is.

    Raises:
        RefusedError: the directory was founded with another key of the Secretariat than the one in the data folder.
        UnavailableError: no broker answers.
    """
    everybody = seeds()
    since = monotonic()
    keys = context.keys
    await asyncio.to_thread(keys.make, [seed.code for seed in everybody])
    specs = topics_of(context)
    await TopicAdmin(context.kafka).apply(specs)
    say(f"{len(specs)} topics ready ({monotonic() - since:.1f} s)")
    since = monotonic()
    root_public = keys.signer(SECRETARIAT).public
    async with linked(
        context.kafka, codec=context.codec(), client_id="noticewire-founding", root_public=root_public
    ) as link:
        installation = await found(
            everybody,
            keyring=keys,
            publisher=link.publisher,
            codec=link.codec,
            follower=link.follower,
            clock=SystemClock(),
        )
    say(f"Directory of {len(everybody)} bureaus, entities and services ready ({monotonic() - since:.1f} s)")
    kafka = KafkaEndpoint(bootstrap_servers=context.kafka.bootstrap_servers, prefix=context.kafka.prefix)
    Endpoints(kafka=kafka, installation=installation, root_key=root_public.hex()).write(context.data)
    return load_context(context.data)


def topics_of(context: Context) -> tuple[TopicSpec, ...]:
    """Return the topics that an installation starts with."""
    return plan([seed.code for seed in seeds() if not seed.is_service], kafka=context.kafka)
