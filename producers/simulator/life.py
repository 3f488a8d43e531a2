"""The life of a simulated case: which messages it takes, who says each, and how far apart they come. Pure.

Gaps are counted in messages of the whole network, and not in hours: so the mix of beginnings, revisions and ends is the
same at any rate, and a minute shows what takes the real network months.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from broker.members.bureau import SECRETARIAT
from broker.model.message import EndReason, Event
from producers.simulator import mix
from producers.simulator.mix import happens

REVIEW_GAP = 6.0
"""Messages between a request and its review, in the mean: red review takes about 24 hours (domain section 4)."""

URGENT_REVIEW_GAP = 1.0
"""Urgent: a shorter deadline, and no review skipped (domain section 4)."""

NEWS_GAP = 40.0
"""Messages until something new, in the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One message of a case.

    Attributes:
        event: what it says.
        revision: as the rules want it.
        issuer: who signs.
        gap: how many messages of the network after the step before it, at least 1.
        reason: why, where the event needs one.
    """

    event: Event
    revision: int
    issuer: str
    gap: int
    reason: EndReason | None = None


def notice_life(random: Random, *, owner: str, is_urgent: bool) -> list[Step]:
    """Return a notice's steps: the owner asks, the Secretariat reviews; its own cases it publishes at once."""
    steps: list[Step] = []
    if owner != SECRETARIAT:
        steps.append(Step(event=Event.REQUESTED, revision=0, issuer=owner, gap=1))
        gap = _gap(random, URGENT_REVIEW_GAP if is_urgent else REVIEW_GAP)
        fate = random.random()
        if fate < mix.REFUSED_SHARE:
            reason = random.choice((EndReason.NOT_COMPLIANT, EndReason.INCOMPLETE))
            return [*steps, Step(event=Event.REFUSED, revision=0, issuer=SECRETARIAT, gap=gap, reason=reason)]
        if fate < mix.REFUSED_SHARE + mix.WITHDRAWN_REQUEST_SHARE:
            reason = EndReason.OWNER_DECISION
            return [*steps, Step(event=Event.WITHDRAWN, revision=0, issuer=owner, gap=gap, reason=reason)]
        steps.append(Step(event=Event.PUBLISHED, revision=1, issuer=SECRETARIAT, gap=gap))
    else:
        steps.append(Step(event=Event.PUBLISHED, revision=1, issuer=SECRETARIAT, gap=1))
    return [*steps, *_in_force(random, owner=owner, revises=SECRETARIAT)]


def diffusion_life(random: Random, *, owner: str) -> list[Step]:
    """Return a diffusion's steps: the owner sends it, with nobody to ask."""
    sent = Step(event=Event.SENT, revision=1, issuer=owner, gap=1)
    return [sent, *_in_force(random, owner=owner, revises=owner)]


def _in_force(random: Random, *, owner: str, revises: str) -> Iterator[Step]:
    """Yield what happens to a case once it is in force: revisions, perhaps a suspension, perhaps an end."""
    revision = 1
    for _ in range(random.choices(range(len(mix.REVISED_SHARES)), mix.REVISED_SHARES)[0]):
        revision += 1
        yield Step(event=Event.REVISED, revision=revision, issuer=revises, gap=_gap(random, NEWS_GAP))

    def next_step(event: Event, reason: EndReason, issuer: str = SECRETARIAT) -> Step:
        gap = _gap(random, NEWS_GAP)
        return Step(event=event, revision=revision, issuer=issuer, gap=gap, reason=reason)

    if happens(random, mix.SUSPENDED_SHARE):
        yield next_step(Event.SUSPENDED, EndReason.VALIDITY_IN_DOUBT)
        if happens(random, 0.5):  # half of the doubts are resolved
            yield next_step(Event.REINSTATED, EndReason.DOUBT_RESOLVED)
        else:
            yield next_step(Event.CANCELLED, EndReason.NOT_COMPLIANT)
            return
    fate = random.random()
    if fate < mix.CANCELLED_SHARE:
        yield next_step(Event.CANCELLED, EndReason.PURPOSE_MET)
    elif fate < mix.CANCELLED_SHARE + mix.WITHDRAWN_SHARE:
        yield next_step(Event.WITHDRAWN, EndReason.OWNER_DECISION, owner)
    elif fate < mix.CANCELLED_SHARE + mix.WITHDRAWN_SHARE + mix.EXPIRED_SHARE:
        yield next_step(Event.EXPIRED, EndReason.NOT_RENEWED)


def revised(random: Random, content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of the next revision: something new is known, and sometimes fewer may know it."""
    first = content["texts"][0]
    addendum = {**first, "body": f"{first['body']} {random.choice(first['body'].split('. '))}"}
    new = {**content, "texts": [addendum, *content["texts"][1:]]}
    named = content["circulation"].get("bureaus", ())
    if len(named) > 1 and happens(random, 0.3):  # who is left out is told the end
        new["circulation"] = {**content["circulation"], "bureaus": named[1:]}
    return new


def _gap(random: Random, mean: float) -> int:
    return 1 + int(random.expovariate(1 / mean))
