"""Build and run a router."""

from __future__ import annotations

import asyncio
import os

from broker.cli.context import Context
from broker.cli.services.common import founded, membership, shard_problems
from broker.cli.services.observing import Watch, watched
from broker.model.ledger import WithheldReason
from broker.model.outcome import BROKER
from broker.model.rejection import RejectReason
from broker.observe.counting import RouterMetrics
from broker.observe.faultpoints import faults_from
from broker.observe.health import Health
from broker.observe.metrics import Metrics, SharingMetrics
from broker.transport.kafka import RawClient
from consumers.router.service import RouterService


async def run(context: Context, client: RawClient, stopping: asyncio.Event, *, observe_port: int) -> None:
    """Route the shards that the group gives, until told to stop."""
    metrics = Metrics("router", Health())
    sharing = SharingMetrics(metrics)
    counting = RouterMetrics(metrics, withheld_reasons=WithheldReason, reject_reasons=RejectReason)
    watch = Watch(metrics=metrics)
    async with watched(watch, client, port=observe_port):
        codec = context.codec()
        directory, installation = await founded(context, client, codec)
        router = RouterService(
            client=client,
            kafka=context.kafka,
            settings=context.settings.router,
            directory=directory,
            codec=codec,
            installation=installation,
            signer=context.keys.signer(BROKER),
            cache_folder=context.data / "router",
            faults=faults_from(os.environ),
            observer=counting,
            session_observer=counting,
            sharing_observer=sharing,
        )
        async with membership(context, "router") as member:
            watch.positions = lambda: router.positions
            watch.problems = lambda: shard_problems(member, router.ready)
            watch.on_beat = lambda: sharing.state(
                owned=len(member.assigned), ready=len(router.ready), halted=len(member.halted)
            )
            await router.run(member, stopping)
