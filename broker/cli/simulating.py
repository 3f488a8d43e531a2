"""One simulation on an installation: publishes as everybody, and plays the bureaus that answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from time import monotonic
from typing import Any
from uuid import UUID

from broker.cli.context import Context
from broker.errors import MisuseError, RefusedError
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.model.outcome import Verdict
from broker.transport.inbox import Delivery, DeliveryKind
from consumers.bureau.host import Decision
from consumers.bureau.paced import PacedHost, Timed
from producers.client import Producer, Result
from producers.simulator.answers import Answers, Reply
from producers.simulator.arrivals import Rate
from producers.simulator.cast import Cast
from producers.simulator.generator import PLANNED_PER_SECOND, Simulation
from producers.simulator.numbers import Numbers
from producers.simulator.player import at_once, on_time, planned, play, waiting_for

ANSWERED_WITHIN_SECONDS = 60.0
"""How long the bureaus have for their last answers once nothing more is published; after Ctrl-C, less."""

INTERRUPTED_WITHIN_SECONDS = 5.0

OUTSTANDING_MAX = 1_000
"""Messages without the router's word at `max`, as far as the bureaus are played: so fast as the slowest part goes."""

_LOOK_SECONDS = 0.2
_QUIET_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is simulated.

    Attributes:
        seed: chooses everything.
        start: when it begins, as the messages say.
        rate: how fast.
        duration: for how long, if not for ever.
        count: how many messages, if not any number.
        bureaus: who takes part; everybody if left out.
        plays_bureaus: whether the bureaus answer.
    """

    seed: int
    start: datetime
    rate: Rate
    duration: timedelta | None = None
    count: int | None = None
    bureaus: tuple[str, ...] | None = None
    plays_bureaus: bool = True

    @property
    def run(self) -> str:
        """Names a run by all that its messages follow from."""
        said = f"{self.seed} {self.start.isoformat()} {self.rate.per_second} {self.bureaus}"
        return sha256(said.encode()).hexdigest()[:16]


class SimulationRun:
    """One simulation; its counters may be read while it runs.

    Args:
        context: the installation, with everybody's keys.
        options: what is simulated.
    """

    def __init__(self, context: Context, options: Options) -> None:
        self._context = context
        self._options = options
        self._answers = Answers(seed=options.seed, is_hasty=options.rate.per_second is None)
        self._outstanding: set[UUID] = set()
        self._room = asyncio.Event()
        self._host: PacedHost | None = None
        self._began = monotonic()
        self._published_all = False
        self._first_serial = 0
        self.published: Counter[str] = Counter()
        """By event."""
        self.refused: list[str] = []
        """Why; there should be none."""
        self.outcomes: Counter[str] = Counter()
        """By verdict; known where the bureaus are played."""
        self.deliveries = 0

    @property
    def failed(self) -> bool:
        """Whether a message was refused or rejected: the simulator, or the installation, is wrong."""
        return bool(self.refused or self.outcomes[Verdict.REJECTED])

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until all is published or somebody says stop, and let the bureaus give their last answers.

        Raises:
            MisuseError: a bureau's key is not here, or another simulation runs on the data folder.
            UnavailableError: Kafka stayed away.
        """
        async with contextlib.AsyncExitStack() as stack:
            producer = await stack.enter_async_context(Producer.connect(data=self._context.data, outcomes=False))
            cast = Cast.of(await producer.directory(), self._options.bureaus)
            self._check_keys(cast)
            numbers = stack.enter_context(Numbers.held(self._context.data, run=self._options.run))
            simulation = Simulation(
                seed=self._options.seed,
                start=self._options.start,
                cast=cast,
                per_second=self._options.rate.per_second or PLANNED_PER_SECOND,
                first_serial=numbers.first_serial,
            )
            self._first_serial = numbers.first_serial
            stack.callback(lambda: numbers.close(simulation.next_serial))
            hosting = await stack.enter_async_context(self._bureaus(cast)) if self._options.plays_bureaus else None
            self._began = monotonic()
            await _during(hosting, self._publish(producer, simulation, numbers, stop))
            if hosting is not None:
                await _during(hosting, self._last_answers(stop))

    def summary(self) -> dict[str, Any]:
        """Return what was done so far, for programs."""
        summary: dict[str, Any] = {
            "seed": self._options.seed,
            "start": self._options.start.isoformat(),
            "first_serial": self._first_serial,
            "seconds": round(monotonic() - self._began, 1),
            "published": self.published.total(),
            "events": {str(event): number for event, number in sorted(self.published.items())},
            "refused": len(self.refused),
        }
        if self._host is None:
            return summary
        given = self._host.given
        stages: Counter[str] = Counter()
        for (stage, _), number in given.items():
            stages[stage] += number
        return summary | {
            "outcomes": {str(verdict): number for verdict, number in sorted(self.outcomes.items())},
            "without_outcome": len(self._outstanding),
            "deliveries": self.deliveries,
            "answers": {str(stage): number for stage, number in sorted(stages.items())},
            "declined": {str(reason): number for (_, reason), number in sorted(given.items()) if reason is not None},
            "failures": self._host.failures,
            "absences": self._host.absences,
            "open": self._host.open,
        }

    # ---------------------------------------------------------------------------------------------------- publishing

    async def _publish(self, producer: Producer, simulation: Simulation, numbers: Numbers, stop: asyncio.Event) -> None:
        messages = planned(simulation, count=self._options.count, duration=self._options.duration)
        stopped = waiting_for(stop)

        async def wait(left: timedelta) -> bool:
            while len(self._outstanding) >= OUTSTANDING_MAX and self._answers.is_hasty and not stop.is_set():
                self._room.clear()
                with contextlib.suppress(TimeoutError):  # to see whether to stop
                    await asyncio.wait_for(self._room.wait(), _LOOK_SECONDS)
            return await stopped(left)

        def about_to(message: Notice | Diffusion) -> None:
            numbers.use(simulation.next_serial)
            if self._options.plays_bureaus:
                self._outstanding.add(message.message_id)

        def landed(result: Result) -> None:
            if isinstance(result.result, RefusedError):
                self.refused.append(f"{result.message.number} {result.message.event}: {result.result}")
                self._outstanding.discard(result.message.message_id)
            else:
                self.published[result.message.event] += 1

        pace = (
            at_once(messages, wait=wait)
            if self._options.rate.per_second is None
            else on_time(messages, start=simulation.start, wait=wait)
        )
        await play(producer, pace, about_to=about_to, landed=landed)

    def _check_keys(self, cast: Cast) -> None:
        missing = [code for code in cast.codes if code not in self._context.keys]
        if missing:
            some = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")  # noqa: PLR2004 - some
            raise MisuseError(
                f"no private key of {some} in {self._context.keys.folder}: a simulator signs as everybody who takes"
                " part, so it works on the data folder of a demo (noticewire demo --keep) or of noticewire up;"
                " name it with --data, or name with --bureaus those whose keys are there"
            )

    # ------------------------------------------------------------------------------------------------------- bureaus

    @contextlib.asynccontextmanager
    async def _bureaus(self, cast: Cast) -> AsyncIterator[asyncio.Task[None]]:
        stop = asyncio.Event()
        async with PacedHost.connect(
            cast.codes,
            data=self._context.data,
            kafka=self._context.kafka,
            root_public=self._context.root_public,
            codec=self._context.codec(),
        ) as host:
            host.planner, host.is_away = self._plan, self._is_away
            self._host = host
            hosting = asyncio.create_task(host.run(stop))
            try:
                yield hosting
            finally:
                stop.set()
                # Without Kafka it would try for ever to send its receipts: they are in the bureaus' files.
                await asyncio.wait({hosting}, timeout=INTERRUPTED_WITHIN_SECONDS)
                hosting.cancel()
                await asyncio.wait({hosting})

    def _plan(self, delivery: Delivery) -> Sequence[Timed]:
        if delivery.outcome is not None:
            if delivery.outcome.message_id in self._outstanding:
                self._outstanding.discard(delivery.outcome.message_id)
                self._room.set()
                self.outcomes[delivery.outcome.verdict] += 1
            return ()
        if not delivery.kind.takes_receipts:
            return ()
        self.deliveries += 1
        replies = self._answers.replies(
            delivery.bureau,
            delivery.number,
            delivery.event,
            delivery.revision,
            is_notice_of_end=delivery.kind is DeliveryKind.END,
        )
        return [Timed(after=reply.after, decision=_decision(reply)) for reply in replies]

    def _is_away(self, bureau: str) -> bool:
        if self._published_all:  # everybody comes back to finish
            return False
        return self._answers.is_away(bureau, timedelta(seconds=monotonic() - self._began))

    async def _last_answers(self, stop: asyncio.Event) -> None:
        """Wait until every message has its outcome and every delivery its answer, for a bounded time."""
        self._published_all = True
        if self._host is None:
            return
        began = quiet_since = monotonic()
        handled = self._host.handled
        while monotonic() - began < (INTERRUPTED_WITHIN_SECONDS if stop.is_set() else ANSWERED_WITHIN_SECONDS):
            await asyncio.sleep(_LOOK_SECONDS)
            if self._outstanding or self._host.open or self._host.handled != handled:
                handled, quiet_since = self._host.handled, monotonic()
            elif monotonic() - quiet_since >= _QUIET_SECONDS:
                return


async def _during(hosting: asyncio.Task[None] | None, work: Any) -> None:
    """Do something, unless the bureaus end first, with what ended them."""
    task = asyncio.ensure_future(work)
    try:
        watched = {task} if hosting is None else {task, hosting}
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and hosting is not None:
            hosting.result()
        await task
    finally:
        task.cancel()
        await asyncio.wait({task})


def _decision(reply: Reply) -> Decision | None:
    if reply.stage is None:
        return None
    return Decision(stage=reply.stage, reason=reply.reason, actor=reply.actor, actor_kind=reply.actor_kind)
