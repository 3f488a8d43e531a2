"""Two routers that both believe that a shard is theirs: the newer one has it, and nothing is doubled or lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.errors import FencedError
from broker.model.message import Message
from broker.model.naming import Shard, inbox
from broker.observe.faultpoints import Faults
from consumers.router.shard import ShardRouter
from tests.support.builders import a_warning_diffusion, bureaus
from tests.support.kafka import plain_read
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

NUMBER = "zw-d-2026-000001"


def a_diffusion(revision: int) -> Message:
    """The diffusion's first message or a later one, from `zw` to `ke`."""
    event = "sent" if revision == 1 else "revised"
    return a_warning_diffusion(number=NUMBER, event=event, revision=revision, circulation=bureaus("ke"))


SHARD: Shard = a_diffusion(1).shard


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    """A small world."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke")) as world:
        yield world


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


async def test_the_second_router_fences_the_first(world: World) -> None:
    """Whoever takes the shard last has it; the other finds out at its next transaction, and has written nothing."""
    messages = [a_diffusion(revision) for revision in (1, 2, 3)]
    first, second = a_router(world, "first"), a_router(world, "second")
    await world.route(SHARD)  # a cluster's very first transactional producer waits for a topic to be made
    await world.let_go()
    await first.take()
    await world.publish(messages[0])
    assert await first.route_poll() == 1

    await second.take()
    await world.publish(messages[1])
    with pytest.raises(FencedError):
        await first.route_poll()
    await first.let_go()
    assert await second.route_poll() == 1
    await world.publish(messages[2])
    assert await second.route_poll() == 1
    await second.let_go()

    await check(world, messages)


async def test_what_a_fenced_router_had_produced_is_aborted(world: World) -> None:
    """Fenced between produce and commit, the first router's copies are never to be read; the second's are, once."""
    message = a_diffusion(1)
    second = a_router(world, "second")
    passed: list[str] = []

    async def fence(point: str) -> None:
        passed.append(point)
        if point == "after_produce":
            await second.take()

    first = a_router(world, "first", faults=fence)
    await world.route(SHARD)
    await world.let_go()
    await first.take()
    await world.publish(message)

    with pytest.raises(FencedError):
        await first.route_poll()
    await first.let_go()
    assert await second.route_poll() == 1
    await second.let_go()

    assert passed[-2:] == ["after_produce", "before_commit"]
    written = await plain_read(world.kafka, inbox("ke"), committed=False)
    assert len(written) == 2, "the first router has not written its copy"
    await check(world, [message])
