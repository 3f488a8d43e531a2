"""Build and run a tracker."""

from __future__ import annotations

import asyncio

from broker.cli.context import Context
from broker.cli.services.common import founded, membership, shard_problems
from broker.cli.services.observing import Watch, watched
from broker.model.receipt import DeclineReason, Stage
from broker.observe.counting import TrackerMetrics
from broker.observe.health import Health
from broker.observe.metrics import Metrics, SharingMetrics
from broker.store.engine import open_store, sqlite_url
from broker.transport.kafka import RawClient
from consumers.tracker.judge import Reason
from consumers.tracker.service import TrackerService


async def run(context: Context, client: RawClient, stopping: asyncio.Event, *, observe_port: int) -> None:
    """Track the shards that the group gives, until told to stop."""
    metrics = Metrics("tracker", Health())
    sharing = SharingMetrics(metrics)
    watch = Watch(metrics=metrics, committed=lambda topic: topic.startswith("ledger."))
    async with watched(watch, client, port=observe_port):
        codec = context.codec()
        directory, _ = await founded(context, client, codec)
        engine = await open_store(context.settings.tracker.url or sqlite_url(context.data / "tracker.db"))
        try:
            counting = TrackerMetrics(metrics, stages=Stage, reasons=Reason, decline_reasons=DeclineReason)
            tracker = TrackerService(
                client=client,
                engine=engine,
                directory=directory,
                codec=codec,
                observer=counting,
                sharing_observer=sharing,
            )
            async with membership(context, "tracker") as member:
                watch.positions = lambda: tracker.positions
                watch.problems = lambda: (*counting.problems, *shard_problems(member, frozenset(tracker.holdings)))
                watch.on_beat = lambda: sharing.state(
                    owned=len(member.assigned), ready=len(tracker.holdings), halted=len(member.halted)
                )
                await tracker.run(member, stopping)
        finally:
            await engine.dispose()
