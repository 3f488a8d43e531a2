"""A message's way from a publisher to a bureau's receipt, and the trace that each record on it names.

    python -m tests.support.tracing BOOTSTRAP_SERVERS PREFIX DATA

As a program it goes that way twice, the second time through a journal, and prints the traces as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

from broker.clock import SystemClock
from broker.model.diffusion import Diffusion
from broker.model.naming import acks, inbox
from broker.model.notice import Notice
from broker.model.receipt import Stage
from broker.observe.tracing import IS_INSTALLED
from broker.transport.inbox import InboxDecoder
from broker.transport.kafka import TopicPartition
from broker.transport.reader import RawReader
from consumers.bureau.client import Inbox
from consumers.bureau.desk import Desk
from consumers.bureau.state import BureauState
from producers.client import Producer
from tests.support.builders import a_locate_diffusion, bureaus
from tests.support.plain import PlainRecord, read
from tests.support.world import World, a_world

BUREAUS = ("zw", "ke")


async def traces_of(world: World, *messages: Notice | Diffusion, journal: Path | None = None) -> dict[str, list[str]]:
    """Publish messages, route them, let Kenya accept them at one go; return each record's `traceparent`, by topic.

    Args:
        world: with Zimbabwe and Kenya.
        messages: of Zimbabwe, to Kenya, on one shard.
        journal: of the producer.
    """
    async with Producer(
        signers=world.keys,
        follower=world.link.follower,
        publisher=world.link.publisher,
        codec=world.link.codec,
        journal=journal,
    ) as producer:
        for message in messages:
            await producer.publish(message)
    await world.route(*{message.shard for message in messages})
    await accept(world, "ke")
    region = messages[0].region
    topics = [f"diffusions.{region}", inbox("ke"), inbox("zw"), acks(region)]
    return {topic: [_trace(record) for record in await read(world.kafka, topic)] for topic in topics}


async def accept(world: World, bureau: str) -> None:
    """Accept everything in a bureau's inbox; one record of receipts a shard."""
    state = BureauState.open(world.data / "bureaus" / f"{bureau}.db", bureau=bureau, installation=world.installation)
    desk = Desk(
        state=state,
        decoder=InboxDecoder(world.link.codec),
        codec=world.link.codec,
        signer=world.keys.signer(bureau),
        installation=world.installation,
        clock=SystemClock(),
    )
    reader = RawReader(
        world.link.client,
        {TopicPartition(inbox(bureau), 0): state.position},
        committed=True,
        lane="tracing",
        max_wait=timedelta(milliseconds=100),
    )
    client = Inbox(desk=desk, reader=reader, follower=world.link.follower, publisher=world.link.publisher, follow=False)
    async with client:
        async for delivery in client:
            if delivery.kind.takes_receipts:
                await client.acknowledge(delivery, Stage.ACCEPTED)
    state.close()


def _trace(record: PlainRecord) -> str:
    return record.headers["traceparent"].decode()


async def _main(bootstrap_servers: str, prefix: str, data: str) -> None:
    async with a_world(bootstrap_servers, prefix, Path(data), bureaus=BUREAUS) as world:
        first = await traces_of(world, a_locate_diffusion(circulation=bureaus("ke")))
        later = await traces_of(world, a_locate_diffusion(circulation=bureaus("ke")), journal=Path(data) / "journal.db")
    assert any(name.startswith("opentelemetry.") for name in sys.modules) == IS_INSTALLED
    print(json.dumps({"installed": IS_INSTALLED, "first": first, "later": later}))  # noqa: T201 - read by the test


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
