"""Requests that arrive after their client gave them up and a successor took the shard: they do no harm.

A broker may carry out a request after its connection broke (KAFKA-17754, and Jepsen's report on Bufstream). A proxy
makes that happen at the worst moment: while the successor has a transaction open under the same transactional id.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedCluster
from broker.errors import UnavailableError
from broker.model.message import Message
from broker.model.naming import Shard, inbox
from broker.observe.faultpoints import Faults
from broker.settings import KafkaSettings
from consumers.router.shard import ShardRouter
from tests.support.builders import a_warning_diffusion, bureaus
from tests.support.kafka import plain_read
from tests.support.proxy import Api, Trap, Wire, wired
from tests.support.world import World, a_world_on

pytestmark = [
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("cluster"),
]

REQUEST_SECONDS = 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def wire(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Wire]:
    """One node with a proxy before it."""
    async with wired(1) as wire:
        cluster = EmbeddedCluster(tmp_path_factory.mktemp("late") / "kafka", nodes=1, advertised=wire.advertised)
        wire.lead_to(1, cluster.own_address(1))
        await asyncio.to_thread(cluster.start)
        try:
            yield wire
        finally:
            await asyncio.to_thread(cluster.stop)


@pytest_asyncio.fixture(loop_scope="module")
async def world(wire: Wire, tmp_path: Path) -> AsyncIterator[World]:
    """A small world whose requests are given up early."""
    kafka = KafkaSettings(
        bootstrap_servers=wire.bootstrap_servers,
        prefix=f"t{secrets.token_hex(3)}-",
        session_timeout=timedelta(seconds=6),
        request_timeout=timedelta(seconds=REQUEST_SECONDS),
    )
    async with a_world_on(kafka, tmp_path, bureaus=("zw", "ke")) as world:
        yield world


def a_diffusion(serial: int, revision: int) -> Message:
    """A diffusion's first message or a later one, from `zw` to `ke`."""
    event = "sent" if revision == 1 else "revised"
    number = f"zw-d-2026-{serial:06d}"
    return a_warning_diffusion(number=number, event=event, revision=revision, circulation=bureaus("ke"))


SHARD: Shard = a_diffusion(1, 1).shard


def a_router(world: World, name: str, *, faults: Faults | None = None) -> ShardRouter:
    """A router of the shard with a cache of its own, and nobody to tell it whose the shard is."""
    return world.router(SHARD, cache=name, faults=faults)


async def check(world: World, messages: list[Message]) -> None:
    """Each message is in the inbox once and in order, and each offset of the feed is in one entry."""
    assert await world.messages_in("ke") == [str(message.message_id) for message in messages]
    entries = [one.value for one in await world.read_ledger([SHARD])]
    assert [(one["kind"], one["from_offset"], one["next_offset"]) for one in entries] == [
        ("routed", offset, offset + 1) for offset in range(len(messages))
    ]


@pytest.mark.parametrize("api", [Api.END_TXN, Api.PRODUCE, Api.ADD_PARTITIONS_TO_TXN], ids=lambda api: api.name)
async def test_a_router_s_request_that_arrives_late_is_refused(api: Api, wire: Wire, world: World) -> None:
    """It arrives within the successor's open transaction: the node refuses it; each message once, the ledger whole."""
    messages = [a_diffusion(1, revision) for revision in (1, 2, 3)]
    late: list[int] = []
    trap: Trap | None = None

    async def arrive(point: str) -> None:
        if point == "after_produce" and trap is not None and not late:
            late.extend(await trap.deliver())

    await world.route(SHARD)  # a cluster's very first transactional producer waits for a topic to be made
    await world.let_go()
    first, second = a_router(world, "first"), a_router(world, "second", faults=arrive)
    await first.take()
    await world.publish(messages[0])
    assert await first.route_poll() == 1
    await world.publish(messages[1])
    held = wire.hold(api, client=f"router-{SHARD}")
    with pytest.raises(UnavailableError):
        await first.route_poll()
    await first.let_go()
    async with asyncio.timeout(60):
        await held.given_up.wait()

    await second.take()
    trap = held
    assert await second.route_poll() == 1
    await world.publish(messages[2])
    assert await second.route_poll() == 1
    await second.let_go()

    assert late, "the request did not arrive"
    assert all(late), f"it took effect: {late}"
    await check(world, messages)


async def test_a_publisher_s_record_that_arrives_late_is_on_the_feed_once(wire: Wire, world: World) -> None:
    """The publisher sends it again and is told that it is accepted; the first copy comes later, and is not written."""
    messages = [a_diffusion(2, revision) for revision in (1, 2)]
    await world.publish(a_diffusion(3, 1))  # the producer has its id
    held = wire.hold(Api.PRODUCE, client="test")

    origin, _ = await world.publish(*messages)
    errors = await held.deliver()

    assert held.given_up.is_set()
    on_feed = [
        record for record in await plain_read(world.kafka, origin.topic) if record.key == messages[0].number.encode()
    ]
    assert len(on_feed) == len(messages), f"the node's answer to the late one: {errors}"
    await world.route(*{message.shard for message in messages})
    ids = [str(message.message_id) for message in messages]
    assert [one for one in await world.messages_in("ke") if one in ids] == ids
    assert len(await plain_read(world.kafka, inbox("ke"))) >= len(ids)
