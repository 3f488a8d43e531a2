"""From a seed to the messages of a network, in order, each with the moment at which it comes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from heapq import heappop, heappush
from random import Random
from typing import Any
from uuid import UUID

from broker.clock import to_epoch_ms, to_millis
from broker.errors import MisuseError
from broker.members.bureau import SECRETARIAT
from broker.model.diffusion import Diffusion
from broker.model.message import Event
from broker.model.naming import MessageClass, NoticeNumber
from broker.model.notice import Notice, NoticeType
from broker.model.parsing import parse_message
from producers.simulator import mix
from producers.simulator.arrivals import arrivals
from producers.simulator.cast import Cast
from producers.simulator.content import Author, Content, Sort
from producers.simulator.life import Step, diffusion_life, notice_life, revised
from producers.simulator.mix import happens

FIRST_SERIAL, LAST_SERIAL = 500_000, 999_999
"""The simulator's own range of notice numbers: a bureau that counts its cases from 1 does not get there."""

PLANNED_PER_SECOND = 100.0
"""How dense the times of issue are where messages are published as fast as it goes: a day holds 8 million."""

_OPERATION_OFFENCES = ("thb.sexual", "thb.labour", "thb.labour.fisheries", "thb.labour.mining", "drugs", "firearms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A message, and when it comes; its `issued_at` is that moment."""

    message: Notice | Diffusion
    at: datetime


@dataclass(slots=True)
class _Case:
    """A case, and what is still to be said of it."""

    number: NoticeNumber
    content: Content
    steps: list[Step]
    random: Random


@dataclass(slots=True)
class _Operation:
    """What the messages of one burst have in common."""

    code: str
    offence: str
    owners: list[str]


@dataclass(kw_only=True)
class Simulation:
    """A repeatable network: equal arguments give equal messages, byte for byte.

    Args:
        seed: chooses everything.
        start: when it begins; all times follow from it.
        cast: who takes part.
        per_second: how many messages come, in the mean.
        first_serial: the first number of each owner; another run on the same installation needs another one.
    """

    seed: int
    start: datetime
    cast: Cast
    per_second: float = PLANNED_PER_SECOND
    first_serial: int = FIRST_SERIAL
    next_serial: int = field(init=False)
    """Where the next run's numbers may begin."""

    def __post_init__(self) -> None:
        """Cut the start to what the wire carries."""
        self.start = to_millis(self.start.astimezone(UTC))
        self.next_serial = self.first_serial
        self._random = seeded(self.seed, "network")
        self._serials: Counter[tuple[str, MessageClass]] = Counter()
        self._due: list[tuple[int, int, _Case]] = []
        self._operations: dict[int, _Operation] = {}
        self._begun = 0

    def messages(self) -> Iterator[Planned]:
        """Yield messages for ever, each at its place in its notice's life.

        Raises:
            MisuseError: an owner has used up the simulator's range of numbers.
        """
        for slot, arrival in enumerate(arrivals(seeded(self.seed, "arrivals"), self.per_second)):
            at = to_millis(self.start + arrival.after)
            if arrival.burst is None and self._due and self._due[0][0] <= slot:
                case = heappop(self._due)[2]
            else:
                case = self._begin(at, self._operation(arrival.burst))
            yield Planned(message=self._say(case, case.steps.pop(0), at), at=at)
            if case.steps:
                self._begun += 1  # also tells apart what is due at the same slot: cases cannot be compared
                heappush(self._due, (slot + case.steps[0].gap, self._begun, case))

    def _begin(self, at: datetime, operation: _Operation | None) -> _Case:
        random = self._random
        is_notice = happens(random, mix.NOTICE_SHARE)
        sort: Sort = mix.chosen(random, mix.TYPES) if is_notice else mix.chosen(random, mix.KINDS)
        owner = random.choice(operation.owners) if operation else self._owner(sort)
        own = seeded(self.seed, f"case {random.getrandbits(64)}")
        author = Author(own, cast=self.cast, owner=owner, at=at)
        takes_offence = operation is not None and sort is not NoticeType.SPECIAL
        content = author.write(sort, offence=operation.offence if operation and takes_offence else None)
        content["status"] = mix.chosen(own, mix.STATUSES).value
        if operation:
            content["operation"] = operation.code
        if is_notice:
            steps = notice_life(own, owner=owner, is_urgent=content.get("urgency") == "urgent")
        else:
            steps = diffusion_life(own, owner=owner)
        message_class = MessageClass.NOTICE if is_notice else MessageClass.DIFFUSION
        return _Case(self._number(owner, message_class), content, steps, own)

    def _owner(self, sort: Sort) -> str:
        """Whose case it is: a member's, mostly; the UN asks for special notices, the court for a few red ones."""
        random, entities = self._random, self.cast.entities
        if sort is NoticeType.SPECIAL:
            return "un" if "un" in entities else SECRETARIAT
        if sort is NoticeType.RED and "icc" in entities and happens(random, 0.01):  # one in a hundred
            return "icc"
        if sort in {NoticeType.ORANGE, NoticeType.PURPLE} and happens(random, 0.3):  # its own warnings
            return SECRETARIAT
        return self.cast.member(random)

    def _operation(self, burst: int | None) -> _Operation | None:
        """A burst is an operation: a few countries, one form of crime, one code."""
        if burst is None:
            return None
        if burst not in self._operations:
            own = seeded(self.seed, f"operation {burst}")
            first = self.cast.member(own)
            owners = [first, *self.cast.others(own, first, own.randint(1, 6))]
            self._operations = {burst: _Operation(f"simulated-{burst}", own.choice(_OPERATION_OFFENCES), owners)}
        return self._operations[burst]

    def _number(self, owner: str, message_class: MessageClass) -> NoticeNumber:
        serial = self.first_serial + self._serials[owner, message_class]
        if serial > LAST_SERIAL:
            raise MisuseError(f"{owner} has used up the simulator's numbers up to {LAST_SERIAL}")
        self._serials[owner, message_class] += 1
        self.next_serial = max(self.next_serial, serial + 1)
        return NoticeNumber(owner, message_class, self.start.year, serial)

    def _say(self, case: _Case, step: Step, at: datetime) -> Notice | Diffusion:
        if step.event is Event.REVISED:
            case.content = revised(case.random, case.content)
        stated: dict[str, Any] = {
            "message_id": a_message_id(case.random, at),
            "number": str(case.number),
            "owner": case.number.owner,
            "region": self.cast.region_of(case.number.owner),
            "event": step.event,
            "revision": step.revision,
            "issuer": step.issuer,
            "issued_at": at,
            "reason": step.reason,
        }
        return parse_message({**case.content, **stated})


def seeded(seed: int, what: str) -> Random:
    """Return a source of choices of its own for each purpose, so that one more choice in one moves no other."""
    return Random(f"noticewire {seed} {what}")  # noqa: S311 - repeatable by its seed, and no secret


def a_message_id(random: Random, at: datetime) -> UUID:
    """Return a UUIDv7 (RFC 9562, section 5.7) of a moment, its random bits from a seed."""
    value = (to_epoch_ms(at) & (1 << 48) - 1) << 80 | 7 << 76 | random.getrandbits(12) << 64
    return UUID(int=value | 0b10 << 62 | random.getrandbits(62))
