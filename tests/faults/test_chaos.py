"""Everything is killed, stopped, cut off and held back while messages pass through three Kafka nodes.

The short form is part of `make test`; `make chaos` runs the long one (NOTICEWIRE_CHAOS=long): 5,000 messages, 200
faults and more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import EmbeddedCluster
from broker.settings import KafkaSettings
from tests.support.chaos import Crew, Faults, Spool, in_sync
from tests.support.everybody import check_everything, programs, services, settled
from tests.support.processes import write_endpoints
from tests.support.proxy import Api, Wire, wired
from tests.support.world import World, a_world_on

LONG = os.environ.get("NOTICEWIRE_CHAOS") == "long"
SEED = int(os.environ.get("NOTICEWIRE_CHAOS_SEED", "7"))
MESSAGES, FAULTS = (5_000, 200) if LONG else (250, 25)
EACH_WAVE = 120 if LONG else 20
SETTLES_SECONDS = 600 if LONG else 120

POINTS = ("taking", "folding", "before_produce", "after_produce", "before_commit", "after_commit", "before_cache")
"""Where a router can be told to kill itself."""

DEATHS_AT_POINTS = 12
"""The least of them in either form."""

NODE_SHARE = 0.3
"""Of the long form's waves: a node is away for some ten seconds."""

Fault = Callable[[Faults], Coroutine[Any, Any, None]]
Wave = tuple[Fault, ...]

WAVES: tuple[Wave, ...] = (
    (
        lambda f: f.own_death(0, "after_produce:1:SIGKILL"),
        lambda f: f.own_death(1, "before_produce:2:SIGKILL"),
        lambda f: f.kill("audit"),
    ),
    (
        lambda f: f.hold(Api.END_TXN),
        lambda f: f.hold(Api.PRODUCE),
        lambda f: f.hold(Api.ADD_PARTITIONS_TO_TXN),
        lambda f: f.kill("bureaus-0"),
        lambda f: f.kill("bureaus-1"),
    ),
    (lambda f: f.node_killed(1), lambda f: f.kill("publisher-0")),
    (
        lambda f: f.own_death(0, "after_commit:1:SIGKILL"),
        lambda f: f.own_death(1, "folding:1:SIGKILL"),
        lambda f: f.kill("tracker"),
    ),
    (lambda f: f.lose_answer(Api.END_TXN), lambda f: f.lose_answer(Api.ADD_PARTITIONS_TO_TXN), lambda f: f.cut()),
    (
        lambda f: f.own_death(0, "before_cache:1:SIGKILL"),
        lambda f: f.own_death(1, "taking:1:SIGKILL"),
        lambda f: f.kill("publisher-1"),
    ),
    (lambda f: f.own_death(0, "taking:2:SIGKILL"), lambda f: f.own_death(1, "before_commit:2:SIGKILL")),
    (
        lambda f: f.node_hung(2),
        lambda f: f.own_death(0, "before_commit:1:SIGKILL"),
        lambda f: f.own_death(1, "after_produce:2:SIGKILL"),
        lambda f: f.hang("tracker"),
    ),
    (lambda f: f.own_death(0, "folding:2:SIGKILL"), lambda f: f.own_death(1, "after_commit:2:SIGKILL")),
)
"""What happens at once, wave after wave, in the short form; each point that has a name is among them."""


def at_random(chance: random.Random) -> Wave:
    """Four or five faults that can happen at once: each router's, two others', now and then a node's."""
    programs = ["tracker", "audit", "bureaus-0", "bureaus-1", "publisher-0", "publisher-1"]
    chance.shuffle(programs)
    wave: list[Fault] = []
    for router in range(2):
        point = f"{chance.choice(POINTS)}:{chance.randint(1, 4)}:SIGKILL"
        name = f"router-{router}"
        wave.append(
            chance.choice(
                (
                    partial(Faults.own_death, router=router, fault=point),
                    partial(Faults.own_death, router=router, fault=point),
                    partial(Faults.kill, name=name),
                    partial(Faults.hang, name=name),
                )
            )
        )
    wire: tuple[Fault, ...] = (
        *(partial(Faults.hold, api=api) for api in (Api.END_TXN, Api.PRODUCE, Api.ADD_PARTITIONS_TO_TXN)),
        *(partial(Faults.lose_answer, api=api) for api in (Api.END_TXN, Api.PRODUCE)),
        Faults.cut,
        Faults.slow,
    )
    wave.append(chance.choice(wire))
    wave.append(partial(Faults.kill, name=programs[0]))
    wave.append(partial(chance.choice((Faults.kill, Faults.hang)), name=programs[1]))
    if chance.random() < NODE_SHARE:
        node = chance.randint(1, 3)
        wave.append(partial(chance.choice((Faults.node_killed, Faults.node_hung)), node=node))
    return tuple(wave)


@dataclass(kw_only=True)
class Scene:
    """Three nodes behind a proxy, an installation on them, and everybody at work."""

    world: World
    cluster: EmbeddedCluster
    wire: Wire
    crew: Crew
    spool: Spool


@pytest.mark.slow
@pytest.mark.timeout(7200 if LONG else 420)
@pytest.mark.xdist_group("cluster")
async def test_nothing_is_lost_or_doubled_whatever_happens(tmp_path: Path) -> None:
    """Each message once in each inbox, each offset in one entry, equal states, a whole archive, nothing forgotten."""
    chance = random.Random(SEED)
    async with a_scene(tmp_path) as scene:
        faults = Faults(scene.wire, scene.cluster, scene.crew, scene.spool, chance)
        began = time.monotonic()
        await raise_chaos(scene, faults, chance)
        sys.stderr.write(f"\n{faults.total} faults in {time.monotonic() - began:.0f} s: {dict(faults.counts)}\n")
        scene.spool.allow(max(0, MESSAGES - scene.spool.messages))
        await settled(scene.world, scene.spool, seconds=SETTLES_SECONDS)
        await scene.crew.stop()

        assert faults.total >= FAULTS, faults.counts
        assert sum(faults.counts[point] for point in POINTS) >= DEATHS_AT_POINTS, faults.counts
        assert not faults.took_effect, "a request that came late took effect"
        assert scene.spool.messages >= MESSAGES
        await check_everything(scene.world, scene.spool)


async def raise_chaos(scene: Scene, faults: Faults, chance: random.Random) -> None:
    """Wave after wave of faults, with messages in each."""
    for wave in WAVES:
        await _wave(scene, faults, wave)
    while faults.total < FAULTS:  # in the long form only
        await _wave(scene, faults, at_random(chance))


async def _wave(scene: Scene, faults: Faults, wave: Wave) -> None:
    scene.spool.allow(EACH_WAVE)
    began, before = time.monotonic(), faults.total
    async with asyncio.TaskGroup() as group:
        for fault in wave:
            group.create_task(fault(faults))
    await in_sync(scene.cluster)
    sys.stderr.write(f"\nwave of {faults.total - before} faults: {time.monotonic() - began:.1f} s")


@contextlib.asynccontextmanager
async def a_scene(data: Path) -> AsyncIterator[Scene]:
    """Start everything; stop it at the end, whatever happened."""
    async with contextlib.AsyncExitStack() as stack:
        wire = await stack.enter_async_context(wired(3))
        cluster = EmbeddedCluster(data / "kafka", advertised=wire.advertised)
        for node in cluster.nodes:
            wire.lead_to(node, cluster.own_address(node))
        stack.push_async_callback(asyncio.to_thread, cluster.stop)
        await asyncio.to_thread(cluster.start)
        kafka = KafkaSettings(
            bootstrap_servers=wire.bootstrap_servers,
            replication=3,
            in_sync_min=2,
            session_timeout=timedelta(seconds=3),
        )
        world = await stack.enter_async_context(a_world_on(kafka, data / "noticewire"))
        write_endpoints(world)
        spool = Spool(world.data, publishers=2)
        crew = Crew([*services(world.data), *programs(world.data, spool)])
        await stack.enter_async_context(crew.at_work())
        yield Scene(world=world, cluster=cluster, wire=wire, crew=crew, spool=spool)
