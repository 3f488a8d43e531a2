"""A whole installation on this machine: Kafka, keys, topics, directory, and each service in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from broker.cli.context import Context, Endpoints, KafkaEndpoint, load_context
from broker.cli.serve import STOP_PATIENCE_SECONDS, Service, start
from broker.cli.supervisor import Say
from broker.clock import SystemClock
from broker.embedded import EmbeddedKafka
from broker.embedded.leash import Leashed
from broker.errors import NoticewireError
from broker.members.bureau import SECRETARIAT
from broker.members.seed import seeds
from broker.topics.apply import TopicAdmin
from broker.topics.plan import TopicSpec, plan
from broker.transport.founding import found
from broker.transport.link import linked

_LOG_LINES = 8


class ServiceEndedError(NoticewireError):
    """A service ended by itself."""

    code = "service_ended"

    def __init__(self, service: Service, exit_code: int, log: Path) -> None:
        super().__init__(f"{service} ended with exit code {exit_code}; its log {log} ends:\n{log_tail(log)}")


@dataclass(kw_only=True)
class System:
    """What runs."""

    context: Context
    services: dict[Service, Leashed] = field(default_factory=dict)

    def check(self) -> None:
        """Raise if a service has ended.

        Raises:
            ServiceEndedError: names it, its exit code and the end of its log.
        """
        for service, process in self.services.items():
            if (code := process.poll()) is not None:
                raise ServiceEndedError(service, code, log_of(self.context.data, service))


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
        services: which to start; each may stand there once.
        say: is told of each step.
    """
    Endpoints(kafka=kafka).write(data)
    context = await found_installation(load_context(data), say)
    system = System(context=context)
    try:
        for service in services:
            system.services[service] = start(service, data, log=log_of(data, service))
        say(f"Services started: {', '.join(services)}")
        yield system
    finally:
        # All at once, each with its time to finish what is in flight.
        for process in system.services.values():
            process.terminate()
        for process in system.services.values():
            await asyncio.to_thread(process.stop, STOP_PATIENCE_SECONDS)
        (data / "endpoints.json").unlink(missing_ok=True)


def log_of(data: Path, service: str) -> Path:
    """Return where a service's JSON lines go."""
    return data / "logs" / f"{service}.log"


def log_tail(log: Path, lines: int = _LOG_LINES) -> str:
    """Return the end of a log."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


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
    async with linked(context.kafka, client_id="noticewire-founding", root_public=root_public) as link:
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
