"""A whole installation on this machine: Kafka, keys, topics, directory, and each service in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from broker.cli.context import Context, Endpoints, KafkaEndpoint, load_context
from broker.cli.serve import STOP_PATIENCE_SECONDS, Service, start
from broker.clock import SystemClock
from broker.embedded import EmbeddedKafka
from broker.embedded.leash import Leashed
from broker.errors import NoticewireError
from broker.members.bureau import SECRETARIAT
from broker.members.seed import seeds
from broker.topics.apply import TopicAdmin
from broker.topics.plan import plan
from broker.transport.founding import found
from broker.transport.link import linked

Say = Callable[[str], None]
"""Is told of each step, a line at a time."""

_LOG_LINES = 8


class ServiceEndedError(NoticewireError):
    """A service ended by itself."""

    code = "service_ended"

    def __init__(self, service: Service, exit_code: int, log: Path) -> None:
        tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
        super().__init__(f"{service} ended with exit code {exit_code}; its log {log} ends:\n" + "\n".join(tail))


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


@contextlib.contextmanager
def embedded_kafka(data: Path, say: Say) -> Iterator[EmbeddedKafka]:
    """Run Kafka on the data folder. Synchronous, so that Ctrl-C reaches it at any moment of its start and stop."""
    since = monotonic()
    with EmbeddedKafka(data / "kafka", progress=say) as kafka:
        say(f"Apache Kafka runs on {kafka.bootstrap_servers} ({monotonic() - since:.1f} s)")
        yield kafka


@contextlib.asynccontextmanager
async def running_system(
    data: Path, bootstrap_servers: str, *, services: Sequence[Service], say: Say
) -> AsyncIterator[System]:
    """Found the installation where it is not yet, start its services, and stop them at the end.

    Args:
        data: the data folder; `endpoints.json` in it tells every other command where this runs.
        bootstrap_servers: of a Kafka that runs.
        services: which to start; each may stand there once.
        say: is told of each step.
    """
    context = await _founded(data, bootstrap_servers, say)
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


def log_of(data: Path, service: Service) -> Path:
    """Return where a service's JSON lines go."""
    return data / "logs" / f"{service}.log"


async def _founded(data: Path, bootstrap_servers: str, say: Say) -> Context:
    """Make keys, topics and directory, as far as they are not there, and write down where everything is."""
    Endpoints(kafka=KafkaEndpoint(bootstrap_servers=bootstrap_servers)).write(data)
    context = load_context(data)
    everybody = seeds()
    since = monotonic()
    keys = context.keys
    await asyncio.to_thread(keys.make, [seed.code for seed in everybody])
    specs = plan([seed.code for seed in everybody if not seed.is_service], kafka=context.kafka)
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
    Endpoints(
        kafka=KafkaEndpoint(bootstrap_servers=bootstrap_servers), installation=installation, root_key=root_public.hex()
    ).write(data)
    return load_context(data)
