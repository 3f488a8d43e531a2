"""What the broker itself says to bureaus: the outcome of a message, and the notice of end."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID, uuid5

from pydantic import Field

from broker.model.base import BureauCode, Digest, Model, Moment
from broker.model.ledger import LedgerEntry
from broker.model.message import Event

BROKER = "broker"
"""Who signs what the broker makes; its key is in the directory."""

_NAMESPACE = UUID("6f0c3b0e-7a0e-5d4e-9a52-0f1f6d1f7a11")


class Verdict(StrEnum):
    """What became of a message."""

    UNKNOWN = "unknown"
    ROUTED = "routed"
    """It is with everybody who may have it."""
    REPEAT = "repeat"
    """It was here before; the first outcome stands."""
    REJECTED = "rejected"
    """It reached nobody."""


class Outcome(Model):
    """The router's word to a message's issuer and owner."""

    outcome_id: UUID
    """Follows from origin and bureau: the same whenever it is made again."""
    bureau: BureauCode
    """To whom this outcome is given."""
    number: str
    """The notice number."""
    message_id: UUID
    """Of the message."""
    origin: str
    """Where the message lies on its feed."""
    digest: Digest
    """SHA-256 of the message's value."""
    verdict: Verdict
    """What became of it."""
    reason: str | None = None
    """`RejectReason`, where rejected."""
    detail: str = ""
    """What is wrong and the mend; never a value of the record."""
    given: int = Field(default=0, ge=0)
    """How many inboxes were given it."""
    ended: int = Field(default=0, ge=0)
    """How many were given a notice of end in its place."""
    withheld: int = Field(default=0, ge=0)
    """From how many a rule took it."""
    decided_at: Moment
    """The message's append time: the same after a crash."""


class NoticeOfEnd(Model):
    """What a holder gets who may not see the message that ends, suspends or narrows what it holds."""

    notice_id: UUID
    """Follows from origin and bureau: the same whenever it is made again."""
    bureau: BureauCode
    """To whom it is given."""
    number: str
    """The notice number."""
    event: Event
    """The message's: an end, a suspension, or a revision that goes to others."""
    revision: int
    """The message's."""
    origin: str
    """Of the issuer's message."""
    digest: Digest
    """SHA-256 of the issuer's message."""
    made_at: Moment
    """The message's append time: the same after a crash."""


def id_for(kind: str, origin: str, bureau: str) -> UUID:
    """Return the id of what the broker makes for a bureau about a record: the same whenever it is made again."""
    return uuid5(_NAMESPACE, f"{kind} {origin} {bureau}")


def notice_of_end(entry: LedgerEntry, bureau: str) -> NoticeOfEnd:
    """Return the notice of end that a ledger entry says a bureau was given.

    The router writes it, and the tracker makes it again to hold a receipt's digest against it.

    Raises:
        ValueError: the entry is not about a routed message.
    """
    if entry.number is None or entry.event is None or entry.revision is None or entry.digest is None:
        msg = f"the entry of {entry.origin} is not about a routed message"
        raise ValueError(msg)
    return NoticeOfEnd(
        notice_id=id_for("end", str(entry.origin), bureau),
        bureau=bureau,
        number=entry.number,
        event=entry.event,
        revision=entry.revision,
        origin=str(entry.origin),
        digest=entry.digest,
        made_at=entry.appended_at,
    )
