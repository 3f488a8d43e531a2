"""What an installation's topics and stores hold in the end: who got what, what is entered, what was acknowledged."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

from sqlalchemy import Table, select

from broker.model.naming import SHARDS, acks, feeds, ledger
from broker.store.engine import open_store, sqlite_url
from broker.store.positions import Place
from broker.store.tables import deliveries, messages, passed, receipts
from broker.transport.kafka import TopicPartition
from consumers.tracker.board import everyone_acknowledged
from tests.support.book import Book, ended_in, given_in
from tests.support.eventually import eventually_async
from tests.support.traffic import Sent
from tests.support.world import EIGHT, World


async def feed_ends(world: World) -> dict[TopicPartition, int]:
    """Return where each feed ends."""
    places = [TopicPartition(feed, shard.partition) for shard in SHARDS for feed in feeds(shard.region)]
    return await world.link.client.end_offsets(places)


async def covered(world: World) -> dict[TopicPartition, int]:
    """Return up to where the ledger covers each feed."""
    ends: dict[TopicPartition, int] = {}
    for entry in await world.read_ledger(SHARDS):
        ends[TopicPartition(entry.value["topic"], entry.value["partition"])] = entry.value["next_offset"]
    return ends


async def all_acknowledged(world: World, store: Path, *, seconds: float = 90) -> None:
    """Wait until a tracker has read ledger and receipts to their ends, and misses nobody's receipt."""
    topics = [topic(shard.region) for topic in (ledger, acks) for shard in SHARDS]
    places = sorted({TopicPartition(topic, partition) for topic in topics for partition in (0, 1)})
    engine = await open_store(sqlite_url(store))

    async def probe() -> bool:
        # The bureaus may still be acknowledging: where the receipts end is asked anew each time.
        ends = {Place(*place): end for place, end in (await world.link.client.end_offsets(places)).items()}
        return await everyone_acknowledged(engine, ends)

    try:
        await eventually_async(probe, seconds=seconds, what=f"{store.name} holds a receipt for every delivery")
    finally:
        await engine.dispose()


async def check_inboxes(world: World, sent: Sent) -> None:
    """Each message is exactly once in each inbox that was to have it, and in the order of its notice."""
    for bureau in (*EIGHT, "ipsg"):
        got = await world.messages_in(bureau)
        assert Counter(got) == Counter(sent.expected[bureau]), bureau
        place = {message_id: at for at, message_id in enumerate(got)}
        for number, ids in sent.order.items():
            here = [place[one] for one in ids if one in place]
            assert here == sorted(here), (bureau, number)


async def check_given(world: World, book: Book) -> None:
    """Each inbox holds each message and each notice of end that it was to have once, in the order of its notice."""
    for bureau in book.bureaus:
        records = await world.read_inbox(bureau)
        assert given_in(records) == book.given[bureau], bureau
        assert ended_in(records) == book.ended[bureau], bureau


async def check_ledger(world: World) -> Counter[str]:
    """Each offset of each feed is covered by exactly one entry; returns how many there are of each kind."""
    covered: dict[tuple[str, int], int] = defaultdict(int)
    kinds: Counter[str] = Counter()
    for entry in await world.read_ledger(SHARDS):
        feed = (entry.value["topic"], entry.value["partition"])
        assert entry.value["from_offset"] == covered[feed], (feed, entry.offset)
        covered[feed] = entry.value["next_offset"]
        kinds[entry.value["kind"]] += 1
    assert {TopicPartition(*feed): end for feed, end in covered.items() if end} == {
        place: end for place, end in (await feed_ends(world)).items() if end
    }
    return kinds


async def dump(store: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row of a tracker's store, sorted; positions aside, whose epochs count who came by."""
    engine = await open_store(sqlite_url(store))
    tables: tuple[Table, ...] = (passed, messages, deliveries, receipts)
    try:
        async with engine.connect() as connection:
            return {
                table.name: sorted((tuple(row) for row in await connection.execute(select(table))), key=repr)
                for table in tables
            }
    finally:
        await engine.dispose()
