"""Build and run a router."""

from __future__ import annotations

import asyncio
import os

from broker.cli.context import Context
from broker.cli.services.common import founded, membership
from broker.model.outcome import BROKER
from broker.observe.faultpoints import faults_from
from broker.schema.codec import Codec
from broker.transport.kafka import RawClient
from consumers.router.service import RouterService


async def run(context: Context, client: RawClient, stopping: asyncio.Event) -> None:
    """Route the shards that the group gives, until told to stop."""
    codec = Codec.load()
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
    )
    async with membership(context, "router") as member:
        await router.run(member, stopping)
