"""The drill: a backup during traffic, put back elsewhere, on which every service goes on."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker.cli.backup import backup
from broker.cli.restore import restore
from broker.schema.codec import Codec
from broker.store.engine import open_store, sqlite_url
from broker.store.positions import next_offsets
from broker.trust.keys import KeyRing
from consumers.audit.verify import verify
from consumers.bureau.state import BureauState
from tests.support.builders import a_warning_diffusion, bureaus
from tests.support.eventually import eventually
from tests.support.processes import ServiceProcess, write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


async def _publish(world: World, begun: asyncio.Event) -> None:
    for number in range(1, 10_000):
        await world.publish(a_warning_diffusion(number=f"zw-d-2026-{number:06d}", circulation=bureaus("ke", "fr")))
        if number == 20:
            begun.set()
        await asyncio.sleep(0.01)


def _archived(data: Path) -> int:
    state = data / "archive" / "state.json"
    return int(json.loads(state.read_bytes())["size"]) if state.exists() else 0


def _tracked(data: Path) -> int:
    """How many messages the tracker has written down."""
    if not (data / "tracker.db").exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{data / 'tracker.db'}?mode=ro", uri=True)) as store:
            return int(store.execute("SELECT count(*) FROM messages").fetchone()[0])
    except sqlite3.OperationalError:  # its tables are not made yet
        return 0


async def test_a_backup_during_traffic_is_restored_and_goes_on(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """Stores open, the archive verifies without Kafka, the keys sign, and tracker and audit read on from there."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path / "data", bureaus=("zw", "ke", "fr")) as world:
        write_endpoints(world)
        BureauState.open(world.data / "bureaus" / "ke.db", bureau="ke", installation=world.installation).close()
        services = [ServiceProcess(name, world.data, name) for name in ("router", "tracker", "audit")]
        for service in services:
            service.start()
        begun = asyncio.Event()
        traffic = asyncio.create_task(_publish(world, begun))
        try:
            await asyncio.wait_for(begun.wait(), 60)
            for begins in (lambda: _archived(world.data) > 100, lambda: _tracked(world.data) > 0):
                await asyncio.to_thread(eventually, begins, seconds=90, what="archive and tracker have begun")
            await asyncio.to_thread(backup, tmp_path / "backup", data=world.data)
        finally:
            traffic.cancel()
            for service in services:
                await asyncio.to_thread(service.end)
        again = tmp_path / "again"
        restore(tmp_path / "backup", data=again)

        keys = KeyRing(again / "keys")
        report = verify(again / "archive", public=keys.signer("audit").public, codec=Codec.load())
        assert report.holds, report.findings
        store = await open_store(sqlite_url(again / "tracker.db"))
        async with store.connect() as connection:
            assert await next_offsets(connection)
        await store.dispose()
        BureauState.open(again / "bureaus" / "ke.db", bureau="ke", installation=world.installation).close()
        before, tracked = _archived(again), _tracked(again)
        assert tracked > 0

        world.data = again
        write_endpoints(world)
        world.keys = keys
        await world.publish(a_warning_diffusion(number="zw-d-2026-990001", circulation=bureaus("ke", "fr")))
        services = [ServiceProcess(name, again, name) for name in ("router", "tracker", "audit")]
        for service in services:
            service.start()
        try:
            for grows in (lambda: _archived(again) > before, lambda: _tracked(again) > tracked):
                await asyncio.to_thread(eventually, grows, seconds=90, what="the restored archive and store grow")
        finally:
            for service in services:
                await asyncio.to_thread(service.end)
        assert verify(again / "archive", public=keys.signer("audit").public, codec=Codec.load()).holds
