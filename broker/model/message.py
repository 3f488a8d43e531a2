"""What a notice and a diffusion have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import date
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from broker.model.base import BureauCode, Model, Moment
from broker.model.circulation import Circulation
from broker.model.content import (
    EXTRACT_MEDIA_TYPE,
    AskedFor,
    Assessment,
    Attachment,
    Contact,
    CountryCode,
    Facts,
    Few,
    HandlingCode,
    Judicial,
    Text,
    WarningCode,
)
from broker.model.dates import PartialDate
from broker.model.naming import NoticeNumber, Region, Shard, shard_of
from broker.model.subject import Subject


class Event(StrEnum):
    """What a message says has happened to its notice or diffusion (design section 2)."""

    UNKNOWN = "unknown"
    REQUESTED = "requested"
    """The owner asks the General Secretariat to publish; goes to `ipsg` alone."""
    REFUSED = "refused"
    """The Secretariat will not publish; final."""
    PUBLISHED = "published"
    """The Secretariat has reviewed it, and it goes to all or to whom the circulation names (RPD articles 73-81)."""
    SENT = "sent"
    """A diffusion begins: the owner sends it straight to others."""
    REVISED = "revised"
    """An addendum or a correction; carries the whole again."""
    SUSPENDED = "suspended"
    """Its validity is in doubt: do not act on it."""
    REINSTATED = "reinstated"
    """The doubt is resolved: in force again."""
    CANCELLED = "cancelled"
    """Ended by the Secretariat: purpose met, not compliant, or the issuer inactive."""
    WITHDRAWN = "withdrawn"
    """Ended by its owner."""
    EXPIRED = "expired"
    """Not renewed (RPD article 81)."""


ENDS = frozenset({Event.CANCELLED, Event.WITHDRAWN, Event.EXPIRED})
"""After these a bureau deletes its copy, and confirms."""


class Status(StrEnum):
    """Real, drill or trial; an exercise is never mistaken for the real thing (rule 6)."""

    UNKNOWN = "unknown"
    ACTUAL = "ACTUAL"
    """The real thing."""
    EXERCISE = "EXERCISE"
    """A drill, such as the training before an operation."""
    TEST = "TEST"
    """A trial of systems; about nobody."""


class Classification(StrEnum):
    """Confidentiality (RPD article 112), lowest first."""

    UNKNOWN = "unknown"
    FOR_OFFICIAL_USE_ONLY = "for_official_use_only"
    """The default."""
    RESTRICTED = "restricted"
    """The least for a message about a victim."""
    CONFIDENTIAL = "confidential"
    """The highest that is carried here."""

    @property
    def level(self) -> int:
        """Its height: a bureau may see what is not above its clearance. What is unknown is above everything."""
        return _LEVELS[self]


_LEVELS = {
    Classification.FOR_OFFICIAL_USE_ONLY: 1,
    Classification.RESTRICTED: 2,
    Classification.CONFIDENTIAL: 3,
    Classification.UNKNOWN: 4,
}


class Urgency(StrEnum):
    """Whether the Command and Coordination Centre must act at once; review is not skipped."""

    UNKNOWN = "unknown"
    NORMAL = "normal"
    """The usual deadlines."""
    URGENT = "urgent"
    """Threat to life, missing child, imminent threat."""


class EndReason(StrEnum):
    """Why a notice is refused, suspended or ended."""

    UNKNOWN = "unknown"
    PURPOSE_MET = "purpose_met"
    """The person was found, the body identified, the threat is over."""
    NOT_COMPLIANT = "not_compliant"
    """It breaks INTERPOL's constitution or rules."""
    ISSUER_INACTIVE = "issuer_inactive"
    """The owner does not answer, or has not followed up a hit."""
    VALIDITY_IN_DOUBT = "validity_in_doubt"
    """Why it is suspended."""
    DOUBT_RESOLVED = "doubt_resolved"
    """Why it is reinstated."""
    NOT_RENEWED = "not_renewed"
    """Its retention has run out (RPD articles 49-51)."""
    OWNER_DECISION = "owner_decision"
    """The owner takes it back, and need not say why."""
    INCOMPLETE = "incomplete"
    """The least that its type must hold is missing."""


OperationCode = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,39}$")]
"""A coordinated operation and its edition, as in `spartacus-iii` (domain section 6)."""

OffenceCode = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]*(\.[a-z0-9-]+){0,3}$")]
"""A category of `broker.model.offences`: dots lead from the wider to the narrower."""


class Message(Model, ABC):
    """A notice or a diffusion in one of its events; every one carries the whole, so no earlier one is needed."""

    message_id: UUID
    """UUIDv7 of this message; a new one for each event and revision."""
    number: Annotated[str, StringConstraints(max_length=60)]
    """The notice number, `<owner>-<n|d>-<year>-<serial>`."""
    event: Event
    """What this message says has happened."""
    revision: int = Field(ge=0, lt=2**31)
    """0 for a request, 1 for what is published or sent; one more with each revision."""
    owner: BureauCode
    """Whose case it is."""
    issuer: BureauCode
    """Who signs this message."""
    region: Region
    """The notice's region: the owner's home region, `global` for an entity's."""
    issued_at: Moment
    """By the issuer's clock."""
    status: Status = Status.ACTUAL
    """Real, drill or trial."""
    urgency: Urgency = Urgency.NORMAL
    """Whether somebody must act at once."""
    classification: Classification = Classification.FOR_OFFICIAL_USE_ONLY
    """Who is cleared for less is not given it (RPD article 112)."""
    handling_codes: Few[HandlingCode] = ()
    """Conditions of use."""
    circulation: Circulation
    """Whom the issuer addresses, and whom they bar."""
    operation: OperationCode | None = None
    """The coordinated operation that it belongs to, if any."""
    offences: Few[OffenceCode] = ()
    """Categories; dots lead from the wider to the narrower."""
    subject: Subject
    """Whom or what it is about (status: RPD article 44)."""
    warnings: Few[WarningCode] = ()
    """What an officer must know first."""
    texts: Few[Text] = ()
    """What it says to people, once in each language."""
    facts: Facts | None = None
    """What happened: the offence, the disappearance, the find."""
    judicial: Judicial | None = None
    """Charges, law, penalties and warrants."""
    assessment: Assessment | None = None
    """The police's own judgement (RPD article 89)."""
    asked: Few[AskedFor] = ()
    """What the owner asks of those who can help."""
    contacts: Few[Contact] = ()
    """Whom to call; a message about a victim or a witness says so."""
    risk_countries: Few[CountryCode] = ()
    """Where complicity in, or a risk from, what befell the subject is suspected; the exclusions hold them."""
    sensitive: bool = False
    """Marks sensitive data, present only because it is needed (RPD article 42)."""
    public_extract: bool = False
    """The issuer's consent to an extract for the public (RPD article 61)."""
    attachments: Few[Attachment] = ()
    """Photographs, fingerprints and other large parts, by reference."""
    retained_until: date | None = None
    """At most five years ahead; then renew with a reason or delete (RPD articles 49-51)."""
    in_reply_to: UUID | None = None
    """The message that this one answers."""
    reason: EndReason | None = None
    """Why, where the event refuses, suspends, reinstates or ends."""

    @property
    @abstractmethod
    def wire_type(self) -> str:
        """Notice type or diffusion kind as on the wire, by which subscriptions name it."""

    @property
    @abstractmethod
    def is_missing_child(self) -> bool:
        """Whether it is about a missing minor, and so needs no subscription to reach whom it addresses."""

    @property
    def happened(self) -> PartialDate | date:
        """When what it is about took place; the day of issue, where nothing is known. Ages are reckoned at it."""
        if self.facts is not None and self.facts.happened is not None:
            return self.facts.happened
        return self.issued_at.date()

    @property
    def is_victim_or_witness(self) -> bool:
        """Whether its subject is to be protected, and never wanted (domain section 6, rules 1 and 2)."""
        return self.subject.is_victim_or_witness

    @property
    def is_extract(self) -> bool:
        """Whether it was imported from an extract of a notice, which holds less than a notice."""
        return any(attachment.media_type == EXTRACT_MEDIA_TYPE for attachment in self.attachments)

    @property
    def concerns_minor(self) -> bool:
        """Whether its subject may have been under 18 at the event, which counts as a minor (rule 3)."""
        return self.subject.perhaps_minor(self.happened)

    @property
    def parsed_number(self) -> NoticeNumber:
        """The parts of the notice number.

        Raises:
            InvalidFieldError: it is none.
        """
        return NoticeNumber.parse(self.number)

    @property
    def shard(self) -> Shard:
        """Where everything about this notice lives."""
        return shard_of(self.number, self.region)
