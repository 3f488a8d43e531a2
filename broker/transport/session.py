"""One shard's exactly-once writer: fence the predecessor, write in transactions, and let go of everything on an error.

The order is the safety (docs/architecture.md, Non-obvious): a heartbeat of the group succeeds, then `take`, then fold
the ledger up to what `take` returned, then read, decide and write. Any error, whichever, makes the session unusable:
`drop` it and take again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.clock import from_epoch_ms
from broker.errors import NoticewireError
from broker.observe.faultpoints import Faults
from broker.observe.observers import SessionObserver
from broker.settings import KafkaSettings
from broker.transport.fanout import Compression, CopiedBatch, Outgoing, plan
from broker.transport.kafka import RawClient, ShardProducer, TopicPartition, consume, is_fenced, translate, translated

UNANSWERED_BYTES_MAX = 32 << 20
"""All batches that are ready for a broker go into one produce request, and above its socket.request.max.bytes (100 MiB)
it closes the connection. So no more than this is handed over before the rest is in the log."""

_STABLE_PAUSE_SECONDS = 0.02


class Transaction:
    """What is written together; made by `ShardSession.transaction`."""

    def __init__(
        self,
        producer: ShardProducer,
        *,
        limit_bytes: int,
        compression: Compression,
        faults: Faults | None,
    ) -> None:
        self._producer = producer
        self._limit_bytes = limit_bytes
        self._compression = compression
        self._faults = faults
        self._bytes = 0
        self._sent: list[_Sent] = []
        self._next: dict[TopicPartition, int] = {}
        self._appended: dict[TopicPartition, int] = {}

    async def write(self, writes: Mapping[TopicPartition, Sequence[Outgoing]]) -> None:
        """Hand over records; they are in the log, though not to be read, when the transaction's block has ended.

        Args:
            writes: what each partition gets, in order. Targets that hold the same objects share one encoded batch.

        Raises:
            TooLargeError: a record is over the limit; nothing of `writes` was sent, but the session ends all the same.
            UnavailableError, FencedError: drop the session.
        """
        planned = plan(writes, limit_bytes=self._limit_bytes, compression=self._compression)
        await _pass(self._faults, "before_produce")
        with translated("writing"):
            for template, targets in planned:
                for target in targets:
                    if self._bytes + template.size > UNANSWERED_BYTES_MAX:
                        await self.settle()
                    self._bytes += template.size
                    stored = await self._producer.send_copy(CopiedBatch(template), target)
                    self._sent.append(_Sent(target, template.count, stored))

    async def settle(self) -> None:
        """Wait until every record is in the log; the first failure raises.

        `commit_transaction` alone would commit also when a send had failed.
        """
        sent, self._sent, self._bytes = self._sent, [], 0
        if not sent:
            return
        for one in sent:
            one.stored.add_done_callback(consume)
        done, _ = await asyncio.wait([one.stored for one in sent], return_when=asyncio.FIRST_EXCEPTION)
        failures = [error for future in done if (error := future.exception()) is not None]
        if failures:
            # One partition may say "fenced" while another says that the transaction is in the wrong state.
            raise next(filter(is_fenced, failures), failures[0])
        for one in sent:
            self._next[one.target] = one.stored.result().offset + one.count
            self._appended[one.target] = one.stored.result().timestamp

    def next_offset(self, partition: TopicPartition) -> int:
        """Return the offset after the last record that this wrote to a partition, once the block has ended.

        Raises:
            KeyError: it wrote nothing there.
        """
        return self._next[partition]

    def appended_at(self, partition: TopicPartition) -> datetime:
        """Return when the last record that this wrote to a partition was appended, by Kafka's clock.

        Raises:
            KeyError: it wrote nothing there.
        """
        return from_epoch_ms(self._appended[partition])


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch on its way, and its place once it is in the log."""

    target: TopicPartition
    count: int
    stored: asyncio.Future[Any]


class ShardSession:
    """Takes a shard's ledger and inboxes for writing, and writes transactions until the first error.

    Args:
        kafka: how to reach the cluster.
        client: for asking where the ledger ends; started, and stopped by whoever made it.
        transactional_id: the shard's own, the same for every instance: `router-africa-0`.
        ledger: the partition that nobody else writes.
        compression: of what is written.
        faults: is told the points `taking`, `before_produce`, `after_produce`, `before_commit`, `after_commit`.
        observer: is told how transactions end.
    """

    def __init__(
        self,
        *,
        kafka: KafkaSettings,
        client: RawClient,
        transactional_id: str,
        ledger: TopicPartition,
        compression: Compression = Compression.ZSTD,
        faults: Faults | None = None,
        observer: SessionObserver | None = None,
    ) -> None:
        self._kafka = kafka
        self._client = client
        self._transactional_id = transactional_id
        self._ledger = ledger
        self._compression = compression
        self._faults = faults
        self._observer = observer or SessionObserver()
        self._producer: ShardProducer | None = None
        self._committing: asyncio.Task[None] | None = None
        self._spoiled = False

    async def take(self, topics: Iterable[str]) -> int:
        """Fence the predecessor, end its transaction, and learn where everything is.

        Args:
            topics: everything that will be written to, beside the ledger.

        Returns:
            Where the ledger ends: its last stable offset, equal to its high watermark. Nobody but this session adds to
            it from now on, until somebody fences this session.

        Raises:
            FencedError: somebody took the shard meanwhile; let go, and wait for the group to assign anew.
            UnavailableError: Kafka did not answer in time, topics are missing; drop, and try again.
        """
        if self._producer is not None:
            raise RuntimeError("a session is dropped before it is taken again")
        self._spoiled = True  # until it is taken
        doing = f"taking {self._ledger}"
        self._producer = producer = ShardProducer(self._kafka, transactional_id=self._transactional_id)
        with translated(doing):
            # Within the session time-out: later than that, the group may have given the shard to somebody else.
            async with asyncio.timeout(self._kafka.session_timeout.total_seconds()):
                await producer.start()
        await _pass(self._faults, "taking")
        await producer.warm({*topics, self._ledger.topic})
        with translated(f"{doing}: waiting until its last transaction has ended"):
            async with asyncio.timeout(self._kafka.transaction_timeout.total_seconds()):
                end = await self._stable_end()
        self._spoiled = False
        return end

    async def _stable_end(self) -> int:
        """Wait until nothing is open in the ledger, and return its end."""
        while True:
            end = await self._client.end_offset(self._ledger)
            stable = await self._client.end_offset(self._ledger, committed=True)
            if end == stable:
                return end
            await asyncio.sleep(_STABLE_PAUSE_SECONDS)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Write together: when the block ends, everything is committed, to be read by read_committed readers.

        From begin to commit within the transaction time-out. An error inside the block, also one of the caller's, ends
        the session; what was written is ended as aborted by the next `take`, whoever does that.

        Raises:
            FencedError: a newer session has the shard, or the transaction timed out. It is not committed.
            UnavailableError: something failed or did not answer; **whether it is committed is not known** until the
                ledger has been read after the next `take`.
        """
        producer = self._producer
        if producer is None or self._spoiled:
            raise RuntimeError("the session is not taken, or had an error: drop it and take it again")
        transaction = Transaction(
            producer,
            limit_bytes=self._kafka.record_bytes_max + self._kafka.enclosing_bytes_extra,
            compression=self._compression,
            faults=self._faults,
        )
        self._spoiled = True  # unless it ends well
        doing = f"writing the transaction of {self._transactional_id}"
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._kafka.transaction_timeout.total_seconds()):
                with translated(doing):
                    await producer.begin()
                yield transaction
                with translated(doing):
                    await transaction.settle()
                await _pass(self._faults, "after_produce")
                await _pass(self._faults, "before_commit")
                with translated(doing):
                    await self._commit(producer)
        except TimeoutError as error:
            failure = translate(error, doing)
            self._observer.failed(failure.code)
            raise failure from error
        except NoticewireError as error:
            self._observer.failed(error.code)
            raise
        self._observer.committed(asyncio.get_running_loop().time() - began)
        await _pass(self._faults, "after_commit")
        self._spoiled = False

    async def _commit(self, producer: ShardProducer) -> None:
        """Commit in a task that outlives this one's cancellation: half a commit would leave aiokafka in no state."""
        self._committing = asyncio.create_task(producer.commit())
        self._committing.add_done_callback(consume)
        await asyncio.shield(self._committing)
        self._committing = None

    async def drop(self) -> None:
        """Let go at once: no flush, no abort, buffered records are gone. Does nothing when nothing is held.

        No abort, since that often raises, and the next `take` ends what is open. Returns within seconds.
        """
        producer, self._producer = self._producer, None
        committing, self._committing = self._committing, None
        self._spoiled = False
        if producer is not None:
            await producer.drop()
        if committing is not None and not committing.done():
            committing.cancel()  # its sender is gone: it waits for nothing
            await asyncio.wait({committing}, timeout=1)


async def _pass(faults: Faults | None, point: str) -> None:
    if faults is not None:
        await faults(point)
