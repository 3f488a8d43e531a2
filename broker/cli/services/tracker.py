"""Build and run a tracker."""

from __future__ import annotations

import asyncio

from broker.cli.context import Context
from broker.cli.services.common import founded, membership
from broker.schema.codec import Codec
from broker.store.engine import open_store, sqlite_url
from broker.transport.kafka import RawClient
from consumers.tracker.service import TrackerService


async def run(context: Context, client: RawClient, stopping: asyncio.Event) -> None:
    """Track the shards that the group gives, until told to stop."""
    codec = Codec.load()
    directory, _ = await founded(context, client, codec)
    engine = await open_store(context.settings.tracker.url or sqlite_url(context.data / "tracker.db"))
    try:
        tracker = TrackerService(client=client, engine=engine, directory=directory, codec=codec)
        async with membership(context, "tracker") as member:
            await tracker.run(member, stopping)
    finally:
        await engine.dispose()
