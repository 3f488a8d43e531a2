from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from broker.errors import CorruptHistoryError, EvictedError, FencedError
from broker.model.naming import SHARDS, SHARDS_TOPIC, Shard
from broker.settings import KafkaSettings
from broker.transport.membership import Lease, Membership, share
from tests.support.eventually import eventually_async
from tests.support.kafka import create_topics
from tests.support.shared_kafka import SharedKafka

ALL = frozenset(SHARDS)


@pytest.fixture
async def settings(kafka: SharedKafka, prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        prefix=prefix,
        session_timeout=timedelta(seconds=2),
        heartbeat_interval=timedelta(milliseconds=300),
    )
    await create_topics(settings, {SHARDS_TOPIC: len(SHARDS)})
    return settings


class Member:
    """A member of the group whose work is to note that it runs."""

    def __init__(self, settings: KafkaSettings, instance: str) -> None:
        self.membership = Membership(kafka=settings, group="routers", instance=instance)
        self.stopping = asyncio.Event()
        self.running: set[Shard] = set()
        self.starts: Counter[Shard] = Counter()
        self.fail: dict[Shard, Exception] = {}
        self.told = asyncio.Event()
        self.may_end = asyncio.Event()
        self.may_end.set()
        self.task: asyncio.Task[None] | None = None

    async def join(self) -> Member:
        """Join the group and begin to share."""
        await self.membership.start()
        self.task = asyncio.create_task(share(self.membership, self.work, stopping=self.stopping, grace_seconds=5))
        return self

    async def work(self, shard: Shard, lease: Lease) -> None:
        """Run a shard as a service does: confirm first, then until told to stop."""
        while not await lease.confirm():
            if lease.stop.is_set():
                return
            await asyncio.sleep(0.05)
        self.starts[shard] += 1
        if error := self.fail.pop(shard, None):
            raise error
        self.running.add(shard)
        try:
            await lease.stop.wait()
            self.told.set()
            await self.may_end.wait()
        finally:
            self.running.discard(shard)

    async def leave(self) -> None:
        """End as a service does that is told to stop."""
        self.stopping.set()
        if self.task is not None:
            await asyncio.wait({self.task}, timeout=60)
        await self.membership.stop()

    async def die(self) -> None:
        """End as a killed process does: nobody is told."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait({self.task}, timeout=60)
        await self.membership.stop()


async def eventually_running(*members: Member, seconds: float = 15) -> None:
    """Wait until the members run all shards between them, each shard once."""

    async def probe() -> bool:
        seen = Counter(shard for member in members for shard in member.running)
        return seen == Counter(ALL) and all(member.running for member in members)

    try:
        await eventually_async(probe, seconds=seconds, what="all shards run, each once, on all members")
    except AssertionError as error:
        raise AssertionError([sorted(map(str, member.running)) for member in members]) from error


async def test_two_members_share_and_a_replacement_takes_over(settings: KafkaSettings) -> None:
    """Two share the twelve shards; when one dies, its replacement has its shards at once and the other's go on."""
    first = await Member(settings, "router-0").join()
    await eventually_running(first)
    second = await Member(settings, "router-1").join()
    await eventually_running(first, second)
    assert len(first.running) == len(second.running) == 6
    before = first.starts.copy()
    held = set(second.running)

    await second.die()
    replacement = await Member(settings, "router-1").join()
    await eventually_running(first, replacement)

    assert replacement.running == held
    assert {shard: first.starts[shard] for shard in first.running} == {shard: before[shard] for shard in first.running}
    await replacement.leave()
    await first.leave()


async def test_a_member_that_stays_away_is_replaced_by_the_others(settings: KafkaSettings) -> None:
    """After the session time-out the shards of a member without replacement go to whoever is left."""
    first = await Member(settings, "router-0").join()
    second = await Member(settings, "router-1").join()
    await eventually_running(first, second)

    await second.die()
    await eventually_running(first)

    await first.leave()


async def test_of_two_with_one_name_the_one_put_out_ends(settings: KafkaSettings) -> None:
    """Who finds its name taken stops its shards and ends, instead of putting the other out in its turn."""
    first = await Member(settings, "router-0").join()
    await eventually_running(first)

    usurper = await Member(settings, "router-0").join()
    assert first.task is not None
    with pytest.raises(EvictedError, match="router-0 was put out"):
        await asyncio.wait_for(first.task, 15)
    assert first.running == set()
    await first.membership.stop()

    await eventually_running(usurper)
    await usurper.leave()


async def test_one_that_is_told_to_stop_while_it_was_put_out_ends_well(settings: KafkaSettings) -> None:
    """Put out, its shards still finishing, and told to stop: it ends as any that is told to stop does."""
    first = await Member(settings, "router-0").join()
    await eventually_running(first)
    first.may_end.clear()

    usurper = await Member(settings, "router-0").join()
    await asyncio.wait_for(first.told.wait(), 15)
    assert first.membership.evicted
    first.stopping.set()
    first.may_end.set()

    assert first.task is not None
    await asyncio.wait_for(first.task, 15)
    assert first.running == set()
    await first.membership.stop()
    await usurper.leave()


async def test_one_that_was_put_out_does_not_join_again(settings: KafkaSettings) -> None:
    """However long it takes to end, it leaves the other in peace: aiokafka by itself would put that one out in turn."""
    first = Membership(kafka=settings, group="routers", instance="router-0")
    usurper = Membership(kafka=settings, group="routers", instance="router-0")
    await first.start()
    await usurper.start()

    async def noticed() -> bool:
        return first.evicted

    await eventually_async(noticed, seconds=10, what="the first knows that it is out")
    for _ in range(8):  # 1.6 s: five heartbeats
        await usurper.turn_over()

    assert await usurper.confirm()
    assert not await first.confirm()
    assert usurper.turn == 1
    await first.stop()
    await usurper.stop()


async def test_a_fenced_shard_waits_for_a_new_assignment(settings: KafkaSettings) -> None:
    """A fenced shard is started again only after the group, asked for it, has assigned anew; the others go on."""
    member = Member(settings, "router-0")
    member.fail[SHARDS[3]] = FencedError("somebody newer")
    await member.join()
    await eventually_running(member)

    assert member.membership.turn >= 2
    assert member.starts == Counter({shard: 2 if shard == SHARDS[3] else 1 for shard in SHARDS})
    await member.leave()


async def test_a_corrupt_shard_halts_alone(settings: KafkaSettings) -> None:
    """A shard whose history contradicts itself is not started again, and the others go on."""
    member = Member(settings, "router-0")
    member.fail[SHARDS[3]] = CorruptHistoryError("ledger.africa/0/3", "a gap")
    await member.join()

    async def others_run() -> bool:
        return member.running == ALL - {SHARDS[3]}

    await eventually_async(others_run, seconds=10, what="eleven run")
    member.membership.rejoin()
    turn = member.membership.turn

    async def assigned_anew() -> bool:
        return member.membership.turn > turn

    await eventually_async(assigned_anew, seconds=10, what="assigned anew")
    await member.leave()
    assert member.starts[SHARDS[3]] == 1


async def test_a_bug_in_the_work_ends_everything(settings: KafkaSettings) -> None:
    """An error that nobody expected stops every shard and comes out."""
    member = Member(settings, "router-0")
    member.fail[SHARDS[3]] = ZeroDivisionError()
    await member.join()

    assert member.task is not None
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(member.task, 15)
    assert member.running == set()
    await member.membership.stop()
