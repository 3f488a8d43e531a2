"""What a notice's past allows: who may say what, which revision comes next, and which step may follow which.

Read it against the two tables of the design's section 2, "Who gets a message". Everything here is pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broker.errors import RejectedRecordError
from broker.members.directory import SECRETARIAT
from broker.model.message import Event, Message
from broker.model.naming import MessageClass
from broker.model.rejection import RejectReason


class Phase(StrEnum):
    """Where a notice or diffusion stands."""

    REQUESTED = "requested"
    IN_FORCE = "in_force"
    SUSPENDED = "suspended"
    REFUSED = "refused"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class NoticeState:
    """What the router remembers of one notice; a fold of its ledger entries."""

    phase: Phase
    revision: int
    holders: frozenset[str]
    """Every bureau that was given any revision, the owner and each issuer included."""


class Speaker(StrEnum):
    """Who may say something."""

    OWNER = "owner"
    SECRETARIAT = "secretariat"


MAY_SAY: dict[tuple[MessageClass, Event], Speaker] = {
    (MessageClass.NOTICE, Event.REQUESTED): Speaker.OWNER,
    (MessageClass.NOTICE, Event.REFUSED): Speaker.SECRETARIAT,
    (MessageClass.NOTICE, Event.PUBLISHED): Speaker.SECRETARIAT,
    (MessageClass.NOTICE, Event.REVISED): Speaker.SECRETARIAT,
    (MessageClass.NOTICE, Event.SUSPENDED): Speaker.SECRETARIAT,
    (MessageClass.NOTICE, Event.REINSTATED): Speaker.SECRETARIAT,
    (MessageClass.NOTICE, Event.CANCELLED): Speaker.SECRETARIAT,
    (MessageClass.NOTICE, Event.WITHDRAWN): Speaker.OWNER,
    (MessageClass.NOTICE, Event.EXPIRED): Speaker.SECRETARIAT,
    (MessageClass.DIFFUSION, Event.SENT): Speaker.OWNER,
    (MessageClass.DIFFUSION, Event.REVISED): Speaker.OWNER,
    (MessageClass.DIFFUSION, Event.SUSPENDED): Speaker.SECRETARIAT,
    (MessageClass.DIFFUSION, Event.REINSTATED): Speaker.SECRETARIAT,
    (MessageClass.DIFFUSION, Event.CANCELLED): Speaker.SECRETARIAT,
    (MessageClass.DIFFUSION, Event.WITHDRAWN): Speaker.OWNER,
    (MessageClass.DIFFUSION, Event.EXPIRED): Speaker.SECRETARIAT,
}
"""Who signs each event (design section 2, first table)."""

AFTER: dict[Event, Phase] = {
    Event.REQUESTED: Phase.REQUESTED,
    Event.REFUSED: Phase.REFUSED,
    Event.PUBLISHED: Phase.IN_FORCE,
    Event.SENT: Phase.IN_FORCE,
    Event.REVISED: Phase.IN_FORCE,
    Event.SUSPENDED: Phase.SUSPENDED,
    Event.REINSTATED: Phase.IN_FORCE,
    Event.CANCELLED: Phase.ENDED,
    Event.WITHDRAWN: Phase.ENDED,
    Event.EXPIRED: Phase.ENDED,
}
"""Where an event leads."""

MAY_FOLLOW: dict[Phase, frozenset[Event]] = {
    Phase.REQUESTED: frozenset({Event.PUBLISHED, Event.REFUSED, Event.WITHDRAWN}),
    Phase.IN_FORCE: frozenset({Event.REVISED, Event.SUSPENDED, Event.CANCELLED, Event.WITHDRAWN, Event.EXPIRED}),
    Phase.SUSPENDED: frozenset({Event.REINSTATED, Event.CANCELLED, Event.WITHDRAWN, Event.EXPIRED}),
    Phase.REFUSED: frozenset(),
    Phase.ENDED: frozenset(),
}
"""The lifecycle; refusals and ends are final."""

_NEW_REVISION = frozenset({Event.PUBLISHED, Event.SENT, Event.REVISED})


def check_issuer(message: Message) -> None:
    """Refuse what its issuer may not say.

    Raises:
        RejectedRecordError: reason `issuer`.
    """
    speaker = MAY_SAY.get((message.parsed_number.message_class, message.event))
    expected = message.owner if speaker is Speaker.OWNER else SECRETARIAT
    if speaker is None or message.issuer != expected:
        raise RejectedRecordError(
            RejectReason.ISSUER,
            f"{message.event} is said by {'the owner' if speaker is Speaker.OWNER else SECRETARIAT}"
            f" ({expected}), and {message.issuer} signed it",
        )


def check_life(message: Message, past: NoticeState | None) -> None:
    """Refuse a message that does not fit its notice's past.

    Raises:
        RejectedRecordError: reason `no_beginning`, `stale` or `lifecycle`, the first that holds.
    """
    event, revision = message.event, message.revision
    if past is None:
        if not _begins(message):
            raise RejectedRecordError(
                RejectReason.NO_BEGINNING, f"{event} continues {message.number}, of which nothing was routed before"
            )
        return
    expected = past.revision + 1 if event in _NEW_REVISION else past.revision
    if revision > expected:
        raise RejectedRecordError(
            RejectReason.NO_BEGINNING,
            f"revision {revision} continues revision {revision - 1 if event in _NEW_REVISION else revision},"
            f" which is not there; the latest is {past.revision}",
        )
    if revision < expected:
        raise RejectedRecordError(
            RejectReason.STALE, f"revision {revision} of {event} is too low; expected {expected} now"
        )
    if event not in MAY_FOLLOW[past.phase]:
        raise RejectedRecordError(RejectReason.LIFECYCLE, f"{event} may not follow while {past.phase}")


def _begins(message: Message) -> bool:
    """Whether an event needs nothing before it: a request, a diffusion, or a case of the Secretariat's own."""
    match message.event:
        case Event.REQUESTED | Event.SENT:
            return True
        case Event.PUBLISHED:
            return message.owner == SECRETARIAT
        case _:
            return False


def after(
    past: NoticeState | None, event: Event, revision: int, *, owner: str, issuer: str, given: frozenset[str]
) -> NoticeState:
    """Return a notice's state once a message about it is routed and given to some bureaus."""
    holders = (past.holders if past is not None else frozenset()) | given | {owner, issuer}
    return NoticeState(AFTER[event], revision, holders)
