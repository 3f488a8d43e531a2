"""One shard's router: feeds in, inboxes and ledger out; one transaction a poll.

A shard is taken in a fixed order (design section 5): fence the predecessor, wait until its last transaction has ended,
fold the ledger, read on from where it stands. Any error drops everything at once and takes the shard again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic, time_ns

import structlog

from broker.clock import Clock, SystemClock
from broker.errors import CorruptHistoryError, UnavailableError
from broker.model.naming import REJECTED, Shard, bureaus_of, inbox, ledger
from broker.observe.faultpoints import Faults
from broker.observe.observers import RouterObserver, SessionObserver
from broker.observe.tracing import routed
from broker.schema.codec import Codec
from broker.settings import KafkaSettings, RouterSettings
from broker.transport.directory import DirectoryFollower
from broker.transport.headers import traceparent_of
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.membership import Lease
from broker.transport.reader import RawReader
from broker.transport.session import ShardSession
from broker.trust.signing import Signer
from consumers.router.arrival import Arrival, ArrivedRecord, arrivals
from consumers.router.folding import ledger_entries
from consumers.router.letters import Scribe, Writes
from consumers.router.memory import Memory, MemoryCache
from consumers.router.settle import Settled, Settler

logger = structlog.get_logger(__name__)

RENEW_SECONDS = 30.0
"""How often a cache that the disk did not take is begun anew, when something was routed: without one, memory grows."""


class ShardRouter:
    """Routes one shard for as long as the group and the fence let it."""

    def __init__(
        self,
        shard: Shard,
        *,
        client: RawClient,
        kafka: KafkaSettings,
        settings: RouterSettings,
        directory: DirectoryFollower,
        codec: Codec,
        installation: str,
        signer: Signer,
        cache_folder: Path,
        faults: Faults | None = None,
        observer: RouterObserver | None = None,
        session_observer: SessionObserver | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Prepare to take a shard; nothing happens before `run`."""
        self._faults = faults
        self._observer = observer or RouterObserver()
        self._session_observer = session_observer
        self._clock = clock or SystemClock()
        self._shard = shard
        self._client = client
        self._kafka = kafka
        self._settings = settings
        self._directory = directory
        self._codec = codec
        self._installation = installation
        self._ledger = TopicPartition(ledger(shard.region), shard.partition)
        self._scribe = Scribe(shard=shard, codec=codec, installation=installation, signer=signer)
        self._cache = MemoryCache(
            cache_folder / f"{shard}.db",
            shard=shard,
            log_id=f"{kafka.prefix} {installation}",
            observer=self._observer,
        )
        self._renewed_at = 0.0
        self._log = logger.bind(shard=str(shard))
        self._session: ShardSession | None = None
        self._feeds: RawReader | None = None
        self._memory = Memory.empty(shard)
        self._backlog: deque[Arrival] = deque()
        self.is_ready = False
        """It owns its shard and has folded the ledger."""

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset to enter of each feed, by topic and partition; nothing unless it is ready."""
        if not self.is_ready:
            return {}
        return {(feed, self._shard.partition): at for feed, at in self._memory.positions.items()}

    async def run(self, lease: Lease) -> None:
        """Route until the lease says stop.

        Raises:
            FencedError: a newer router owns this shard, or our own transaction timed out; nothing of ours remains.
            UnavailableError: Kafka is away, or did not answer; take the shard again.
            CorruptHistoryError: ledger and feeds contradict each other; a person decides.
        """
        try:
            if not await lease.confirm():
                raise UnavailableError("the group does not answer: whether this shard is ours is not known")
            await self.take()
            while not lease.stop.is_set():
                await self.route_poll()
        finally:
            await self.let_go()

    async def take(self) -> None:
        """Fence, wait for the last stable offset, fold, and position; in this order, or two routers could deliver."""
        inboxes = [inbox(code) for code in (await self._directory.at_its_end()).recipients()]
        self._session = ShardSession(
            kafka=self._kafka,
            client=self._client,
            transactional_id=f"router-{self._shard}",
            ledger=self._ledger,
            faults=self._faults,
            observer=self._session_observer,
        )
        ledger_end = await self._session.take([*inboxes, self._ledger.topic, REJECTED])
        await self._fold(ledger_end)
        positions = {TopicPartition(feed, self._shard.partition): at for feed, at in self._memory.positions.items()}
        # Uncommitted: a stranger's open transaction on a feed must not hold up everybody else's messages.
        self._feeds = RawReader(
            self._client, positions, committed=False, lane=f"feeds-{self._shard}", max_wait=self._settings.poll_wait
        )
        self.is_ready = True
        self._log.info("Shard taken", ledger_offset=ledger_end)

    async def _fold(self, ledger_end: int) -> None:
        """Bring the memory up to the ledger's end, from the cache's offset on."""
        self._memory, at = await asyncio.to_thread(self._cache.load)
        if at > ledger_end:
            raise CorruptHistoryError(
                f"{self._ledger.topic}/{self._ledger.partition}/{ledger_end}",
                f"the log ends before {at}, which was read",
            )
        learned = self._memory.draft()
        await self._pass("folding")
        async for entry in ledger_entries(self._client, self._codec, self._ledger, start=at, end=ledger_end):
            learned.enter(entry)
        self._memory.merge(learned)
        # Before anything is routed: a predecessor that hangs and wakes up then finds the cache moved on, and voids it.
        await self._keep(learned, ledger_end, is_whole=at == 0)

    async def _keep(self, learned: Memory, ledger_offset: int, *, is_whole: bool = False) -> None:
        """Write down what was learned. What the cache holds then is let go of here: it would grow for ever.

        Args:
            learned: merged, and not yet in the cache.
            ledger_offset: up to which everything is known.
            is_whole: the memory holds the whole past: it goes on without a cache where the disk takes none.

        Raises:
            UnavailableError: the cache is lost, and with it what was there only; take the shard again, and fold anew.
        """
        if await asyncio.to_thread(self._cache.save, learned, ledger_offset):
            self._memory.shelve()
        elif is_whole:
            self._memory.beneath, self._renewed_at = None, monotonic()
        elif self._memory.beneath is not None:
            raise UnavailableError(f"the cache of shard {self._shard} is lost: the ledger is folded anew")
        elif monotonic() - self._renewed_at > RENEW_SECONDS:
            self._renewed_at = monotonic()
            if await asyncio.to_thread(self._cache.renew, self._memory, ledger_offset):
                self._memory.beneath = self._cache
                self._memory.shelve()

    async def route_poll(self) -> int:
        """Route what one poll of this shard's feeds returns; deliveries and ledger entries commit as one.

        Returns:
            How many arrivals were entered, repeats and rejected ones included. All of their deliveries are visible
            to read_committed readers once this returns, and none before.

        Raises:
            FencedError: a newer router owns this shard; let go of it without committing.
            UnavailableError: nothing is known to be committed; take the shard again, and the ledger will say.
        """
        arrived = await self._arrivals()
        if not arrived:
            return 0
        began_ns = time_ns()
        directory = await self._directory.at_its_end()
        draft = self._memory.draft()  # kept only if the transaction commits
        settler = Settler(directory=directory, codec=self._codec, installation=self._installation)
        # Over a millisecond a message (bench/routing.py): in a thread, so that heartbeats are not held up.
        settled, writes = await asyncio.to_thread(self._settle, settler, arrived, draft)
        ledger_next, now = await self._commit(writes)
        self._memory.merge(draft)
        self._tell(settled, now, began_ns)
        await self._pass("before_cache")
        for one in settled:
            _log_settled(self._log, one)
        await self._keep(draft, ledger_next)
        return len(settled)

    def _tell(self, settled: Sequence[Settled], now: datetime, began_ns: int) -> None:
        for one in settled:
            entry = one.entry
            self._observer.entered(
                feed=entry.topic.partition(".")[0],
                kind=entry.kind,
                delivered=len(one.delivered),
                ended=len(one.ended),
                outcomes=len(one.outcomes),
                withheld={reason: len(bureaus_of(bureaus)) for reason, bureaus in entry.withheld.items()},
                reason=entry.reason,
                waited_seconds=(now - entry.appended_at).total_seconds(),
            )
            if isinstance(one.arrival, ArrivedRecord):
                routed(
                    entry.topic,
                    partition=entry.partition,
                    offset=entry.from_offset,
                    message_id=str(entry.message_id or ""),
                    traceparent=traceparent_of(one.arrival.headers),
                    began_ns=began_ns,
                    found={
                        "noticewire.entry": str(entry.kind),
                        "noticewire.delivered": len(one.delivered),
                        "noticewire.ended": len(one.ended),
                        "noticewire.reason": entry.reason or "",
                    },
                )

    async def _arrivals(self) -> list[Arrival]:
        """Return what comes next on the feeds, cut by count and by bytes; empty where nothing came in time."""
        if self._feeds is None:
            msg = "take the shard first"
            raise AssertionError(msg)
        if not self._backlog:
            for tp, batches in await self._feeds.poll():
                self._backlog.extend(arrivals(tp, batches, self._feeds.positions[tp]))
                self._feeds.advance(tp, batches[-1].next_offset)
        cut: list[Arrival] = []
        size_bytes = 0
        while self._backlog and len(cut) < self._settings.poll_records_max:
            arrival = self._backlog[0]
            size_bytes += arrival.size_bytes if isinstance(arrival, ArrivedRecord) else 0
            if cut and size_bytes > self._settings.poll_bytes_max:
                break
            cut.append(self._backlog.popleft())
        return cut

    def _settle(self, settler: Settler, arrived: Sequence[Arrival], draft: Memory) -> tuple[list[Settled], Writes]:
        settled = settler.settle_all(arrived, draft)
        return settled, self._scribe.write(settled)

    async def _commit(self, writes: Writes) -> tuple[int, datetime]:
        """Write one transaction; return the ledger offset after its entries, and what time it is by Kafka's clock."""
        if self._session is None:
            msg = "take the shard first"
            raise AssertionError(msg)
        asked_at, began = self._clock.now(), monotonic()
        async with self._session.transaction() as transaction:
            await transaction.write(writes)
        answered_at, took = self._clock.now(), timedelta(seconds=monotonic() - began)
        # Held against Kafka's append time, a clock that is off shows; and one that jumped just now distorts no figure.
        appended_at = transaction.appended_at(self._ledger)
        skew = _skew(appended_at, asked_at=asked_at, answered_at=answered_at)
        self._observer.clock(skew.total_seconds())
        return transaction.next_offset(self._ledger), min(answered_at + skew, appended_at + took)

    async def _pass(self, point: str) -> None:
        if self._faults is not None:
            await self._faults(point)

    async def let_go(self) -> None:
        """Drop producer, reader and memory at once; the next start of the transactional id ends what is open."""
        self.is_ready = False
        feeds_reader, self._feeds = self._feeds, None
        session, self._session = self._session, None
        self._memory = Memory.empty(self._shard)
        self._backlog.clear()
        self._cache.close()
        if feeds_reader is not None:
            await feeds_reader.close()
        if session is not None:
            await session.drop()


def _skew(appended_at: datetime, *, asked_at: datetime, answered_at: datetime) -> timedelta:
    """Return how far the clock that says `appended_at` is ahead of the one that says the others, at least."""
    return max(appended_at - answered_at, timedelta(0)) or min(appended_at - asked_at, timedelta(0))


def _log_settled(log: structlog.stdlib.BoundLogger, one: Settled) -> None:
    entry = one.entry
    log.info(
        "Record entered",
        kind=str(entry.kind),
        origin=str(entry.origin),
        number=entry.number,
        message_id=str(entry.message_id) if entry.message_id else None,
        message_event=str(entry.event) if entry.event else None,
        given=len(one.delivered),
        ended=len(one.ended),
        withheld={reason: len(bureaus.split()) for reason, bureaus in entry.withheld.items()} or None,
        reason=entry.reason,
    )
