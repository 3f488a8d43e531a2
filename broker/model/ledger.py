"""The ledger: one entry for every stretch of a feed, and what it says happened to it."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import Field

from broker.model.base import BureauCode, Digest, Model, Moment
from broker.model.content import Few
from broker.model.message import Event
from broker.model.naming import Origin


class EntryKind(StrEnum):
    """What the router did with a stretch of a feed."""

    UNKNOWN = "unknown"
    ROUTED = "routed"
    """Delivered to whom it is for, who may be nobody."""
    REPEAT = "repeat"
    """The same bytes again: entered, not delivered."""
    REJECTED = "rejected"
    """Set aside whole, with the reason."""
    PASSED_OVER = "passed_over"
    """Offsets that hold no record: a transaction's marker, or a hole that compaction or an abort left."""


class WithheldReason(StrEnum):
    """Which rule of entitlement takes a message away from a candidate; on the wire, so never rename one."""

    UNKNOWN = "unknown"
    EXCLUDED = "excluded"
    """The issuer named the bureau in the exclusions (RPD article 58)."""
    CLEARANCE = "clearance"
    """The classification is above the bureau's clearance (RPD article 112)."""
    VICTIM = "victim"
    """The subject is a victim or a witness, and the bureau is not addressed by its own code (domain section 6)."""
    SUSPENDED = "suspended"
    """The Secretariat suspended the bureau."""
    NOT_ASKED_FOR = "not_asked_for"
    """EXERCISE or TEST, and no subscription of the bureau asks for that (rule 6)."""
    UNREADABLE = "unreadable"
    """The bureau reads an older version of the format, in which the message cannot be said without loss."""


class Rewritten(Model):
    """A message as it was written for bureaus that read an older version of the format; signed by the broker."""

    version: int = Field(ge=1, lt=2**31)
    """That they were given."""
    digest: Digest
    """SHA-256 of the value that they were given."""
    delivered: str
    """Their codes: some of the entry's `delivered`."""


class LedgerEntry(Model):
    """One stretch of a feed, and who was given what; no personal data, so it is kept for ever."""

    kind: EntryKind
    """What the router did."""
    topic: str
    """The feed."""
    partition: int = Field(ge=0)
    """Of the feed, and of this ledger."""
    from_offset: int = Field(ge=0)
    """The first offset of the stretch."""
    next_offset: int = Field(ge=1)
    """The first one after it."""
    appended_at: Moment
    """When Kafka appended the record to the feed."""
    directory_offset: int = Field(ge=0)
    """The directory as it was applied: every record before this offset."""
    number: str | None = None
    """What the record says from here on to `revision`; of a rejected one only where its stated issuer signed it."""
    message_id: UUID | None = None
    """Of the message or command."""
    issuer: BureauCode | None = None
    """Who signed it."""
    event: Event | None = None
    """Of the message."""
    revision: int | None = None
    """Of the message."""
    digest: Digest | None = None
    """SHA-256 of the feed record's value."""
    delivered: str = ""
    """Codes of who was given the message itself."""
    ended: str = ""
    """Codes of who was given a notice of end in its place."""
    withheld: dict[str, str] = Field(default_factory=dict)
    """`WithheldReason` to codes: candidates (and, for an end, holders) from whom entitlement took the message."""
    reason: str | None = None
    """`RejectReason`, where rejected."""
    rewritten: Few[Rewritten] = ()
    """Who among `delivered` was given it in an older version of the format."""

    @property
    def origin(self) -> Origin:
        """The feed record that this entry is about (its first offset, where it covers several)."""
        return Origin(self.topic, self.partition, self.from_offset)
