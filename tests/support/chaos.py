"""What goes wrong, on purpose: processes and nodes killed or hung, connections cut, requests held back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from broker.clock import SystemClock
from broker.embedded import EmbeddedCluster
from broker.members.bureau import SECRETARIAT
from broker.members.directory import Directory
from broker.schema.codec import Codec
from producers.simulator.cast import Cast
from producers.simulator.generator import Simulation
from tests.support.book import Book, as_seeded
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess
from tests.support.proxy import Api, Wire
from tests.support.world import EIGHT

HANG_SECONDS = 5.0
"""Longer than a session of three seconds."""

_TWICE = 0.05
_EARLIER = timedelta(hours=1)
"""So much before its first message is published a simulation begins: nothing is issued in the future."""
_WITHIN_SECONDS = 120.0


class Spool:
    """A simulation's messages for several publishers' programs: a file each, to which is appended what may come next.

    Attributes:
        plans: what to publish, a line a message; all of an owner's in one.
        journals: what each publisher was told.
        book: who is to have what.
        messages: how many different ones were allowed.
        allowed: how many lines; some messages come twice.
    """

    def __init__(self, data: Path, *, publishers: int, seed: int = 11) -> None:
        folder = data / "publishers"
        folder.mkdir(parents=True)
        self.plans = [folder / f"{at}.plan" for at in range(publishers)]
        self.journals = [folder / f"{at}.journal" for at in range(publishers)]
        for file in (*self.plans, *self.journals):
            file.touch()
        self.book = Book(as_seeded((*EIGHT, SECRETARIAT)))
        self._owners = sorted(self.book.bureaus)
        self.messages = 0
        self.allowed = 0
        self._chance = random.Random(seed)
        self._codec = Codec.load()
        cast = Cast.of(Directory(self.book.bureaus.values(), offset=0, installation=None))
        started = SystemClock().now() - _EARLIER
        self._coming = Simulation(seed=seed, start=started, cast=cast).messages()

    def allow(self, more: int) -> None:
        """Let so many more messages be published; one in twenty twice."""
        lines: list[list[str]] = [[] for _ in self.plans]
        for _ in range(more):
            message = next(self._coming).message
            self.book.note(message, self._codec.encode(message))
            times = 2 if self._chance.random() < _TWICE else 1
            at = self._owners.index(message.owner) % len(self.plans)
            lines[at] += [message.model_dump_json()] * times
            self.messages += 1
            self.allowed += times
        for plan, added in zip(self.plans, lines, strict=True):
            with plan.open("a") as out:
                out.writelines(f"{line}\n" for line in added)

    def told(self) -> list[tuple[str, str]]:
        """Message id and origin of everything that publishers were told is accepted."""
        lines = [line for journal in self.journals for line in journal.read_text().splitlines()]
        return [(message_id, origin) for _, message_id, origin in map(str.split, lines)]

    def is_told(self) -> bool:
        """Whether publishers were told of everything that was allowed."""
        return len(self.told()) == self.allowed


class Crew:
    """Processes that are started again whenever they end, as a supervisor does, until they are stopped."""

    def __init__(self, members: list[ServiceProcess]) -> None:
        self.members = {member.name: member for member in members}
        self.restarts: Counter[str] = Counter()
        self._aside: set[str] = set()
        self._keeping: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Start all of them; stop them at the end."""
        for member in self.members.values():
            member.start()
        self._keeping = asyncio.create_task(self._keep())
        try:
            yield
            await self.stop()
        finally:
            await self._keep_no_more()
            for member in self.members.values():
                member.end()

    async def stop(self) -> None:
        """Stop all of them, at once; each finishes what is in flight, and ends well."""
        await self._keep_no_more()
        await asyncio.gather(*(asyncio.to_thread(member.stop) for member in self.members.values()))

    async def _keep_no_more(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    @contextlib.contextmanager
    def aside(self, name: str) -> Iterator[ServiceProcess]:
        """Leave one member to whoever asks, for a moment."""
        self._aside.add(name)
        try:
            yield self.members[name]
        finally:
            self._aside.discard(name)

    async def _keep(self) -> None:
        while True:
            for name, member in self.members.items():
                if name not in self._aside and member.process is not None and member.process.poll() is not None:
                    self.restarts[name] += 1
                    member.start()
            await asyncio.sleep(0.3)


class Faults:
    """Makes faults, and counts those that took place.

    Attributes:
        counts: by kind.
        took_effect: answers to late requests that were not refused.
    """

    def __init__(self, wire: Wire, cluster: EmbeddedCluster, crew: Crew, spool: Spool, chance: random.Random) -> None:
        self._wire = wire
        self._cluster = cluster
        self._crew = crew
        self._spool = spool
        self._chance = chance
        self._node = asyncio.Lock()
        self.counts: Counter[str] = Counter()
        self.took_effect: list[str] = []

    @property
    def total(self) -> int:
        """How many took place."""
        return self.counts.total()

    async def own_death(self, router: int, fault: str) -> None:
        """Let a router kill itself at a named point: `<point>:<pass>:SIGKILL`."""
        with self._crew.aside(f"router-{router}") as victim:
            before = victim.faults_passed()
            deadline = time.monotonic() + _WITHIN_SECONDS
            victim.end()
            victim.start(fault=fault)
            while victim.faults_passed() == before:
                assert time.monotonic() < deadline, f"no router passed {fault}: {victim.tail()}"
                if victim.process is not None and victim.process.poll() is not None:
                    victim.start(fault=fault)  # it ended for another reason: put out, or Kafka was away
                await self._traffic()
        self.counts[fault.partition(":")[0]] += 1

    async def kill(self, name: str) -> None:
        """SIGKILL at a random moment; no fault if it has ended by itself just now."""
        await asyncio.sleep(self._chance.uniform(0.2, 1.5))
        with self._crew.aside(name) as victim:
            if victim.is_running:
                victim.end()
                self.counts[f"killed {name}"] += 1

    async def hang(self, name: str) -> None:
        """SIGSTOP for longer than a session lasts; no fault if it has ended by itself just now."""
        with self._crew.aside(name) as victim:
            if victim.is_running:
                await victim.hang(HANG_SECONDS)
                self.counts[f"hung {name}"] += 1

    async def hold(self, api: Api) -> None:
        """Hold back a router's request until it was given up and a successor has the shard; then let it arrive."""
        held = self._wire.hold(api, client="router-")
        await self._until(held.sprung, f"a {api.name} of a router")
        assert held.request is not None
        client = held.request.client_id
        await self._until(held.given_up, f"{api.name} of {client} was given up")
        # Until a node has answered that, nobody is fenced: what arrives earlier is aborted with the rest.
        await self._until(held.taken_over, f"a successor of {client} took the shard")
        await asyncio.sleep(self._chance.uniform(0.3, 1.0))  # into whatever the successor does by then
        with contextlib.suppress(ConnectionResetError, TimeoutError):  # its node was killed meanwhile
            if not all(await held.deliver()):
                self.took_effect.append(f"{api.name} of {client}")
            self.counts[f"late {api.name}"] += 1

    async def lose_answer(self, api: Api, client: str = "router-") -> None:
        """Let a router's request take effect, and never answer it."""
        trap = self._wire.lose_answer(api, client=client)
        await self._until(trap.sprung, f"a {api.name} of a router")
        self.counts[f"answer lost to {api.name}"] += 1

    async def cut(self) -> None:
        """Break every connection to a node that has some: after a node was killed, nobody has to speak to it."""
        await asyncio.sleep(self._chance.uniform(0.2, 1.0))
        nodes = [*self._cluster.nodes]
        self._chance.shuffle(nodes)
        if any(map(self._wire.cut, nodes)):
            self.counts["cut"] += 1

    async def slow(self) -> None:
        """Delay everything, then let nothing pass for a moment."""
        self._wire.delay_seconds = 0.1
        await asyncio.sleep(2)
        self._wire.delay_seconds = 0.0
        self._wire.stall()
        await asyncio.sleep(2)
        self._wire.flow()
        self.counts["slow"] += 1

    async def node_killed(self, node: int) -> None:
        """SIGKILL to a Kafka node; it is started again after some seconds."""
        async with self._node:
            await asyncio.to_thread(self._cluster.kill, node)
            self._wire.cut(node)
            await self._traffic(self._chance.uniform(1, 4))
            await asyncio.to_thread(self._cluster.restart, node)
            self.counts["node killed"] += 1
            await in_sync(self._cluster)

    async def node_hung(self, node: int) -> None:
        """SIGSTOP to a Kafka node, for longer than its own session."""
        async with self._node:
            pid = self._cluster.nodes[node].pid
            os.kill(pid, signal.SIGSTOP)
            try:
                await self._traffic(HANG_SECONDS)
            finally:
                os.kill(pid, signal.SIGCONT)
            self.counts["node hung"] += 1
            await in_sync(self._cluster)

    async def _until(self, event: asyncio.Event, what: str) -> None:
        """Wait for it, with messages coming."""
        deadline = time.monotonic() + _WITHIN_SECONDS
        while not event.is_set():
            assert time.monotonic() < deadline, f"not within {_WITHIN_SECONDS} s: {what}"
            await self._traffic()

    async def _traffic(self, seconds: float = 0.3) -> None:
        """Pass the time, and see that there is something to be routed."""
        if await asyncio.to_thread(self._spool.is_told):
            self._spool.allow(5)
        await asyncio.sleep(seconds)


async def in_sync(cluster: EmbeddedCluster, *, seconds: float = 90) -> None:
    """Wait until every replica of every partition is in sync: only then may the next node go away."""
    await asyncio.to_thread(eventually, lambda: _in_sync(cluster), seconds=seconds, what="every replica is in sync")


def _in_sync(cluster: EmbeddedCluster) -> bool:
    try:
        admin = AdminClient({"bootstrap.servers": cluster.own_address(1), "log_level": 0})
        topics = admin.list_topics(timeout=5).topics.values()
    except KafkaException:
        return False
    partitions = [one for topic in topics for one in topic.partitions.values()]
    return bool(partitions) and all(len(one.isrs) == len(one.replicas) for one in partitions)
