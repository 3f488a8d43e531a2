"""One decision: who is given a message, who is told only that it ended, and from whom it is withheld and why.

A pure function of the message, the directory and the notice's past. The router runs it, and `noticewire explain` runs
the same. Read it against section 2 of the design.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from broker.members.directory import SECRETARIAT, Bureau, Directory
from broker.model.ledger import WithheldReason
from broker.model.message import Event, Message
from broker.trust.candidates import candidates
from broker.trust.entitlement import sets_apart, withheld_reason
from consumers.router.life import NoticeState


class Reach(StrEnum):
    """Whom an event goes to, before entitlement."""

    SECRETARIAT = "secretariat"
    OWNER = "owner"
    CANDIDATES = "candidates"
    HOLDERS = "holders"


GOES_TO: dict[Event, Reach] = {
    Event.REQUESTED: Reach.SECRETARIAT,
    Event.REFUSED: Reach.OWNER,
    Event.PUBLISHED: Reach.CANDIDATES,
    Event.SENT: Reach.CANDIDATES,
    Event.REVISED: Reach.CANDIDATES,
    Event.SUSPENDED: Reach.HOLDERS,
    Event.REINSTATED: Reach.HOLDERS,
    Event.CANCELLED: Reach.HOLDERS,
    Event.WITHDRAWN: Reach.HOLDERS,
    Event.EXPIRED: Reach.HOLDERS,
}
"""The last column of the design's first table in section 2."""

TOLD_TO_EVERY_HOLDER = frozenset(
    {Event.REVISED, Event.SUSPENDED, Event.CANCELLED, Event.WITHDRAWN, Event.EXPIRED},
)
"""A holder who may not see one of these gets a notice of end: nobody is left holding what they were not told about.

`reinstated` is not among them: it ends nothing, so from who may not see it, it is simply withheld.
"""


@dataclass(frozen=True, slots=True)
class Audience:
    """What a decision comes to; codes of bureaus throughout."""

    delivered: frozenset[str]
    """Given the message itself: recipients, and the owner's copy."""
    ended: frozenset[str] = frozenset()
    """Given a notice of end instead."""
    withheld: dict[WithheldReason, frozenset[str]] = field(default_factory=dict)
    """Reached by the circulation or as holders, and taken away by a rule of entitlement."""


Entitlement = Callable[[Message, Bureau], WithheldReason | None]
"""Which rule takes a message away from a bureau, if any does."""


def decide(
    message: Message,
    directory: Directory,
    past: NoticeState | None,
    *,
    entitlement: Entitlement = withheld_reason,
) -> Audience:
    """Decide who is given a message that its issuer may say and its notice's past allows.

    Args:
        message: a valid message.
        directory: bureaus, their status, clearance and subscriptions, as of one version.
        past: what was routed of this notice before, if anything.
        entitlement: the rules that take away; another one only in tests, to show that each rule matters.
    """
    holders = past.holders if past is not None else frozenset()
    match GOES_TO[message.event]:
        case Reach.SECRETARIAT:
            # The reviewer sees every request: no rule of entitlement stands between an owner and the review.
            return Audience(delivered=frozenset({SECRETARIAT}) - {message.issuer})
        case Reach.OWNER:
            reached = frozenset({message.owner})
        case Reach.CANDIDATES:
            reached = candidates(message, directory)
        case Reach.HOLDERS:
            reached = holders

    # The owner always gets a copy, whatever the rules say; the issuer only the outcome.
    withheld = _withheld(message, directory, reached - {message.owner, message.issuer}, entitlement)
    recipients = reached - frozenset().union(*withheld.values())
    delivered = (recipients | {message.owner}) - {message.issuer}
    ended = holders - delivered - {message.issuer} if message.event in TOLD_TO_EVERY_HOLDER else frozenset[str]()
    return Audience(delivered, ended, withheld)


def _withheld(
    message: Message, directory: Directory, reached: frozenset[str], entitlement: Entitlement
) -> dict[WithheldReason, frozenset[str]]:
    """Return what entitlement takes away: each rule, and the bureaus that it takes the message from."""
    taken: dict[WithheldReason, frozenset[str]] = {}
    for alike in _alike(message, directory, reached):
        bureau = directory.get(next(iter(alike)))
        # Nobody leaves the directory, so a code that it does not know is a doubt; and in doubt we withhold.
        reason = WithheldReason.SUSPENDED if bureau is None else entitlement(message, bureau)
        if reason is not None:
            taken[reason] = taken.get(reason, frozenset()) | alike
    return taken


def _alike(message: Message, directory: Directory, reached: frozenset[str]) -> Iterator[frozenset[str]]:
    """Divide bureaus into those that entitlement cannot tell apart: 226 for each message are the hot path."""
    rest = reached - sets_apart(message)
    alone = reached - rest
    for group in directory.groups():
        alike = rest & group.codes
        if alike:
            yield alike
            rest -= alike
    yield from (frozenset({code}) for code in alone | rest)
