"""The only module that touches aiokafka's private parts; `PRIVATE_PARTS` names them, and a test pins them.

Bare names come in, the installation's prefix is put before them here. Every failure leaves as one of ours:

UnavailableError      a broker is away, a leader is moving, a topic is missing, an answer did not come
FencedError           a newer producer has our transactional id, or our transaction timed out
CorruptHistoryError   the log no longer holds the position that was asked for
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, structs
from aiokafka import errors as kafka_errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest
from typing_extensions import override

from broker.errors import CorruptHistoryError, FencedError, NoticewireError, UnavailableError
from broker.model.naming import Names
from broker.settings import KafkaSettings

logger = structlog.get_logger(__name__)

PRIVATE_PARTS: Mapping[str, tuple[str, ...]] = {
    "AIOKafkaClient": ("_conns", "send", "cluster", "set_topics", "force_metadata_update", "fetch_all_metadata"),
    "AIOKafkaProducer": ("client", "_sender", "_txn_manager", "_closed", "_message_accumulator"),
    "Sender": ("sender_task", "client"),
    "TransactionManager": ("_transaction_waiter",),
    "MessageAccumulator": ("_batches",),
    "MessageBatch": ("_drain_waiter",),
    "AIOKafkaConsumer": ("_coordinator", "_client"),
    "GroupCoordinator": (
        "generation",
        "member_id",
        "request_rejoin",
        "_do_heartbeat",
        "_coordination_task",
    ),
    "BatchBuilder": ("_set_producer_state", "_build", "append", "close", "closed", "record_count", "size"),
}
"""What is used here (and, for `BatchBuilder`, imitated in `fanout`) beyond aiokafka's documented interface."""

_LATEST, _EARLIEST = -1, -2
"""The two timestamps that ListOffsets takes for a log's end and its beginning."""

_ONCE = (ProduceRequest, AddPartitionsToTxnRequest, EndTxnRequest)
"""Requests that may take effect twice, the second time inside a later transaction, if repeated without an answer."""

_NOT_YET_SECONDS = 0.05

_DROP_SECONDS = 2.0
"""How long letting go may take; what is still open afterwards dies with its connection."""


class TopicPartition(NamedTuple):
    """A partition by its topic's bare name."""

    topic: str
    partition: int

    @override
    def __str__(self) -> str:
        """Write it as in origins: `notices.africa/1`."""
        return f"{self.topic}/{self.partition}"


class _NotYetError(Exception):
    """An answer that another moment may change."""


class UnansweredError(UnavailableError):
    """A transactional request got no answer, so it may still be carried out: the session must be dropped.

    Not an aiokafka error, because its sender repeats a request after one of those.
    """

    code = "unanswered"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a leader answered for one partition."""

    partition: TopicPartition
    high_watermark: int
    last_stable: int
    log_start: int
    aborted: tuple[tuple[int, int], ...]
    """Producer id and first offset of the aborted transactions in this stretch; only of a read_committed fetch."""
    data: bytes
    """Record batches, the last one perhaps cut off."""


def milliseconds(duration: timedelta) -> int:
    """Return a duration as aiokafka takes it."""
    return duration // timedelta(milliseconds=1)


def is_fenced(error: BaseException | None) -> bool:
    """Whether somebody newer has our id, in whatever aiokafka has wrapped that."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, kafka_errors.ProducerFenced | kafka_errors.InvalidProducerEpoch):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def translate(error: BaseException, doing: str) -> NoticewireError:
    """Return the error of ours that a failure of aiokafka means.

    An `AssertionError` is one too: aiokafka asserts its transaction's state, which is off after a time-out.
    """
    if isinstance(error, NoticewireError):
        return error
    words = f"{doing}: {type(error).__name__}" + (f": {error}" if str(error) else "")
    return FencedError(words) if is_fenced(error) else UnavailableError(words)


@contextlib.contextmanager
def translated(doing: str) -> Iterator[None]:
    """Let what aiokafka raises out as an error of ours; `doing` says what failed."""
    try:
        yield
    except (kafka_errors.KafkaError, TimeoutError, OSError, AssertionError) as error:
        raise translate(error, doing) from error


def connection(kafka: KafkaSettings) -> dict[str, Any]:
    """Return what every client of aiokafka is given."""
    return {
        "bootstrap_servers": kafka.bootstrap_servers,
        "request_timeout_ms": milliseconds(kafka.request_timeout),
    }


async def warm(client: AIOKafkaClient, names: Names, tracked: set[str], wanted: Iterable[str], within: float) -> None:
    """Learn the partitions of all `wanted` topics in one request: one by one, 226 inboxes take 1 to 15 s; so, 58 ms.

    Raises:
        UnavailableError: topics are missing (named), or no broker answers.
    """
    tracked.update(names.on_cluster(topic) for topic in wanted)
    missing: list[str] = []
    heard = False
    try:
        async with asyncio.timeout(within):
            while True:
                client.set_topics(frozenset(tracked))
                heard = await client.force_metadata_update() or heard
                missing = sorted(
                    names.bare(topic) for topic in tracked if not client.cluster.partitions_for_topic(topic)
                )
                if heard and not missing:
                    return
                await asyncio.sleep(_NOT_YET_SECONDS)
    except TimeoutError:
        tracked.difference_update(names.on_cluster(topic) for topic in missing)
        words = (
            f"topics are missing: {' '.join(missing)}; run noticewire topics apply" if heard else "no broker answers"
        )
        raise UnavailableError(words) from None


class RawClient:
    """Requests to Kafka below the level of producers and consumers: explicit offsets, whole record batches.

    Args:
        kafka: how to reach the cluster.
        client_id: shown in the brokers' logs and quotas.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._client: AIOKafkaClient | None = None
        self._tracked: set[str] = set()
        self.names = Names(kafka.prefix)

    @property
    def kafka(self) -> KafkaSettings:
        """How the cluster is reached."""
        return self._kafka

    async def start(self) -> None:
        """Connect.

        Raises:
            UnavailableError: no broker answers.
        """
        if self._client is not None:
            return
        client = AIOKafkaClient(client_id=self._client_id, metadata_max_age_ms=60_000, **connection(self._kafka))
        try:
            with translated("connecting to Kafka"):
                async with asyncio.timeout(self._kafka.request_timeout.total_seconds()):
                    await client.bootstrap()
        except BaseException:
            await client.close()
            raise
        self._client = client

    async def stop(self) -> None:
        """Close every connection; requests under way fail."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def warm(self, topics: Iterable[str]) -> None:
        """Learn where the partitions of all these topics are, in one request.

        Raises:
            UnavailableError: a topic is missing (named), or no broker answers.
        """
        wanted = set(topics)
        client = self._started()
        if all(client.cluster.partitions_for_topic(self.names.on_cluster(topic)) for topic in wanted):
            self._tracked.update(map(self.names.on_cluster, wanted))
            return
        await warm(client, self.names, self._tracked, wanted, self._kafka.metadata_timeout.total_seconds())

    async def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has.

        Raises:
            UnavailableError: it does not exist, or no broker answers.
        """
        await self.warm([topic])
        return len(self._started().cluster.partitions_for_topic(self.names.on_cluster(topic)) or ())

    async def topics(self) -> set[str]:
        """Return the bare names of every topic of this installation: those that begin with its prefix."""
        with translated("listing topics"):
            cluster = await self._started().fetch_all_metadata()
        found: Collection[str] = cluster.topics(exclude_internal_topics=True)
        return {self.names.bare(topic) for topic in found if topic.startswith(self.names.prefix)}

    async def leaders(self, partitions: Iterable[TopicPartition]) -> dict[int, list[TopicPartition]]:
        """Return which node leads which of the partitions, in the order given.

        Raises:
            UnavailableError: a topic is missing, or a partition has no leader now.
        """
        wanted = list(partitions)
        client = self._started()
        by_node: dict[int, list[TopicPartition]] = {}
        if leaderless := self._group_by_leader(client, wanted, by_node):
            await self.warm({partition.topic for partition in wanted})
            by_node = {}
            leaderless = self._group_by_leader(client, wanted, by_node)
        if leaderless:
            self.refresh()
            raise UnavailableError(f"no leader for {' '.join(map(str, leaderless[:5]))}")
        return by_node

    def _group_by_leader(
        self, client: AIOKafkaClient, partitions: list[TopicPartition], by_node: dict[int, list[TopicPartition]]
    ) -> list[TopicPartition]:
        """Sort partitions to their leaders; return those without."""
        leaderless = []
        for partition in partitions:
            node = client.cluster.leader_for_partition(self._on_cluster(partition))
            if node is None or node < 0:
                leaderless.append(partition)
            else:
                by_node.setdefault(node, []).append(partition)
        return leaderless

    def refresh(self) -> None:
        """Ask for fresh metadata, in the background: a leader has moved."""
        if self._client is not None:
            self._client.force_metadata_update()

    async def fetch(
        self,
        node: int,
        positions: Mapping[TopicPartition, int],
        *,
        committed: bool,
        lane: str,
        max_wait: timedelta,
        max_bytes: int,
        partition_bytes: int,
    ) -> list[Fetched]:
        """Ask a leader for record batches from explicit positions, in the order of `positions`.

        Args:
            node: the leader of all these partitions.
            positions: offset to read from.
            committed: read_committed: up to the last stable offset, with a list of aborted transactions.
            lane: a connection of its own, since a broker answers one connection's requests one after the other, and
                a fetch waits.
            max_wait: how long the leader may wait for the first byte.
            max_bytes: of the whole answer; the first batch comes whole even when it is larger.
            partition_bytes: of each partition.

        Raises:
            CorruptHistoryError: the log does not hold a position, or is damaged there.
            UnavailableError: no answer, or a leader has moved.
        """
        topics: dict[str, list[tuple[int, int, int]]] = {}
        for partition, offset in positions.items():
            entry = (partition.partition, offset, partition_bytes)
            topics.setdefault(self.names.on_cluster(partition.topic), []).append(entry)
        request = FetchRequest(milliseconds(max_wait), 1, max_bytes, int(committed), list(topics.items()))
        answer = await self._send(node, request, lane, "fetching")
        fetched = []
        for topic, parts in answer.topics:
            for number, error_code, high_watermark, last_stable, log_start, aborted, *_, data in parts:
                partition = TopicPartition(self.names.bare(topic), number)
                self._check_fetched(error_code, partition, positions[partition], log_start)
                fetched.append(
                    Fetched(partition, high_watermark, last_stable, log_start, tuple(aborted or ()), data or b"")
                )
        return fetched

    def _check_fetched(self, error_code: int, partition: TopicPartition, position: int, log_start: int) -> None:
        """Raise what a partition's error means."""
        error = kafka_errors.for_code(error_code)
        place = f"{partition}/{position}"
        if error is kafka_errors.OffsetOutOfRangeError:
            raise CorruptHistoryError(place, f"the log does not hold this position (it starts at {log_start})")
        if error is kafka_errors.CorruptRecordException:
            raise CorruptHistoryError(place, "the broker finds its log damaged here")
        if error is not kafka_errors.NoError:
            self.refresh()
            raise UnavailableError(f"fetching {place}: {error.__name__}")
        if log_start > position:
            raise CorruptHistoryError(place, f"the log starts at {log_start}: what was before is gone")

    async def end_offsets(
        self, partitions: Iterable[TopicPartition], *, committed: bool = False
    ) -> dict[TopicPartition, int]:
        """Return where each partition ends, with one request a leader.

        Args:
            partitions: of any topics.
            committed: the last stable offset instead of the high watermark.

        Raises:
            UnavailableError: a topic is missing, no answer, or a leader is moving.
        """
        return await self._list_offsets(partitions, _LATEST, committed=committed)

    async def end_offset(self, partition: TopicPartition, *, committed: bool = False) -> int:
        """Return where a partition ends; see `end_offsets`."""
        return (await self.end_offsets([partition], committed=committed))[partition]

    async def log_starts(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset that each partition still holds; see `end_offsets`."""
        return await self._list_offsets(partitions, _EARLIEST, committed=False)

    async def log_start(self, partition: TopicPartition) -> int:
        """Return the first offset that a partition still holds."""
        return (await self.log_starts([partition]))[partition]

    async def _list_offsets(
        self, partitions: Iterable[TopicPartition], at: int, *, committed: bool
    ) -> dict[TopicPartition, int]:
        """Ask all leaders at once; once more while one has not yet heard that it leads (a topic just made)."""
        wanted = list(partitions)
        deadline = asyncio.get_running_loop().time() + self._kafka.metadata_timeout.total_seconds()
        while True:
            try:
                by_node = await self.leaders(wanted)
                answers = await asyncio.gather(
                    *(self._list_offsets_at(node, led, at, committed=committed) for node, led in by_node.items())
                )
            except _NotYetError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise UnavailableError(str(error)) from None
                await asyncio.sleep(_NOT_YET_SECONDS)
            else:
                return {partition: offset for answer in answers for partition, offset in answer.items()}

    async def _list_offsets_at(
        self, node: int, led: list[TopicPartition], at: int, *, committed: bool
    ) -> dict[TopicPartition, int]:
        topics: dict[str, list[tuple[int, int]]] = {}
        for partition in led:
            topics.setdefault(self.names.on_cluster(partition.topic), []).append((partition.partition, at))
        request = OffsetRequest(-1, int(committed), list(topics.items()))
        answer = await self._send(node, request, "offsets", "asking for offsets")
        found = {}
        for topic, parts in answer.topics:
            for number, error_code, _, offset in parts:
                partition = TopicPartition(self.names.bare(topic), number)
                error = kafka_errors.for_code(error_code)
                if error is not kafka_errors.NoError:
                    self.refresh()
                    words = f"asking for the offsets of {partition}: {error.__name__}"
                    raise _NotYetError(words) if error.retriable else UnavailableError(words)
                found[partition] = offset
        return found

    def release(self, lane: str) -> None:
        """Close a lane's connections; a fetch that still waits there is given up."""
        if self._client is None:
            return
        for key in [key for key in self._client._conns if key[1] == lane]:  # noqa: SLF001 - see PRIVATE_PARTS
            self._client._conns.pop(key).close(reason=CloseReason.SHUTDOWN)  # noqa: SLF001

    async def _send(self, node: int, request: Any, lane: str, doing: str) -> Any:
        try:
            return await self._started().send(node, request, group=lane)
        except kafka_errors.KafkaError as error:
            self.refresh()
            raise translate(error, doing) from error

    def _started(self) -> AIOKafkaClient:
        if self._client is None:
            raise UnavailableError("not connected to Kafka: start() comes first")
        return self._client

    def _on_cluster(self, partition: TopicPartition) -> structs.TopicPartition:
        return structs.TopicPartition(self.names.on_cluster(partition.topic), partition.partition)


class ShardProducer(AIOKafkaProducer):
    """A transactional producer that repeats no request which got no answer, and that can be dropped hard.

    aiokafka speaks the transaction protocol from before KIP-890: a broker may carry a request out after its connection
    broke, and after its repetition, inside a later transaction (KAFKA-17754). Here the first request without an answer
    ends the producer; the next `start` with the same id raises the epoch, which fences the stray. An answer that says
    "not yet" is repeated by aiokafka, without limit: bound the wait.
    """

    def __init__(self, kafka: KafkaSettings, *, transactional_id: str) -> None:
        names = Names(kafka.prefix)
        super().__init__(  # type: ignore[no-untyped-call]
            transactional_id=names.on_cluster(transactional_id),
            client_id=names.on_cluster(transactional_id),
            transaction_timeout_ms=milliseconds(kafka.transaction_timeout),
            **connection(kafka),
        )
        self._kafka = kafka
        self._names = names
        self._tracked: set[str] = set()
        self._dropped = False
        self._send_any: Any = self.client.send
        self.client.send = self._send_once  # type: ignore[method-assign] # the one place that every request passes

    async def _send_once(self, node: int, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        """Stand in for the client's `send`, through which every request of the producer goes."""
        if self._dropped:
            raise asyncio.CancelledError
        try:
            return await self._send_any(node, request, group=group)
        except kafka_errors.NodeNotReadyError:
            raise  # there was no connection: nothing was sent, and it may be tried again
        except kafka_errors.KafkaError as error:
            if self._dropped:
                raise asyncio.CancelledError from error
            if not isinstance(request, _ONCE):
                raise
            # Several may fail at once, and the sender looks at the first only.
            if task := asyncio.current_task():
                task.add_done_callback(consume)
            raise UnansweredError(f"{type(request).__name__} got no answer: {error}") from error

    async def warm(self, topics: Iterable[str]) -> None:
        """Learn where the partitions of all these topics are, in one request.

        Raises:
            UnavailableError: a topic is missing (named), or no broker answers.
        """
        await warm(self.client, self._names, self._tracked, topics, self._kafka.metadata_timeout.total_seconds())

    @override
    async def start(self) -> None:
        """Connect and take the transactional id: whoever had it is fenced, and its open transaction is aborted.

        aiokafka tries for as long as it takes; bound it.
        """
        await super().start()  # type: ignore[no-untyped-call]

    async def begin(self) -> None:
        """Begin a transaction; nothing is sent yet."""
        await self.begin_transaction()  # type: ignore[no-untyped-call]

    async def send_copy(self, batch: Any, target: TopicPartition) -> asyncio.Future[Any]:
        """Hand over a batch in the open transaction; the future is done when it is in the log.

        Args:
            batch: has the methods of aiokafka's `BatchBuilder`.
            target: its topic's metadata was asked for by `warm`.
        """
        topic = self._names.on_cluster(target.topic)
        sent: asyncio.Future[Any] = await self.send_batch(batch, topic, partition=target.partition)  # type: ignore[no-untyped-call]
        return sent

    async def commit(self) -> None:
        """Commit, even if a send has failed: wait for all of them before. Never cancel this."""
        await self.commit_transaction()  # type: ignore[no-untyped-call]

    async def drop(self) -> None:
        """Let go at once: no flush, no abort, buffered records are gone; the next start with this id ends the rest."""
        self._dropped = True
        self._closed = True
        await drop_producer(self)


def is_alive(producer: AIOKafkaProducer) -> bool:
    """Whether a started producer still sends: after an error in its sender it never will again."""
    sender = producer._sender.sender_task  # noqa: SLF001
    return sender is not None and not sender.done()


async def drop_producer(producer: AIOKafkaProducer) -> None:
    """Cancel a producer's sender and close its client, without flushing; bounded, and never raises what they raise."""
    producer._closed = True  # noqa: SLF001
    sender = producer._sender.sender_task  # noqa: SLF001
    if sender is not None:
        sender.cancel()
    # Twice: requests that the sender still waits for end with their connections, and may have opened one meanwhile.
    for _ in range(2):
        closing = asyncio.create_task(producer.client.close())
        pending = {task for task in (sender, closing) if task is not None}
        await asyncio.wait(pending, timeout=_DROP_SECONDS)
        for task in pending:
            if task.done():
                consume(task)
    # What nobody waits for any more, so that asyncio does not report it as forgotten.
    transactions: Any = producer._txn_manager  # noqa: SLF001
    waiter = transactions and transactions._transaction_waiter  # noqa: SLF001
    if waiter is not None:
        waiter.add_done_callback(consume)
    for batches in producer._message_accumulator._batches.values():  # noqa: SLF001
        for batch in batches:
            batch._drain_waiter.add_done_callback(consume)  # noqa: SLF001


def consume(task: asyncio.Future[Any]) -> None:
    """Look at a failure that is already known, so that asyncio does not report it as forgotten."""
    if not task.cancelled():
        task.exception()


class MemberConsumer(AIOKafkaConsumer):
    """A consumer that is used for its group membership only, with what that needs of its coordinator."""

    _coordinator: Any

    def __init__(self, kafka: KafkaSettings, *, group: str, instance: str, assignors: tuple[type, ...]) -> None:
        names = Names(kafka.prefix)
        super().__init__(  # type: ignore[no-untyped-call]
            client_id=names.on_cluster(instance),
            group_id=names.on_cluster(group),
            group_instance_id=names.on_cluster(instance),
            session_timeout_ms=milliseconds(kafka.session_timeout),
            heartbeat_interval_ms=milliseconds(kafka.heartbeat_interval),
            rebalance_timeout_ms=milliseconds(kafka.session_timeout),
            partition_assignment_strategy=assignors,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=5000,  # nothing ever comes
            **connection(kafka),
        )
        self._names = names

    async def join(self, topic: str, listener: ConsumerRebalanceListener) -> None:
        """Join the group, and return with a first assignment; bound it."""
        self.subscribe([self._names.on_cluster(topic)], listener=listener)  # type: ignore[no-untyped-call]
        await self.start()  # type: ignore[no-untyped-call]

    @property
    def is_coordinated(self) -> bool:
        """Whether aiokafka still looks after the membership: an error that it did not expect ends that for good."""
        return self._coordinator is not None and not self._coordinator._coordination_task.done()  # noqa: SLF001

    async def turn(self, timeout_ms: int) -> None:
        """Wait, and raise what the coordinator has held back."""
        await self.getmany(timeout_ms=timeout_ms)

    @property
    def generation(self) -> int:
        """The group's generation that this member belongs to; -1 when it belongs to none."""
        return -1 if self._coordinator is None else int(self._coordinator.generation)

    @property
    def member_id(self) -> str:
        """What the group calls this member; another one after it had been put out."""
        return "" if self._coordinator is None else str(self._coordinator.member_id)

    async def heartbeat(self, within: float) -> bool:
        """Ask the group's coordinator whether this is a member of its present generation.

        Args:
            within: seconds to wait for the answer.
        """
        if self.generation < 0:
            return False
        try:
            async with asyncio.timeout(within):
                return bool(await self._coordinator._do_heartbeat())  # noqa: SLF001
        except (kafka_errors.KafkaError, TimeoutError):
            return False

    def rejoin(self) -> None:
        """Ask the group to assign anew."""
        self._coordinator.request_rejoin()

    async def leave(self) -> None:
        """Stop, whatever the coordination is doing; a static member's place is kept for the session time-out."""
        if self._coordinator is not None:
            # `stop` waits for this task, which may be in a callback or in a join that never ends.
            task = self._coordinator._coordination_task  # noqa: SLF001
            task.cancel()
            await asyncio.wait({task}, timeout=_DROP_SECONDS)
            if task.done():
                consume(task)
        # A task, because aiokafka's fetcher lets out the cancellation of its own requests where no broker answers.
        stopping = asyncio.create_task(self.stop())  # type: ignore[no-untyped-call]
        stopping.add_done_callback(consume)
        await asyncio.wait({stopping}, timeout=_DROP_SECONDS)
        stopping.cancel()
