"""What simulated bureaus answer, how soon, and when they are away; each follows from the seed alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from math import exp
from random import Random

from broker.model.message import ENDS, Event
from broker.model.receipt import ActorKind, DeclineReason, Stage
from producers.simulator.generator import seeded
from producers.simulator.mix import chosen, happens

DECLINED_SHARE = 0.06
SILENT_SHARE = 0.02
"""Received, and nothing after that: what reminders are for."""

ACTIONED_SHARE = 0.15
"""Of what was accepted."""

THOUGHT_BETTER_SHARE = 0.1
"""Of what was declined: accepted after all."""

FAILS_SHARE = 0.03
"""The bureau's own system fails over it, and takes it when it is asked again."""

REASONS: Mapping[DeclineReason, float] = {
    DeclineReason.NOT_CONCERNED: 0.5,
    DeclineReason.INSUFFICIENT_DATA: 0.2,
    DeclineReason.NATIONAL_LAW: 0.15,
    DeclineReason.DUPLICATE: 0.1,
    DeclineReason.NOT_COMPLIANT: 0.05,
}
"""Why a bureau declines; our choice."""

ANSWER_SECONDS_MEDIAN = 3.0
ANSWER_SIGMA = 0.9
"""Delays are log-normal: half within three seconds, one in a hundred later than 25. A real bureau takes minutes."""

ABSENCE_WINDOW = timedelta(seconds=60)
ABSENCE_SHARE = 0.06
"""In each window a bureau may be away once, from its beginning."""

ABSENCE_SECONDS_MIN, ABSENCE_SECONDS_MAX = 10, 40

_OFFICERS = ("officer-1", "officer-2", "officer-3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a bureau does with a delivery at some moment.

    Attributes:
        after: since the reply before it; since it came, for the first.
        stage: what it acknowledges; `None` where its own system fails, and nothing is acknowledged.
        reason: why it declines.
        actor: who answers.
        actor_kind: a program, or an officer by pseudonym.
    """

    after: timedelta
    stage: Stage | None
    reason: DeclineReason | None = None
    actor: str = "simulator"
    actor_kind: ActorKind = ActorKind.PROGRAM


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How the bureaus of a simulation behave.

    Args:
        seed: chooses.
        is_hasty: nobody waits and nobody is away, as for a test at full speed; what is answered stays the same.
    """

    seed: int
    is_hasty: bool = False

    def replies(
        self, bureau: str, number: str, event: Event, revision: int, *, is_notice_of_end: bool = False
    ) -> tuple[Reply, ...]:
        """Return what a bureau replies to a delivery, in order; `received` goes without saying.

        Args:
            bureau: whose inbox it came to.
            number: the notice number.
            event: what happened to the notice.
            revision: of which revision.
            is_notice_of_end: the bureau may not see the message itself.
        """
        random = seeded(self.seed, f"answer {bureau} {number} {event} {revision}")
        fails = (self._reply(random, None),) if happens(random, FAILS_SHARE) else ()
        if is_notice_of_end or event in ENDS:
            return (*fails, self._reply(random, Stage.PURGED))
        if happens(random, SILENT_SHARE):
            return fails
        if happens(random, DECLINED_SHARE):
            declined = self._reply(random, Stage.DECLINED, chosen(random, REASONS))
            again = (self._reply(random, Stage.ACCEPTED),) if happens(random, THOUGHT_BETTER_SHARE) else ()
            return (*fails, declined, *again)
        accepted = self._reply(random, Stage.ACCEPTED)
        acted = (self._reply(random, Stage.ACTIONED),) if happens(random, ACTIONED_SHARE) else ()
        return (*fails, accepted, *acted)

    def is_away(self, bureau: str, after: timedelta) -> bool:
        """Return whether a bureau reads nothing now.

        Args:
            bureau: who.
            after: since the simulation began.
        """
        if self.is_hasty:
            return False
        window, into = divmod(after, ABSENCE_WINDOW)
        random = seeded(self.seed, f"absence {bureau} {window}")
        seconds = random.uniform(ABSENCE_SECONDS_MIN, ABSENCE_SECONDS_MAX)
        return happens(random, ABSENCE_SHARE) and into < timedelta(seconds=seconds)

    def _reply(self, random: Random, stage: Stage | None, reason: DeclineReason | None = None) -> Reply:
        seconds = ANSWER_SECONDS_MEDIAN * exp(random.gauss(0, ANSWER_SIGMA))
        officer = random.choice(_OFFICERS) if stage in {Stage.ACTIONED, Stage.DECLINED} else None
        return Reply(
            after=timedelta(0) if self.is_hasty else timedelta(seconds=seconds),
            stage=stage,
            reason=reason,
            actor=officer or "simulator",
            actor_kind=ActorKind.OFFICER if officer else ActorKind.PROGRAM,
        )
