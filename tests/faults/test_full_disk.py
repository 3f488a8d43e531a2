"""A disk fills up, and is emptied: who writes files says so, waits, loses nothing, and goes on by itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from broker.model.naming import SHARDS, Region, Shard, acks, partition_of
from broker.observe.listener import HOST, free_row
from broker.transport.kafka import TopicPartition
from consumers.audit.files import Paths
from consumers.router import shard as router_shard
from tests.support.alerting import Scrapes
from tests.support.builders import an_information_diffusion, bureaus
from tests.support.chaos import Crew, Spool
from tests.support.eventually import eventually_async
from tests.support.everybody import check_everything, entered, programs, services, settled
from tests.support.full_disk import LimitedProcess
from tests.support.processes import write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

SERVICES = ("router-0", "tracker", "audit")
WRITERS = (*SERVICES, "bureaus-0", "bureaus-1")

WORDS = {
    "router-0": "The router goes on without a cache",
    "tracker": "Shard unavailable",
    "audit": "Archive waits",
    "bureaus-0": "Bureau waits for its disk",
    "bureaus-1": "Bureau waits for its disk",
}
FILES = {
    "router-0": "router/",
    "tracker": "tracker.db",
    "audit": "archive",
    "bureaus-0": "bureaus/",
    "bureaus-1": "bureaus/",
}
MEND = "make room on its disk"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("faults")
async def test_everybody_waits_for_the_disk(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """Each names its file and the mend; nothing is acknowledged or archived before it is stored; all ends complete."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        write_endpoints(world)
        spool = Spool(world.data, publishers=1)
        first = free_row(len(SERVICES))
        addresses = {name: f"http://{HOST}:{first + at}" for at, name in enumerate(SERVICES)}
        members = {
            one.name: LimitedProcess(one.service, one.data, one.name, one.settings, program=one.program)
            for one in (*services(world.data), *programs(world.data, spool))
            if one.name != "router-1"
        }
        for at, name in enumerate(SERVICES):
            members[name].settings = {**members[name].settings, "NOTICEWIRE_OBSERVE__PORT": str(first + at)}
        crew = Crew([*members.values()])
        async with crew.at_work():
            spool.allow(20)
            await settled(world, spool)
            scrapes = Scrapes()
            await asyncio.to_thread(scrapes.scrape, time.time(), **addresses)
            said, archived = await _receipts(world), await _archived(world)
            for name in WRITERS:
                members[name].fill()

            spool.allow(20)
            await entered(world, spool)  # the router needs no disk
            for name in WRITERS:
                await _says(members[name])
            await _fires(scrapes, addresses)
            assert await _receipts(world) == said
            assert (await _archived(world))["size"] == archived["size"]

            for name in WRITERS:
                members[name].empty()
            spool.allow(20)
            await settled(world, spool)
            await _ready(scrapes, addresses)
        assert crew.restarts == Counter()
        await check_everything(world, spool)
        for member in members.values():
            assert not member.said("Traceback"), member.tail(60)


async def _receipts(world: World) -> dict[TopicPartition, int]:
    """Where the receipts' logs end."""
    return await world.link.client.end_offsets([TopicPartition(acks(region), at) for region in Region for at in (0, 1)])


async def _archived(world: World) -> dict[str, Any]:
    """The archive's committed state, once it holds the directory."""

    async def state() -> dict[str, Any]:
        path = Paths(world.data / "archive").state
        return json.loads(path.read_bytes()) if path.exists() else {}

    return await eventually_async(state, seconds=60, what="something is archived")


async def _says(member: LimitedProcess) -> None:
    """Wait until its log names the file and the mend in one line."""
    wanted = (WORDS[member.name], FILES[member.name], MEND)

    async def told() -> bool:
        lines = member.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return any(all(word in line for word in wanted) for line in lines)

    await eventually_async(told, seconds=60, what=f"{member.name} says that its disk is full")


async def _fires(scrapes: Scrapes, addresses: dict[str, str]) -> None:
    async def fires() -> bool:
        await asyncio.to_thread(scrapes.scrape, time.time(), **addresses)
        firing = scrapes.firing()
        failing = {one["service"] for one in firing.get("NoticewireStorageFails", ())}
        unready = {one["service"] for one in firing.get("NoticewireServiceNotReady", ())}
        return failing == {"router", "tracker", "audit"} and unready == {"tracker", "audit"}

    await eventually_async(fires, seconds=60, what="the alerts fire")


async def _ready(scrapes: Scrapes, addresses: dict[str, str]) -> None:
    async def ready() -> bool:
        await asyncio.to_thread(scrapes.scrape, time.time() + 600, **addresses)
        return not {"NoticewireStorageFails", "NoticewireServiceNotReady"} & scrapes.firing().keys()

    await eventually_async(ready, seconds=60, what="no alert fires any more")


def a_question(serial: int) -> Any:
    return an_information_diffusion(number=f"zw-d-2026-{serial:06d}", circulation=bureaus("ke", "fr"))


@pytest.mark.timeout(180)
async def test_the_journal_takes_nothing_that_it_cannot_keep(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """What does not fit is refused with the file and the mend; what was accepted before it, and after, is published."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        write_endpoints(world)
        journal = tmp_path / "publisher" / "journal.db"
        argv = [sys.executable, "-m", "tests.support.accepting", str(world.data), str(journal)]
        program = await asyncio.to_thread(_started, argv, tmp_path / "publisher.log")
        messages = [a_question(serial) for serial in range(6)]
        try:
            said = [await asyncio.to_thread(_accept, program, one) for one in messages[:2]]
            limited = psutil.Process(program.pid)
            limited.rlimit(psutil.RLIMIT_FSIZE, (0, psutil.RLIM_INFINITY))
            refused = [await asyncio.to_thread(_accept, program, one) for one in messages[2:4]]
            limited.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
            said += [await asyncio.to_thread(_accept, program, one) for one in messages[2:]]
            assert program.stdin is not None
            program.stdin.close()
            assert await asyncio.to_thread(program.wait, 60) == 0
        finally:
            program.kill()
            program.wait()
            for pipe in (program.stdin, program.stdout):
                if pipe is not None:
                    pipe.close()

        assert [one["accepted"] for one in said] == [str(one.message_id) for one in messages]
        for one in refused:
            assert one["code"] == "storage"
            assert str(journal) in one["problem"]
            assert MEND in one["problem"]
        assert refused[-1]["failures"] == len(refused)
        await world.route(*SHARDS)
        ids = [str(one.message_id) for one in messages]
        assert Counter(await world.messages_in("ke")) == Counter(ids)
        assert Counter(await world.messages_in("fr")) == Counter(ids)


def _started(argv: list[str], log: Path) -> subprocess.Popen[str]:
    """Start a program whose log lies on the same disk: that it cannot be written, either, must end nothing."""
    with log.open("ab") as out:
        return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True)


def _accept(program: subprocess.Popen[str], message: Any) -> dict[str, Any]:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(message.model_dump_json() + "\n")
    program.stdin.flush()
    said: dict[str, Any] = json.loads(program.stdout.readline())
    return said


async def test_a_router_gets_its_cache_back(
    kafka: SharedKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router that the disk gave no cache routes with its memory, and puts all of it into one once there is room."""
    monkeypatch.setattr(router_shard, "RENEW_SECONDS", 0.0)
    shard = Shard(Region.AFRICA, 0)
    numbers = [at for at in range(100) if partition_of(a_question(at).number.encode()) == shard.partition]
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        blocked = world.data / "router"
        blocked.write_text("no folder can be here")
        await world.publish(a_question(numbers[0]))
        await world.route(shard)
        blocked.unlink()
        await world.publish(a_question(numbers[1]))
        await world.route(shard)

        with contextlib.closing(sqlite3.connect(blocked / f"{shard}.db")) as cache:
            cached = {number for (number,) in cache.execute("SELECT number FROM notices")}
        assert cached == {a_question(at).number for at in numbers[:2]}
