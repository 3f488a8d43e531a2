"""Many bureaus in one process that take their time: answers that come later, systems that fail, bureaus that are away.

For simulations. What a bureau owes Kafka and its own file is `Desk`'s business, as in every other client; a delivery
stays open until its last answer is given, and comes again to whoever runs the bureau next if it never was.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from heapq import heappop, heappush
from itertools import count
from time import monotonic

import structlog
from typing_extensions import override

from broker.members.directory import Directory
from broker.model.receipt import DeclineReason, Stage
from broker.transport.directory import Follows
from broker.transport.inbox import Delivery
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.publisher import Writes
from consumers.bureau.desk import Desk
from consumers.bureau.host import BureauHost, Decision, Handler, Polled

logger = structlog.get_logger(__name__)

OPEN_MAX = 20_000
"""Deliveries that wait for an answer; above this nothing more is read, as in a bureau that cannot keep up."""

_POSTPONED = timedelta(milliseconds=200)
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """What a bureau does with a delivery at some moment.

    Attributes:
        after: since the step before it; since the delivery came, for the first.
        decision: the stage that it reaches; `None` where its own system fails, and is asked again with the next step.
    """

    after: timedelta
    decision: Decision | None


Planner = Callable[[Delivery], Sequence[Timed]]
"""What a bureau does with a delivery, step by step; none finishes it as received."""


@dataclass(slots=True)
class _Waiting:
    """A delivery, and what is still to be done with it."""

    partition: TopicPartition
    delivery: Delivery
    steps: list[Timed]


def _received(_delivery: Delivery) -> Sequence[Timed]:
    return ()


def _nobody_is_away(_bureau: str) -> bool:
    return False


class PacedHost(BureauHost):
    """Runs the clients of many bureaus, each at its own pace.

    Made by `connect`, as its base; `planner` and `is_away` are set before it is run.
    """

    def __init__(
        self, *, desks: Iterable[Desk], client: RawClient, follower: Follows, publisher: Writes, handler: Handler
    ) -> None:
        super().__init__(desks=desks, client=client, follower=follower, publisher=publisher, handler=handler)
        self._waiting: list[tuple[float, int, _Waiting]] = []
        self._order = count()
        self._left: dict[TopicPartition, int] = {}
        self.planner: Planner = _received
        """What each bureau does with what it is given."""
        self.is_away: Callable[[str], bool] = _nobody_is_away
        """Whether a bureau reads and answers nothing now."""
        self.given: Counter[tuple[Stage, DeclineReason | None]] = Counter()
        """Answers by stage, and by reason where declined; `received` goes without saying."""
        self.failures = 0
        """How often a bureau's own system has failed over a delivery."""
        self.absences = 0
        """How often a bureau has gone away."""

    @property
    def open(self) -> int:
        """How many deliveries wait for an answer."""
        return len(self._waiting)

    @property
    def away(self) -> frozenset[str]:
        """Who is away now."""
        return frozenset(self._desks[partition].bureau for partition in self._left if partition in self._desks)

    @override
    async def _read(self) -> tuple[Polled, Directory | None]:
        self._come_and_go()
        if len(self._waiting) < OPEN_MAX:
            return await super()._read()
        await asyncio.sleep(_LOOK_SECONDS)
        return (), None

    @override
    async def _handle(self, polled: Polled, directory: Directory | None) -> int:
        """Plan what is to be done with what came, and give the answers that are due."""
        moved: dict[TopicPartition, Desk] = {}
        finished = self._take(polled, directory, moved) if directory is not None else 0
        finished += self._answer(moved)
        await self._flush(list(moved.values()))
        self.handled += finished
        return finished

    def _take(self, polled: Polled, directory: Directory, moved: dict[TopicPartition, Desk]) -> int:
        finished = 0
        for partition, batches in polled:
            desk = self._desks.get(partition)
            if desk is None:
                continue
            for delivery in desk.take(batches, directory):
                steps = list(self.planner(delivery))
                if steps:
                    self._wait(_Waiting(partition, delivery, steps), monotonic(), steps[0].after)
                else:
                    desk.finish(delivery)
                    finished += 1
            self._reader.advance(partition, batches[-1].next_offset)
            moved[partition] = desk
        return finished

    def _answer(self, moved: dict[TopicPartition, Desk]) -> int:
        """Give what is due; the answers of whoever is away wait."""
        finished = 0
        now = monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            one = heappop(self._waiting)[2]
            desk = self._desks.get(one.partition)
            if desk is None:  # fenced: whoever took over is given it
                continue
            if one.partition in self._left:
                self._wait(one, now, _POSTPONED)
                continue
            decision = one.steps.pop(0).decision
            if decision is None:
                self.failures += 1
                logger.info("Delivery failed in a bureau's own system", bureau=desk.bureau, number=one.delivery.number)
            else:
                desk.acknowledge(
                    one.delivery,
                    decision.stage,
                    reason=decision.reason,
                    actor=decision.actor,
                    actor_kind=decision.actor_kind,
                )
                self.given[decision.stage, decision.reason] += 1
            if one.steps:
                self._wait(one, now, one.steps[0].after)
            else:
                desk.finish(one.delivery)
                finished += 1
            moved[one.partition] = desk
        return finished

    def _wait(self, one: _Waiting, now: float, after: timedelta) -> None:
        heappush(self._waiting, (now + after.total_seconds(), next(self._order), one))

    def _come_and_go(self) -> None:
        """Stop reading the inboxes of whoever left, and go on with those of whoever is back."""
        for partition, desk in self._desks.items():
            is_away = self.is_away(desk.bureau)
            if is_away and partition in self._reader.positions:
                self._left[partition] = self._reader.positions[partition]
                self._reader.drop(partition)
                self.absences += 1
                logger.info("Bureau away", bureau=desk.bureau)
            elif not is_away and partition in self._left:
                self._reader.assign(partition, self._left.pop(partition))
                logger.info("Bureau back", bureau=desk.bureau)
