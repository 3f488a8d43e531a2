"""The tracker: follows every shard's ledger and receipts into the store.

Both logs of a shard go their own pace, and the book is written so that this makes no difference. Everything that a poll
returned is written with the position after it, as one; whoever is fenced wrote nothing and lets go.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from broker.errors import StorageError, UnavailableError
from broker.model import naming
from broker.model.naming import Shard
from broker.observe.observers import SharingObserver, TrackerObserver
from broker.store.positions import Holding, Place, take
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.membership import Lease, Membership, share
from broker.transport.reader import RawBatch, RawReader
from consumers.tracker.book import Judged, enter_entries, enter_receipts
from consumers.tracker.judge import Verdict
from consumers.tracker.keys import ReceiptKeys
from consumers.tracker.reading import read_ledger, read_receipts

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from broker.schema.codec import Codec
    from broker.transport.directory import DirectoryFollower

logger = structlog.get_logger(__name__)

Polled = list[tuple[TopicPartition, list[RawBatch]]]


@dataclass(frozen=True, slots=True, eq=False)
class _Log:
    """One of a shard's two logs, and what is done with what it holds."""

    reader: RawReader
    enter: Callable[[list[RawBatch]], Awaitable[None]]


class TrackerService:
    """Tracks the shards that the group gives it.

    Args:
        client: the connection to Kafka; started.
        engine: the store, from `broker.store.engine.open_store`.
        directory: whose keys count.
        codec: reads ledger entries and receipts.
        max_wait: how long a poll waits for something to come.
        observer: is told what was written.
        sharing_observer: is told how the shards fare.

    Attributes:
        holdings: the shards that are followed now, each with the positions that the store has.
    """

    def __init__(
        self,
        *,
        client: RawClient,
        engine: AsyncEngine,
        directory: DirectoryFollower,
        codec: Codec,
        max_wait: timedelta = timedelta(seconds=2),
        observer: TrackerObserver | None = None,
        sharing_observer: SharingObserver | None = None,
    ) -> None:
        self._client = client
        self._engine = engine
        self._directory = directory
        self._codec = codec
        self._max_wait = max_wait
        self._keys: ReceiptKeys | None = None
        self._keys_as_of = -1
        self._observer = observer or TrackerObserver()
        self._sharing_observer = sharing_observer
        self.holdings: dict[Shard, Holding] = {}

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset to read of each ledger and receipt log that is followed now, by topic and partition."""
        holdings = list(self.holdings.values())
        return {
            (place.topic, place.partition): at for holding in holdings for place, at in holding.next_offsets.items()
        }

    async def run(self, membership: Membership, stopping: asyncio.Event) -> None:
        """Track shards until told to stop; what was read is in the store, with its position, when this returns."""
        await share(membership, self._work, stopping=stopping, observer=self._sharing_observer)

    async def _work(self, shard: Shard, lease: Lease) -> None:
        if not await lease.confirm():  # else a stale assignment would take the shard from its rightful owner
            raise UnavailableError("the group does not answer: whether this shard is ours is not known")
        try:
            await self.follow(shard, lease.stop)
        except StorageError as error:
            self._observer.unwritable(str(error))
            raise
        finally:
            self.holdings.pop(shard, None)

    async def follow(self, shard: Shard, stop: asyncio.Event) -> None:
        """Take a shard over and follow it until told to stop.

        Raises:
            FencedError: another tracker took the shard; nothing was written since.
            StorageError: the store's disk is full or broken; the same.
            UnavailableError: Kafka or the database is away; take the shard again.
            CorruptHistoryError: the ledger contradicts itself; names the place.
        """
        ledger = Place(naming.ledger(shard.region), shard.partition)
        acks = Place(naming.acks(shard.region), shard.partition)
        holding = await take(self._engine, (ledger, acks))
        self._observer.written()
        logger.info(
            "Shard taken", shard=str(shard), ledger=holding.next_offsets[ledger], acks=holding.next_offsets[acks]
        )
        # The ledger's transactions are the router's, and count once committed. Anybody may write to acks: there an
        # open transaction of a stranger, were it waited for, would hold up everyone's receipts.
        logs = (
            _Log(self._reader(ledger, holding, committed=True), partial(self._enter_ledger, shard, holding)),
            _Log(self._reader(acks, holding, committed=False), partial(self._enter_receipts, shard, holding)),
        )
        self.holdings[shard] = holding
        stopped = asyncio.create_task(stop.wait())
        polls: dict[_Log, asyncio.Task[Polled]] = {}
        try:
            while not stop.is_set():
                for log in logs:
                    if log not in polls:
                        polls[log] = asyncio.create_task(log.reader.poll())
                await asyncio.wait([stopped, *polls.values()], return_when=asyncio.FIRST_COMPLETED)
                for log in [log for log, poll in polls.items() if poll.done()]:
                    for partition, batches in polls.pop(log).result():
                        await log.enter(batches)
                        log.reader.advance(partition, batches[-1].next_offset)
        finally:
            for task in (stopped, *polls.values()):
                task.cancel()
            await asyncio.gather(stopped, *polls.values(), return_exceptions=True)
            for log in logs:
                await log.reader.close()

    def _reader(self, place: Place, holding: Holding, *, committed: bool) -> RawReader:
        return RawReader(
            self._client,
            {TopicPartition(*place): holding.next_offsets[place]},
            committed=committed,
            lane=f"tracker-{place.topic}-{place.partition}",
            max_wait=self._max_wait,
        )

    async def _enter_ledger(self, shard: Shard, holding: Holding, batches: list[RawBatch]) -> None:
        ledger = Place(naming.ledger(shard.region), shard.partition)
        for next_offset, entries in await asyncio.to_thread(lambda: [*read_ledger(batches, shard, self._codec)]):
            async with holding.unit({ledger: next_offset}) as connection:
                judged = await enter_entries(connection, shard, entries)
            self._observer.read("ledger", len(entries))
            self._tell(shard, judged)

    async def _enter_receipts(self, shard: Shard, holding: Holding, batches: list[RawBatch]) -> None:
        acks = Place(naming.acks(shard.region), shard.partition)
        keys = await self._keys_now()  # after the poll, so that no key that signed these is missing
        for next_offset, receipts in await asyncio.to_thread(
            lambda: [*read_receipts(batches, shard, self._codec, keys)]
        ):
            async with holding.unit({acks: next_offset}) as connection:
                judged = await enter_receipts(connection, shard, receipts)
            self._observer.read("acks", len(receipts))
            self._tell(shard, judged)

    async def _keys_now(self) -> ReceiptKeys:
        directory = await self._directory.at_its_end()
        if self._keys is None or self._keys_as_of != directory.offset:
            self._keys = ReceiptKeys(self._directory.log(), installation=directory.installation or "")
            self._keys_as_of = directory.offset
        return self._keys

    def _tell(self, shard: Shard, judged: list[Judged]) -> None:
        """Tell what became of receipts, once that is committed."""
        not_counted: Counter[str] = Counter()
        for one in judged:
            if one.reason is not None:
                not_counted[one.reason.value] += 1
                self._observer.not_counted(one.reason)
            elif one.verdict is Verdict.COUNTED and one.claim is not None:
                self._observer.counted(one.claim.stage, one.claim.decline_reason)
                if one.waited is not None:
                    self._observer.acknowledged(one.waited.total_seconds())
        if not_counted:
            logger.warning("Receipts not counted", shard=str(shard), reasons=dict(not_counted))
