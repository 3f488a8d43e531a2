"""Build and run the archive."""

from __future__ import annotations

import asyncio

from broker.cli.context import Context
from broker.cli.services.common import founded
from broker.members.seed import AUDIT
from broker.schema.codec import Codec
from broker.transport.kafka import RawClient
from broker.transport.publisher import Publisher
from consumers.audit.service import AuditService


async def run(context: Context, client: RawClient, stopping: asyncio.Event) -> None:
    """Archive every topic, until told to stop."""
    _, installation = await founded(context, client, Codec.load())
    async with Publisher(context.kafka, client_id="noticewire-audit") as publisher:
        audit = AuditService(
            client=client,
            archive=context.data / "archive",
            signer=context.keys.signer(AUDIT),
            installation=installation,
            publisher=publisher,
        )
        await audit.run(stopping)
