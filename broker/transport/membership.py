"""Who has which shard: membership in a group on the empty topic `shards`, and nothing more.

Fencing and fold give safety; the group only gives life. So an assignment that is late, doubled or lost costs time, and
never a delivery. Non-obvious, each once a fault of a prototype:

- aiokafka revokes and assigns everything at each rebalance; shards that stay keep running.
- Coordinator errors surface only in `getmany`, so it is called for ever, although no record ever comes.
- Its callbacks are no place to wait in: they only note what happened, and `share` acts on it.
- A fenced member that starts again at once fences the rightful owner; one that only waits orphans the shard. So it
  asks for a rebalance, and starts when the group has assigned anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import structlog
from aiokafka import ConsumerRebalanceListener
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as ClusterPartition
from typing_extensions import override

from broker.errors import CorruptHistoryError, EvictedError, FencedError, StorageError, UnavailableError
from broker.model.naming import SHARDS_TOPIC, Shard
from broker.observe.observers import SharingObserver
from broker.settings import KafkaSettings
from broker.transport.kafka import MemberConsumer, translated
from broker.transport.slots import Slot, claim_slot

__all__ = ["Lease", "Membership", "Slot", "Work", "claim_slot", "share"]

logger = structlog.get_logger(__name__)

_TURN_MS = 200
_CONFIRM_SECONDS = 3.0
_REJOIN_SECONDS = 1.0
_RESTART_SECONDS = (0.1, 0.5)
_DISK_SECONDS = (1.0, 4.0)
"""A disk stays full for longer, and the log may lie on it."""
_REMIND_SECONDS = 60.0
"""How often a halted shard is told of again: whoever looks at the last lines of a log must find it."""
_JOIN_SECONDS = 30.0
"""A join waits for the others' session time-outs and rebalances."""


class Membership(ConsumerRebalanceListener):
    """This process as a static member of a group that shares the shards.

    Args:
        kafka: how to reach the cluster.
        group: `routers` or `trackers`.
        instance: a name that no other live process of the group has, inherited by the replacement: a `Slot`'s.

    Attributes:
        assigned: the shards that the group has given to this member.
        turn: grows with each assignment, also of the same shards.
        evicted: the group has put this member out, or another process has its name.
        halted: shards whose history contradicts itself, and where; this process runs them no more.
    """

    def __init__(self, *, kafka: KafkaSettings, group: str, instance: str) -> None:
        self._kafka = kafka
        self._group = group
        self.instance = instance
        self._consumer: MemberConsumer | None = None
        self.assigned: frozenset[Shard] = frozenset()
        self.turn = 0
        self.evicted = False
        self.halted: dict[Shard, CorruptHistoryError] = {}

    async def start(self) -> None:
        """Join the group, and return with a first assignment.

        Raises:
            UnavailableError: no broker answers, the topic `shards` is missing, or the group is not ready.
        """
        # Round robin has no state, and static members' ids begin with their instance, so each is given the same again.
        # The sticky one keeps its state on the class.
        assignors = (RoundRobinPartitionAssignor,)
        consumer = MemberConsumer(self._kafka, group=self._group, instance=self.instance, assignors=assignors)
        self._consumer = consumer
        self.evicted = False
        try:
            with translated(f"joining the group {self._group}"):
                async with asyncio.timeout(_JOIN_SECONDS):
                    await consumer.join(SHARDS_TOPIC, self)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop being heard; a static member's shards are kept for its replacement until the session time-out."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.leave()

    @property
    def member_id(self) -> str:
        """What the group calls this member now; another one after it had been put out."""
        return "" if self._consumer is None else self._consumer.member_id

    async def turn_over(self) -> None:
        """Wait a fifth of a second, and let the coordinator's errors out into the log.

        Raises:
            EvictedError: the group has put this member out: end the process, for its replacement to begin anew.
            UnavailableError: the membership has broken down: the same.
        """
        if self._consumer is None:
            raise UnavailableError("not a member: start() comes first")
        try:
            await self._consumer.turn(_TURN_MS)
        except KafkaError as error:
            # FENCED_INSTANCE_ID, which aiokafka does not know: another process has joined under our name.
            if type(error) is KafkaError and "UnknownError" in str(error):
                self.evicted = True
            logger.warning("Membership disturbed", group=self._group, instance=self.instance, problem=str(error))
            if not self.evicted and not self._consumer.is_coordinated:
                raise UnavailableError(f"the membership of {self.instance} has broken down: {error}") from error
            await asyncio.sleep(_TURN_MS / 1000)  # an error that lasts comes at once
        if self.evicted:
            await self.stop()  # before aiokafka joins again and puts out whoever has our place now
            raise EvictedError(f"{self.instance} was put out of the group {self._group}")

    async def confirm(self) -> bool:
        """Ask the group whether this is a member in good standing; false also when nobody answers in time."""
        return not self.evicted and self._consumer is not None and await self._consumer.heartbeat(_CONFIRM_SECONDS)

    def rejoin(self) -> None:
        """Ask the group to assign anew."""
        if self._consumer is not None:
            self._consumer.rejoin()

    @override
    async def on_partitions_revoked(self, revoked: Iterable[ClusterPartition]) -> None:
        """Note an eviction: aiokafka is about to join again because the group no longer knows this member."""
        if self.turn and self._consumer is not None and self._consumer.generation < 0:
            self.evicted = True
            # Joining again would put out whoever has our place now, who would do the same to us, for ever. `leave`
            # cancels this.
            await asyncio.Event().wait()

    @override
    async def on_partitions_assigned(self, assigned: Iterable[ClusterPartition]) -> None:
        """Note what the group has given."""
        self.assigned = frozenset(Shard.at(partition.partition) for partition in assigned)
        self.turn += 1
        logger.info(
            "Shards assigned",
            group=self._group,
            instance=self.instance,
            shards=" ".join(sorted(map(str, self.assigned))),
        )


class Lease:
    """A shard's permission to run: until told to stop, and only while the group answers.

    Attributes:
        stop: set when the shard has to be let go: finish the transaction under way, and return.
    """

    def __init__(self, confirm: Callable[[], Awaitable[bool]]) -> None:
        self.stop = asyncio.Event()
        self._confirm = confirm

    async def confirm(self) -> bool:
        """Whether a heartbeat succeeds: ask before a shard is taken. False: wait a little, and ask again."""
        return not self.stop.is_set() and await self._confirm()


Work = Callable[[Shard, Lease], Awaitable[None]]
"""Runs a shard until its lease says stop. Raises FencedError when somebody newer has it."""


@dataclass(slots=True)
class _Running:
    """One shard at work."""

    lease: Lease
    task: asyncio.Task[None]
    told_at: float | None = None
    """When it was told to stop, or cancelled, on the loop's clock."""


@dataclass(slots=True)
class _Sharing:
    """What `share` knows between its turns."""

    membership: Membership
    work: Work
    grace_seconds: float
    observer: SharingObserver
    running: dict[Shard, _Running] = field(default_factory=dict)
    fenced: set[Shard] = field(default_factory=set)
    reminded_at: float = float("-inf")
    not_before: dict[Shard, float] = field(default_factory=dict)
    turn: int = 0
    member_id: str = ""
    rejoined_at: float = float("-inf")

    def notice_assignment(self) -> None:
        """After a new assignment, forget who was fenced; after an eviction, stop whatever is held: it is stale."""
        if self.membership.turn == self.turn:
            return
        self.turn = self.membership.turn
        self.fenced.clear()
        if self.member_id not in ("", self.membership.member_id):
            for shard in self.running:
                self.tell(shard)
        self.member_id = self.membership.member_id

    def collect(self) -> None:
        """See which shards have ended, and why.

        Raises:
            Exception: whatever is neither of ours nor expected: a bug, which ends the process.
        """
        for shard, running in list(self.running.items()):
            if not running.task.done():
                continue
            del self.running[shard]
            if running.task.cancelled():
                continue
            match running.task.exception():
                case None:
                    pass
                case EvictedError() as error:
                    self.observer.evicted()
                    raise error
                case FencedError() as error:
                    logger.warning("Shard fenced", shard=str(shard), problem=str(error))
                    self.fenced.add(shard)
                    self.observer.fenced(str(shard))
                case CorruptHistoryError() as error:
                    self.membership.halted[shard] = error  # a person decides; the others go on
                    self.reminded_at = float("-inf")
                case StorageError() as error:
                    logger.error("Shard unavailable", shard=str(shard), problem=str(error))
                    self.put_off(shard, _DISK_SECONDS)
                case UnavailableError() as error:
                    logger.warning("Shard unavailable", shard=str(shard), problem=str(error))
                    self.put_off(shard, _RESTART_SECONDS)
                case error:
                    raise error

    def put_off(self, shard: Shard, seconds: tuple[float, float]) -> None:
        """Take a shard again after a moment."""
        self.observer.unavailable(str(shard))
        self.not_before[shard] = _now() + random.uniform(*seconds)  # noqa: S311 - only spreads

    def tell(self, shard: Shard) -> None:
        """Tell a shard to stop; cancel it when it has had its time."""
        running = self.running[shard]
        running.lease.stop.set()
        if running.told_at is None:
            running.told_at = _now()
        elif _now() > running.told_at + self.grace_seconds:
            running.told_at = _now()  # cancelled again at each turn, it could never let go of what it holds
            running.task.cancel()

    def keep(self, wanted: frozenset[Shard]) -> None:
        """Stop what is not wanted, go on stopping what was told to, start what is wanted and may start."""
        for shard, running in self.running.items():
            if shard not in wanted or running.told_at is not None:
                self.tell(shard)
        for shard in sorted(wanted - self.fenced - self.membership.halted.keys() - self.running.keys()):
            if self.not_before.get(shard, 0) <= _now():
                lease = Lease(self.membership.confirm)
                task = asyncio.create_task(_run(self.work, shard, lease), name=f"shard {shard}")
                self.running[shard] = _Running(lease, task)

    def ask_anew(self, wanted: frozenset[Shard]) -> None:
        """Ask for a rebalance when a shard is fenced and still ours; not more than once a second."""
        if self.fenced & wanted and _now() > self.rejoined_at + _REJOIN_SECONDS:
            self.rejoined_at = _now()
            logger.info("Rebalance asked for", fenced=" ".join(sorted(map(str, self.fenced & wanted))))
            self.membership.rejoin()

    def remind(self) -> None:
        """Tell of the halted shards, at once and then every minute."""
        if self.membership.halted and _now() > self.reminded_at + _REMIND_SECONDS:
            self.reminded_at = _now()
            for shard, error in self.membership.halted.items():
                logger.error("Shard halted: its history contradicts itself", shard=str(shard), **error.log_fields())

    async def end(self) -> None:
        """Stop every shard, within the time that each has, and wait until all of them have let go."""
        for shard in self.running:
            self.tell(shard)
        tasks = {running.task for running in self.running.values()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self.grace_seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=self.grace_seconds)
        try:
            self.collect()
            self.remind()
        except Exception:
            # On the way out, what `share` raises matters more.
            logger.exception("A shard failed while it was let go")


async def _run(work: Work, shard: Shard, lease: Lease) -> None:
    await work(shard, lease)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def share(
    membership: Membership,
    work: Work,
    *,
    stopping: asyncio.Event,
    grace_seconds: float = 15.0,
    observer: SharingObserver | None = None,
) -> None:
    """Run the shards that the group gives to this member, until told to stop.

    A shard whose work raises FencedError is not started again before the group has assigned anew; UnavailableError:
    after a moment; CorruptHistoryError: not at all in this process, while the others go on.

    Args:
        membership: started; stopped by whoever made it.
        work: runs one shard. It must let go of everything before it returns or raises, also when cancelled.
        stopping: set to end all; returns when each shard has let go.
        grace_seconds: how long a shard that was told to stop may take before it is cancelled: above the transaction
            time-out.
        observer: is told how the shards fare.

    Raises:
        EvictedError: the group has put this member out; every shard was stopped. End the process: its replacement
            takes the slot and begins anew. Not once `stopping` is set: whoever is to end needs no replacement.
        UnavailableError: the membership has broken down; the same.
    """
    sharing = _Sharing(membership, work, grace_seconds, observer or SharingObserver())
    try:
        await _share(sharing, stopping)
    except (EvictedError, UnavailableError) as error:
        if not stopping.is_set():
            raise
        logger.info("No member any more when told to stop", instance=membership.instance, problem=str(error))


async def _share(sharing: _Sharing, stopping: asyncio.Event) -> None:
    membership = sharing.membership
    try:
        while not stopping.is_set():
            sharing.observer.turned()
            try:
                await membership.turn_over()
            except EvictedError:
                sharing.observer.evicted()
                raise
            sharing.notice_assignment()
            sharing.collect()
            sharing.remind()
            sharing.keep(membership.assigned)
            sharing.ask_anew(membership.assigned)
    finally:
        await sharing.end()
