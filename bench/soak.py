"""Does the memory of any service grow with what it has done?

Runs a simulation at full speed through an installation of eight bureaus, each service in a process of its own, and
samples what each process holds (RSS). The mean of the last tenth of the messages is held against that of the first: no
more than a tenth above it is flat. Exits with 1 if a process of ours is not. 100,000 messages take a quarter of an hour
or more; of fewer than some 20,000 the first tenth is still the warm-up, so read the slope and not the verdict.

The simulator (publisher and eight bureaus' clients) is this process; the gateway is asked for a schema twice a second,
as a stranger's program asks that has just begun. Kafka's JVM is shown and not judged: its heap has
a fixed bound that it grows towards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from statistics import mean

import httpx
import psutil

from bench.measure import arguments, kafka, progress, table
from broker.cli.context import Context, Endpoints, KafkaEndpoint, load_context
from broker.cli.serve import STOP_PATIENCE_SECONDS, Service, start
from broker.cli.simulating import Options, SimulationRun
from broker.cli.system import log_of, log_tail
from broker.clock import SystemClock
from broker.members.bureau import SECRETARIAT
from broker.members.seed import seeds_of
from broker.observe.logging import configure_logging
from broker.schema.codec import Codec
from broker.settings import KafkaSettings
from broker.topics.apply import TopicAdmin
from broker.topics.plan import plan
from broker.transport.founding import found
from broker.transport.link import linked
from broker.trust.keys import KeyRing
from producers.simulator.arrivals import Rate

BUREAUS = ("zw", "ke", "ng", "fr", "de", "br", "jp")
"""With the Secretariat, eight."""

FLAT = 1.10
"""The last tenth may hold this many times as much as the first."""

_SERVICES = (Service.ROUTER, Service.TRACKER, Service.AUDIT, Service.GATEWAY)
_SCHEMA_ID = 1011
"""Of notices in their second version: any would do."""
_SAMPLE_SECONDS = 0.5
_SAID_EVERY_SECONDS = 15.0
_MIB = 1 << 20


@dataclass
class Watched:
    """A process, and what it held when so many messages had the router's word."""

    name: str
    process: psutil.Process
    is_judged: bool = True
    samples: list[tuple[int, int]] = field(default_factory=list)

    def sample(self, done: int) -> None:
        """Note what it holds now."""
        self.samples.append((done, self.process.memory_info().rss))

    def between(self, least: float, most: float) -> float:
        """Return the mean of what it held, in bytes, while between so many messages were done."""
        found = [held for done, held in self.samples if least <= done <= most]
        return mean(found) if found else float("nan")

    def slope(self, least: float) -> float:
        """Return how many bytes a message adds, from so many messages on: the line of least squares."""
        points = [(done, held) for done, held in self.samples if done >= least]
        x, y = mean(done for done, _ in points), mean(held for _, held in points)
        spread = sum((done - x) ** 2 for done, _ in points)
        return sum((done - x) * (held - y) for done, held in points) / spread if spread else float("nan")


async def founded(data: Path, bootstrap_servers: str, prefix: str) -> Context:
    """Found an installation of eight bureaus."""
    settings = KafkaSettings(bootstrap_servers=bootstrap_servers, prefix=prefix)
    seeds = seeds_of(BUREAUS)
    await TopicAdmin(settings).apply(plan([seed.code for seed in seeds if not seed.is_service], kafka=settings))
    keys = KeyRing(data / "keys")
    keys.make([seed.code for seed in seeds])
    root = keys.signer(SECRETARIAT).public
    async with linked(settings, codec=Codec.load(), client_id="soak", root_public=root) as link:
        installation = await found(
            seeds,
            keyring=keys,
            publisher=link.publisher,
            codec=link.codec,
            follower=link.follower,
            clock=SystemClock(),
        )
    endpoint = KafkaEndpoint(bootstrap_servers=bootstrap_servers, prefix=prefix)
    Endpoints(kafka=endpoint, installation=installation, root_key=root.hex()).write(data)
    return load_context(data)


@contextlib.contextmanager
def services(data: Path, gateway: int) -> Iterator[dict[str, int]]:
    """Run every service in a process of its own, the gateway on a port; give the process id of each."""
    with contextlib.ExitStack() as stack:
        pids = {}
        for service in _SERVICES:
            port = gateway if service is Service.GATEWAY else None
            process = start(service, data, log=log_of(data, service), port=port)
            stack.callback(process.stop, STOP_PATIENCE_SECONDS)
            pids[service.value] = process.pid
        yield pids


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


async def soak(context: Context, watched: Sequence[Watched], messages: int, gateway: int) -> SimulationRun:
    """Simulate, and sample until every message has the router's word and every delivery its answer."""
    options = Options(seed=7, start=SystemClock().now(), rate=Rate(None), count=messages)
    run = SimulationRun(context, options)
    running = asyncio.create_task(run.run(asyncio.Event()))
    said_at = began = time.monotonic()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway}") as reader:
        while not running.done():
            done = run.outcomes.total()
            for one in watched:
                try:
                    one.sample(done)
                except psutil.NoSuchProcess:
                    raise SystemExit(f"{one.name} ended: {log_tail(log_of(context.data, one.name))}") from None
            if time.monotonic() - said_at >= _SAID_EVERY_SECONDS:
                said_at = time.monotonic()
                held = ", ".join(f"{one.name} {one.samples[-1][1] / _MIB:.0f}" for one in watched)
                progress(f"{done:,} messages, {done / (said_at - began):.0f} a second; MiB: {held}")
            await asyncio.wait({running}, timeout=_SAMPLE_SECONDS)
            await _ask(reader)
    await running
    return run


async def _ask(gateway: httpx.AsyncClient) -> None:
    with contextlib.suppress(httpx.ConnectError):  # it has not opened yet
        (await gateway.get(f"/schemas/ids/{_SCHEMA_ID}")).raise_for_status()


def shown(watched: Sequence[Watched], messages: int) -> bool:
    """Print what each process held; return whether all of ours are flat."""
    rows, flat = [], True
    for one in watched:
        first, last = one.between(1, messages / 10), one.between(messages * 9 / 10, messages)
        is_flat = last <= first * FLAT
        flat &= is_flat or not one.is_judged
        verdict = ("flat" if is_flat else "GROWS") if one.is_judged else "not judged"
        peak = max(held for _, held in one.samples)
        figures = (f"{value / _MIB:.1f}" for value in (first, last, peak))
        rows.append([one.name, *figures, f"{last / first:.3f}", f"{one.slope(messages / 2):,.0f}", verdict])
    head = ("process", "first tenth MiB", "last tenth MiB", "peak MiB", "ratio", "bytes a message, 2nd half", "")
    table(head, rows)
    return flat


def main() -> int:
    """Run the soak."""
    parser = arguments(__doc__)
    parser.add_argument("--messages", type=int, default=100_000, help="how many (100,000)")
    asked = parser.parse_args()
    configure_logging("soak", as_json=False, level="ERROR")
    with tempfile.TemporaryDirectory(prefix="noticewire-soak-") as folder, kafka() as (servers, broker):
        data = Path(folder)
        prefix = f"soak-{token_hex(3)}-"
        context = asyncio.run(founded(data, servers, prefix))
        try:
            gateway = free_port()
            with services(data, gateway) as pids:
                watched = [Watched(name, psutil.Process(pid)) for name, pid in pids.items()]
                watched.append(Watched("simulator", psutil.Process(os.getpid())))
                if broker is not None:
                    watched.append(Watched("kafka", psutil.Process(broker), is_judged=False))
                began = time.monotonic()
                run = asyncio.run(soak(context, watched, asked.messages, gateway))
        finally:
            if broker is None:
                seeds = seeds_of(BUREAUS)
                specs = plan([seed.code for seed in seeds if not seed.is_service], kafka=context.kafka)
                asyncio.run(TopicAdmin(context.kafka).remove(specs))
    summary = run.summary()
    print(
        f"{summary['published']:,} messages, {summary['deliveries']:,} deliveries,"
        f" {sum(summary['answers'].values()):,} answers in {time.monotonic() - began:.0f} s;"
        f" outcomes {summary['outcomes']}, without {summary['without_outcome']}, open {summary['open']}"
    )
    flat = shown(watched, asked.messages)
    return 0 if flat and not run.failed else 1


if __name__ == "__main__":
    sys.exit(main())
