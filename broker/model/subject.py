"""Whom or what a message is about: one kind, and the parts that describe it.

Not a union of records: an older reader cannot pass over a new branch of a union, but it can ignore a part that it does
not know, and sees a new kind as `unknown`.

Nobody is marked as a minor on the wire. Who is one follows from the dates (domain section 6, rule 3), and a second
statement beside them could only contradict them: `perhaps_minor` derives it, for every reader alike.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from pydantic import Field

from broker.model.asset import Asset
from broker.model.base import Model
from broker.model.content import CountryCode, Few, LanguageCode, Line, Place, Prose
from broker.model.dates import ADULT_AT_YEARS, PartialDate
from broker.model.item import Item, Vehicle


class SubjectKind(StrEnum):
    """What sort of subject; the part of the same name describes it, other parts may add to it."""

    UNKNOWN = "unknown"
    PERSON = "person"
    BODY = "body"
    GROUP = "group"
    ORGANISATION = "organisation"
    OBJECT = "object"
    VEHICLE = "vehicle"
    DOCUMENT = "document"
    THREAT = "threat"
    MODUS_OPERANDI = "modus_operandi"
    ASSETS = "assets"
    """What crime has yielded, beside the person whose it is."""


class SubjectRole(StrEnum):
    """The subject's status (RPD article 44)."""

    UNKNOWN = "unknown"
    WANTED = "wanted"
    CONVICTED = "convicted"
    CHARGED = "charged"
    SUSPECT = "suspect"
    WITNESS = "witness"
    VICTIM = "victim"
    MISSING = "missing"
    DECEASED = "deceased"
    UNIDENTIFIED = "unidentified"
    POSSIBLE_THREAT = "possible_threat"


PROTECTED_ROLES = frozenset({SubjectRole.VICTIM, SubjectRole.WITNESS})
"""Never wanted, never refused entry: the answer says *protect* (domain section 6, rules 1 and 2)."""


class Sex(StrEnum):
    """As in travel documents."""

    UNKNOWN = "unknown"
    """A symbol of a later version; not to be mistaken for U."""
    F = "F"
    M = "M"
    U = "U"
    """Unspecified, or not known to the issuer."""


class Build(StrEnum):
    """A person's build."""

    UNKNOWN = "unknown"
    SLIM = "slim"
    MEDIUM = "medium"
    ATHLETIC = "athletic"
    HEAVY = "heavy"


class EyeColour(StrEnum):
    """The colour of the eyes."""

    UNKNOWN = "unknown"
    BLACK = "black"
    BLUE = "blue"
    BROWN = "brown"
    GREEN = "green"
    GREY = "grey"
    HAZEL = "hazel"
    DIFFERENT = "different"
    """Each eye has its own."""


class HairColour(StrEnum):
    """The colour of the hair."""

    UNKNOWN = "unknown"
    BLACK = "black"
    BLOND = "blond"
    BROWN = "brown"
    GREY = "grey"
    RED = "red"
    WHITE = "white"
    DYED = "dyed"
    BALD = "bald"


class Name(Model):
    """A person's name, in Latin letters and in its original script."""

    family: Line | None = None
    forename: Line | None = None
    family_original: Line | None = None
    forename_original: Line | None = None


class Nationality(Model):
    """A nationality, certain or doubtful."""

    country: CountryCode
    doubtful: bool = False


class DocumentKind(StrEnum):
    """What sort of document."""

    UNKNOWN = "unknown"
    PASSPORT = "passport"
    IDENTITY_CARD = "identity_card"
    RESIDENCE_PERMIT = "residence_permit"
    VISA = "visa"
    DRIVING_LICENCE = "driving_licence"
    OTHER = "other"


class DocumentLoss(StrEnum):
    """Why a document is looked for, as in SLTD."""

    UNKNOWN = "unknown"
    LOST = "lost"
    STOLEN = "stolen"
    STOLEN_BLANK = "stolen_blank"
    REVOKED = "revoked"
    COUNTERFEIT = "counterfeit"


class Document(Model):
    """A travel or identity document."""

    kind: DocumentKind
    number: Line | None = None
    country: CountryCode | None = None
    issued_on: date | None = None
    expires_on: date | None = None
    loss: DocumentLoss | None = None


class Description(Model):
    """What can be seen of a person or a body."""

    height_cm: int | None = Field(default=None, ge=20, le=280)
    weight_kg: int | None = Field(default=None, ge=1, le=500)
    build: Build | None = None
    eyes: EyeColour | None = None
    hair: HairColour | None = None
    distinguishing_marks: Few[Line] = ()
    clothing: Line | None = None
    remarks: Prose | None = None


class Person(Model):
    """A person, as far as known."""

    name: Name | None = None
    name_at_birth: Name | None = None
    aliases: Few[Name] = ()
    born: PartialDate | None = None
    birthplace: Place | None = None
    sex: Sex | None = None
    nationalities: Few[Nationality] = ()
    stateless: bool = False
    """Known to have no nationality, rather than none known."""
    father: Name | None = None
    mother: Name | None = None
    documents: Few[Document] = ()
    description: Description | None = None
    languages: Few[LanguageCode] = ()
    likely_places: Few[Place] = ()

    def perhaps_minor(self, event: PartialDate | date) -> bool:
        """Return whether the person may have been under 18 at an event; without any birth date that is so."""
        return self.born is None or self.born.age_at(event).perhaps_minor


class Body(Model):
    """A dead body that nobody has identified; where and when it was found is in the message's facts."""

    sex: Sex | None = None
    age_from_years: int | None = Field(default=None, ge=0, le=130)
    age_to_years: int | None = Field(default=None, ge=0, le=130)
    description: Description | None = None

    def perhaps_minor(self, _event: PartialDate | date) -> bool:
        """Return whether the dead may have been under 18; where nobody has estimated the age, that is so."""
        return (self.age_from_years or 0) < ADULT_AT_YEARS


class Group(Model):
    """Several persons who act or travel together."""

    name: Line | None = None
    description: Prose
    members: Few[Person] = ()


class Organisation(Model):
    """A legal entity or another organisation, such as the UN lists."""

    name: Line
    name_original: Line | None = None
    aliases: Few[Line] = ()
    country: CountryCode | None = None
    description: Prose | None = None


class ThreatKind(StrEnum):
    """Where the harm would come from (RPD article 93)."""

    UNKNOWN = "unknown"
    EVENT = "event"
    PERSON = "person"
    OBJECT = "object"
    PROCESS = "process"


class Reliability(StrEnum):
    """How far the source can be trusted."""

    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"
    PROBABLE = "probable"
    POSSIBLE = "possible"
    DOUBTFUL = "doubtful"


class Threat(Model):
    """An imminent threat."""

    kind: ThreatKind
    description: Prose
    place: Place | None = None
    expected: PartialDate | None = None
    reliability: Reliability | None = None


class ModusOperandi(Model):
    """A way of committing a crime."""

    description: Prose
    route: Prose | None = None
    concealment: Prose | None = None


class Subject(Model):
    """Whom or what a message is about."""

    kind: SubjectKind
    role: SubjectRole | None = None
    """Persons have one; things need none."""
    person: Person | None = None
    body: Body | None = None
    group: Group | None = None
    organisation: Organisation | None = None
    object: Item | None = None
    vehicle: Vehicle | None = None
    document: Document | None = None
    threat: Threat | None = None
    modus_operandi: ModusOperandi | None = None
    assets: Few[Asset] = ()
    """What is to be traced; the person whose it is stands in `person`."""

    @property
    def is_victim_or_witness(self) -> bool:
        """Whether the subject is to be protected, and never wanted."""
        return self.role in PROTECTED_ROLES

    def perhaps_minor(self, event: PartialDate | date) -> bool:
        """Return whether any person in it may have been under 18 at an event."""
        people: list[Person | Body] = [part for part in (self.person, self.body) if part is not None]
        if self.group is not None:
            people.extend(self.group.members)
        return any(someone.perhaps_minor(event) for someone in people)
