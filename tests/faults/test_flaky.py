"""A happy path over a transport that fails: each call of a list in turn, once before and once after it took effect."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import pytest
import pytest_asyncio
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from broker.errors import UnavailableError
from broker.members.seed import EVERYTHING_ACTUAL
from broker.model.change import ChangeKind
from broker.model.message import Message
from broker.model.naming import REJECTED, Region, Shard, acks, feeds, inbox, ledger, partition_of
from broker.model.outcome import BROKER
from broker.settings import RouterSettings
from broker.store import tables
from broker.store.engine import open_store, sqlite_url
from broker.transport.fanout import Outgoing
from broker.transport.kafka import TopicPartition
from broker.transport.link import Link, linked
from broker.transport.membership import Lease, Membership, share
from consumers.audit.service import AuditService
from consumers.bureau.host import BureauHost
from consumers.router.service import RouterService
from consumers.tracker.service import TrackerService
from producers.client import Producer
from tests.support.builders import a_purple_notice
from tests.support.eventually import eventually_async
from tests.support.flaky import BEGIN, CALLS, Call, FlakyTransport, When
from tests.support.plain import PlainRecord, read
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

SHARD = Shard(Region.AFRICA, 0)
BUREAUS = ("ipsg", "zw", "ke", "fr")


@dataclass(kw_only=True)
class Town:
    """A world with every service at work in this process, over the flaky transport."""

    world: World
    flaky: FlakyTransport
    producer: Producer
    engine: AsyncEngine
    services: list[asyncio.Task[None]]
    restarts: Counter[str]
    tree_size: int = 0
    _serials: Iterator[int] = field(default_factory=lambda: count(1))

    def number(self) -> str:
        """The next notice number of the shard."""
        numbers = (f"zw-n-2026-{serial:06d}" for serial in self._serials)
        return next(number for number in numbers if partition_of(number.encode()) == SHARD.partition)

    def still_at_work(self) -> None:
        """Raise what a service has ended with, if one has."""
        for service in self.services:
            if service.done():
                service.result()

    async def disturb_directory(self) -> None:
        """Change the directory, so that every service has something to read there."""
        await self.world.change("ke", ChangeKind.SUBSCRIPTIONS_SET, author="ke", subscriptions=EVERYTHING_ACTUAL)

    async def litter(self) -> str:
        """Write what cannot be routed, and return its origin."""
        publisher = self.world.link.publisher
        place = await (await publisher.send("notices.africa", 0, Outgoing(b"k", b"garbage", ())))
        return f"{place.topic}/{place.partition}/{place.offset}"

    async def archive(self) -> None:
        """Archive what there is; again, as a new process, where the disk has failed."""
        signer = self.world.keys.signer("audit")

        async def once() -> None:
            service = AuditService(
                client=self.world.link.client,
                archive=self.world.data / "archive",
                signer=signer,
                installation=self.world.installation,
            )
            self.tree_size = await service.run_to_end()

        await _supervised(self.restarts, "audit", once)


async def _supervised(restarts: Counter[str], name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run until it ends by itself; begin anew after what a supervisor is there for. Anything else is a bug."""
    while True:
        try:
            await run()
        except (UnavailableError, OSError, sqlite3.OperationalError):
            restarts[name] += 1
        else:
            return


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def town(kafka: SharedKafka, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """One world for the whole module: forty faults in it, one after the other."""
    prefix = f"t{secrets.token_hex(3)}-"
    data = tmp_path_factory.mktemp("flaky")
    stop = asyncio.Event()
    restarts: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(kafka.delete_topics, prefix)
            world = await stack.enter_async_context(a_world(kafka.bootstrap_servers, prefix, data, bureaus=BUREAUS[1:]))
            links = [
                await stack.enter_async_context(
                    linked(
                        world.kafka,
                        codec=world.link.codec,
                        client_id=name,
                        root_public=world.keys.signer("ipsg").public,
                    )
                )
                for name in ("router", "tracker", "producer")
            ]
            engine = await open_store(sqlite_url(data / "tracker.db"))
            stack.push_async_callback(engine.dispose)
            membership = Membership(kafka=world.kafka, group="routers", instance="router-0")
            await membership.start()
            stack.push_async_callback(membership.stop)
            flaky = FlakyTransport(patch)
            services = {
                "router": _routing(world, links[0], membership, stop),
                "tracker": _tracking(links[1], engine, stop, restarts),
                "bureaus": _acknowledging(world, stop, restarts),
            }
            town = Town(
                world=world,
                flaky=flaky,
                producer=Producer(
                    signers=world.keys,
                    follower=links[2].follower,
                    publisher=links[2].publisher,
                    codec=links[2].codec,
                ),
                engine=engine,
                services=[asyncio.create_task(service, name=name) for name, service in services.items()],
                restarts=restarts,
            )
            yield town
            stop.set()
            _, late = await asyncio.wait(town.services, timeout=90)
            for service in late:
                service.cancel()
            town.still_at_work()
            assert not late, late


async def _routing(world: World, link: Link, membership: Membership, stop: asyncio.Event) -> None:
    """The router's own loop, as a member of its group; of the twelve shards, one is at work."""
    service = RouterService(
        client=link.client,
        kafka=world.kafka,
        settings=RouterSettings(poll_wait=timedelta(milliseconds=200)),
        directory=link.follower,
        codec=link.codec,
        installation=world.installation,
        signer=world.keys.signer(BROKER),
        cache_folder=world.data / "router",
    )

    async def work(shard: Shard, lease: Lease) -> None:
        await (service.shard_router(shard).run(lease) if shard == SHARD else lease.stop.wait())

    await share(membership, work, stopping=stop)


async def _tracking(link: Link, engine: AsyncEngine, stop: asyncio.Event, restarts: Counter[str]) -> None:
    tracker = TrackerService(
        client=link.client,
        engine=engine,
        directory=link.follower,
        codec=link.codec,
        max_wait=timedelta(milliseconds=200),
    )
    await _supervised(restarts, "tracker", lambda: tracker.follow(SHARD, stop))


async def _acknowledging(world: World, stop: asyncio.Event, restarts: Counter[str]) -> None:
    root_public = world.keys.signer("ipsg").public

    async def once() -> None:
        async with BureauHost.connect(data=world.data, kafka=world.kafka, root_public=root_public) as host:
            await host.run(stop)

    await _supervised(restarts, "bureaus", once)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.xdist_group("faults")  # one worker, one world
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
async def test_a_notice_passes_whatever_fails_once(call: Call, when: When, town: Town) -> None:
    """Requested, published and acknowledged: once in each inbox, counted once, entered once, whichever call failed."""
    number = town.number()
    request = a_purple_notice(number=number, event="requested")
    published = a_purple_notice(number=number, event="published")
    failed_before = len(town.flaky.failed)
    await town.disturb_directory()

    town.flaky.arm(call, when)
    if call.is_of_taking:
        town.flaky.arm(BEGIN, When.BEFORE)
    await town.producer.publish(request)
    garbage = await town.litter()
    await town.producer.publish(published)
    await _until_acknowledged(town, {request: ("ipsg",), published: ("zw", "ke", "fr")})
    await town.archive()

    assert not town.flaky.is_armed, "the fault did not take place"
    assert call.name in town.flaky.failed[failed_before:]
    records = await read(town.world.kafka, *map(inbox, BUREAUS), ledger(SHARD.region), acks(SHARD.region), REJECTED)
    _check_inboxes(records, number, request, published)
    _check_receipts(records, number, request, published)
    _check_ledger(records, number, await _feed_ends(town.world))
    assert [one.key for one in records if one.topic == REJECTED].count(garbage.encode()) == 1


def test_the_list_is_short_enough_to_be_read() -> None:
    """Twenty calls at most, each named once."""
    assert len({call.name for call in CALLS}) == len(CALLS) <= 20


async def _until_acknowledged(town: Town, wanted: dict[Message, tuple[str, ...]]) -> None:
    """Wait until the tracker has counted that everybody accepted, once each."""
    expected = Counter(
        (str(message.message_id), bureau, stage)
        for message, given_to in wanted.items()
        for bureau in given_to
        for stage in ("received", "accepted")
    )
    columns = tables.receipts.c
    [number] = {message.number for message in wanted}

    async def counted() -> bool:
        town.still_at_work()
        query = select(columns.message_id, columns.bureau, columns.stage).where(
            columns.number == number, columns.verdict == "counted"
        )
        async with town.engine.connect() as connection:
            rows = (await connection.execute(query)).all()
        found = Counter((str(row.message_id), row.bureau, row.stage) for row in rows)
        assert found <= expected, found - expected
        return found == expected

    await eventually_async(counted, seconds=30, what=f"everyone has accepted {number}")


def _check_inboxes(records: list[PlainRecord], number: str, request: Message, published: Message) -> None:
    """Each message is once in each inbox that was to have it, and in no other."""
    given = {
        bureau: [
            one.value["message_id"]
            for one in records
            if one.topic == inbox(bureau) and one.subject == "notice" and one.value["number"] == number
        ]
        for bureau in BUREAUS
    }
    everybody = [str(published.message_id)]
    assert {bureau: [str(one) for one in ids] for bureau, ids in given.items()} == {
        "ipsg": [str(request.message_id)],
        "zw": everybody,
        "ke": everybody,
        "fr": everybody,
    }


def _check_receipts(records: list[PlainRecord], number: str, request: Message, published: Message) -> None:
    """Every receipt is on the log; one that was sent twice is the same record, byte for byte."""
    distinct: dict[tuple[str, str, str], set[bytes]] = {}
    for record in records:
        if record.topic != acks(SHARD.region):
            continue
        for receipt in record.value["receipts"]:
            if receipt["number"] == number:
                what = (record.value["bureau"], str(receipt["message_id"]), receipt["stage"])
                distinct.setdefault(what, set()).add(record.raw)
    given = {"ipsg": request, "zw": published, "ke": published, "fr": published}
    assert {what: len(raw) for what, raw in distinct.items()} == {
        (bureau, str(message.message_id), stage): 1
        for bureau, message in given.items()
        for stage in ("received", "accepted")
    }


def _check_ledger(records: list[PlainRecord], number: str, ends: dict[TopicPartition, int]) -> None:
    """Both messages are routed once, and every offset of the shard's feeds is covered by exactly one entry."""
    covered = dict.fromkeys(ends, 0)
    routed = []
    for record in records:
        if (record.topic, record.partition) != (ledger(SHARD.region), SHARD.partition):
            continue
        entry = record.value
        place = TopicPartition(entry["topic"], entry["partition"])
        assert entry["from_offset"] == covered[place]
        covered[place] = entry["next_offset"]
        if entry["number"] == number and entry["kind"] == "routed":
            routed.append(entry["event"])
    assert covered == ends
    assert routed == ["requested", "published"]


async def _feed_ends(world: World) -> dict[TopicPartition, int]:
    return await world.link.client.end_offsets(TopicPartition(feed, SHARD.partition) for feed in feeds(SHARD.region))
