"""Everybody at work on an installation, each a process of its own; and what must hold in the end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from broker.model.naming import SHARDS
from consumers.audit.service import AuditService
from tests.support.accounts import all_acknowledged, check_given, check_ledger, covered, feed_ends
from tests.support.chaos import Spool
from tests.support.eventually import eventually_async
from tests.support.processes import ServiceProcess
from tests.support.tracking import folded, tracked
from tests.support.world import EIGHT, World

SETTINGS = {
    "NOTICEWIRE_KAFKA__SESSION_TIMEOUT": "PT3S",
    "NOTICEWIRE_KAFKA__HEARTBEAT_INTERVAL": "PT0.5S",
    # Above the five seconds that a member's fetch waits, below the transaction's time-out.
    "NOTICEWIRE_KAFKA__REQUEST_TIMEOUT": "PT6S",
}


def services(data: Path) -> list[ServiceProcess]:
    """Two routers, a tracker, an archive."""
    names = {"router-0": "router", "router-1": "router", "tracker": "tracker", "audit": "audit"}
    return [ServiceProcess(service, data, name, SETTINGS) for name, service in names.items()]


def programs(data: Path, spool: Spool) -> list[ServiceProcess]:
    """Eight bureaus in two programs, and a publisher for each plan."""
    everybody = (*EIGHT, "ipsg")
    receiving, publishing = ("-m", "tests.support.receiving"), ("-m", "tests.support.publishing")
    argv = {
        "bureaus-0": (*receiving, "host", str(data), *everybody[:4]),
        "bureaus-1": (*receiving, "inbox", str(data), *everybody[4:]),
    } | {
        f"publisher-{at}": (*publishing, str(data), str(spool.plans[at]), str(spool.journals[at]))
        for at in range(len(spool.plans))
    }
    return [ServiceProcess("", data, name, SETTINGS, program=program) for name, program in argv.items()]


async def settled(world: World, spool: Spool, *, seconds: float = 120) -> None:
    """Wait until everything allowed is accepted, entered and acknowledged, each step within `seconds`."""
    await entered(world, spool, seconds=seconds)
    await all_acknowledged(world, world.data / "tracker.db", seconds=seconds)


async def entered(world: World, spool: Spool, *, seconds: float = 120) -> None:
    """Wait until everything allowed is accepted and entered, each step within `seconds`."""

    async def probe() -> bool:
        reached, ends = await covered(world), await feed_ends(world)
        return all(reached.get(feed, 0) == end for feed, end in ends.items())

    await eventually_async(
        lambda: asyncio.to_thread(spool.is_told), seconds=seconds, what="the publishers were told of everything"
    )
    await eventually_async(probe, seconds=seconds, what="every feed offset is entered")


async def check_everything(world: World, spool: Spool) -> None:
    """Hold what is on the topics and in the stores against what was published; the services are stopped."""
    await check_given(world, spool.book)
    kinds = await check_ledger(world)
    assert kinds["routed"] == spool.messages
    assert kinds["rejected"] == 0
    await _check_journals(world, spool)
    state = await tracked(world.data / "tracker.db")
    assert len(state) > spool.messages
    assert state == await folded(world.kafka, [*EIGHT, "ipsg"])
    await check_archive(world)


async def _check_journals(world: World, spool: Spool) -> None:
    """What a publisher was told is accepted was routed from there, or is a repeat of what was."""
    entered = {
        f"{one.value['topic']}/{one.value['partition']}/{one.value['from_offset']}": one.value
        for one in await world.read_ledger(SHARDS)
    }
    told = spool.told()
    assert len(told) == spool.allowed
    for message_id, origin in told:
        assert str(entered[origin]["message_id"]) == message_id
        assert entered[origin]["kind"] in {"routed", "repeat"}
    routed = Counter(str(one["message_id"]) for one in entered.values() if one["kind"] == "routed")
    assert routed == Counter({message_id for message_id, _ in told})


async def check_archive(world: World) -> None:
    """The archive, which was killed, is whole: `audit verify` holds every record of the cluster against it."""
    service = AuditService(
        client=world.link.client,
        archive=world.data / "archive",
        signer=world.keys.signer("audit"),
        installation=world.installation,
    )
    await service.run_to_end()
    command = [sys.executable, "-m", "broker.cli.main", "audit", "verify", "--data", str(world.data), "--json"]
    verified = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    report = json.loads(verified.stdout)
    assert verified.returncode == 0, report["findings"][:10]
    assert report["behind"] == 0
    assert report["counts"]["compared_live"] > 0
