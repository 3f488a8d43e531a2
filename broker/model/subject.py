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
    """One person."""
    BODY = "body"
    """A body that nobody has identified (RPD article 91)."""
    GROUP = "group"
    """Several persons."""
    ORGANISATION = "organisation"
    """An organisation, such as the UN lists (RPD article 95)."""
    OBJECT = "object"
    """A firearm, a vessel, an explosive or another object."""
    VEHICLE = "vehicle"
    """A road vehicle."""
    DOCUMENT = "document"
    """A travel or identity document."""
    THREAT = "threat"
    """An imminent threat (RPD article 93)."""
    MODUS_OPERANDI = "modus_operandi"
    """A way of committing a crime (RPD article 92)."""
    ASSETS = "assets"
    """What crime has yielded, beside the person whose it is."""


class SubjectRole(StrEnum):
    """The subject's status (RPD article 44)."""

    UNKNOWN = "unknown"
    WANTED = "wanted"
    """For arrest."""
    CONVICTED = "convicted"
    """By a court."""
    CHARGED = "charged"
    """With an offence."""
    SUSPECT = "suspect"
    """Of an offence."""
    WITNESS = "witness"
    """To be protected."""
    VICTIM = "victim"
    """To be protected."""
    MISSING = "missing"
    """Looked for, to be protected."""
    DECEASED = "deceased"
    """Dead, and known by name."""
    UNIDENTIFIED = "unidentified"
    """Dead, or cannot say who they are."""
    POSSIBLE_THREAT = "possible_threat"
    """May commit an offence (RPD article 89)."""


PROTECTED_ROLES = frozenset({SubjectRole.VICTIM, SubjectRole.WITNESS})
"""Never wanted, never refused entry: the answer says *protect* (domain section 6, rules 1 and 2)."""


class Sex(StrEnum):
    """As in travel documents."""

    UNKNOWN = "unknown"
    """A symbol of a later version; not to be mistaken for U."""
    F = "F"
    """Female."""
    M = "M"
    """Male."""
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
    """In Latin letters."""
    forename: Line | None = None
    """All of them, in Latin letters."""
    family_original: Line | None = None
    """In its own script."""
    forename_original: Line | None = None
    """In its own script."""


class Nationality(Model):
    """A nationality, certain or doubtful."""

    country: CountryCode
    """Whose."""
    doubtful: bool = False
    """Claimed, or only assumed."""


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
    """By its holder."""
    STOLEN = "stolen"
    """From its holder."""
    STOLEN_BLANK = "stolen_blank"
    """Before it was made out to anybody."""
    REVOKED = "revoked"
    """By who issued it."""
    COUNTERFEIT = "counterfeit"
    """Never issued."""


class Document(Model):
    """A travel or identity document."""

    kind: DocumentKind
    """What sort of document."""
    number: Line | None = None
    """As printed."""
    country: CountryCode | None = None
    """Who issued it."""
    issued_on: date | None = None
    """The day of issue."""
    expires_on: date | None = None
    """Its last day."""
    loss: DocumentLoss | None = None
    """Where it is itself looked for."""


class Description(Model):
    """What can be seen of a person or a body."""

    height_cm: int | None = Field(default=None, ge=20, le=280)
    """In centimetres."""
    weight_kg: int | None = Field(default=None, ge=1, le=500)
    """In kilograms."""
    build: Build | None = None
    """Of the body."""
    eyes: EyeColour | None = None
    """Their colour."""
    hair: HairColour | None = None
    """Its colour."""
    distinguishing_marks: Few[Line] = ()
    """Scars, tattoos and the like."""
    clothing: Line | None = None
    """When last seen, or when found."""
    remarks: Prose | None = None
    """Whatever else can be seen."""


class Person(Model):
    """A person, as far as known."""

    name: Name | None = None
    """As it is used today."""
    name_at_birth: Name | None = None
    """Where it differs."""
    aliases: Few[Name] = ()
    """Other names."""
    born: PartialDate | None = None
    """As much of the date as is known."""
    birthplace: Place | None = None
    """Where born."""
    sex: Sex | None = None
    """As in travel documents."""
    nationalities: Few[Nationality] = ()
    """Several, doubtful ones, or none known."""
    stateless: bool = False
    """Known to have no nationality, rather than none known."""
    father: Name | None = None
    """The father's name."""
    mother: Name | None = None
    """The mother's name."""
    documents: Few[Document] = ()
    """Held or used."""
    description: Description | None = None
    """What can be seen."""
    languages: Few[LanguageCode] = ()
    """Spoken."""
    likely_places: Few[Place] = ()
    """Where the person may be."""

    def perhaps_minor(self, event: PartialDate | date) -> bool:
        """Return whether the person may have been under 18 at an event; without any birth date that is so."""
        return self.born is None or self.born.age_at(event).perhaps_minor


class Body(Model):
    """A dead body that nobody has identified; where and when it was found is in the message's facts."""

    sex: Sex | None = None
    """As far as it can be told."""
    age_from_years: int | None = Field(default=None, ge=0, le=130)
    """The least age that is estimated."""
    age_to_years: int | None = Field(default=None, ge=0, le=130)
    """The greatest."""
    description: Description | None = None
    """What can be seen."""

    def perhaps_minor(self, _event: PartialDate | date) -> bool:
        """Return whether the dead may have been under 18; where nobody has estimated the age, that is so."""
        return (self.age_from_years or 0) < ADULT_AT_YEARS


class Group(Model):
    """Several persons who act or travel together."""

    name: Line | None = None
    """By which it is known."""
    description: Prose
    """Who they are, and what joins them."""
    members: Few[Person] = ()
    """Those who are known."""


class Organisation(Model):
    """A legal entity or another organisation, such as the UN lists."""

    name: Line
    """In Latin letters."""
    name_original: Line | None = None
    """In its own script."""
    aliases: Few[Line] = ()
    """Other names."""
    country: CountryCode | None = None
    """Where it is at home."""
    description: Prose | None = None
    """What it is."""


class ThreatKind(StrEnum):
    """Where the harm would come from (RPD article 93)."""

    UNKNOWN = "unknown"
    EVENT = "event"
    """Something that is to take place."""
    PERSON = "person"
    """Somebody."""
    OBJECT = "object"
    """A weapon, a parcel, a substance."""
    PROCESS = "process"
    """A way of making or doing something."""


class Reliability(StrEnum):
    """How far the source can be trusted."""

    UNKNOWN = "unknown"
    CONFIRMED = "confirmed"
    """By other sources."""
    PROBABLE = "probable"
    """More likely than not."""
    POSSIBLE = "possible"
    """Neither likely nor unlikely."""
    DOUBTFUL = "doubtful"
    """Less likely than not."""


class Threat(Model):
    """An imminent threat."""

    kind: ThreatKind
    """Where the harm would come from."""
    description: Prose
    """What may happen."""
    place: Place | None = None
    """Where."""
    expected: PartialDate | None = None
    """When."""
    reliability: Reliability | None = None
    """Of what is known."""


class ModusOperandi(Model):
    """A way of committing a crime."""

    description: Prose
    """What is done, and how."""
    route: Prose | None = None
    """From where to where, and through where."""
    concealment: Prose | None = None
    """What is hidden, and where."""


class Subject(Model):
    """Whom or what a message is about."""

    kind: SubjectKind
    """Names the part that describes it."""
    role: SubjectRole | None = None
    """Persons have one; things need none."""
    person: Person | None = None
    """One person."""
    body: Body | None = None
    """A body to be identified."""
    group: Group | None = None
    """Several persons."""
    organisation: Organisation | None = None
    """An organisation."""
    object: Item | None = None
    """An object."""
    vehicle: Vehicle | None = None
    """A vehicle."""
    document: Document | None = None
    """A document."""
    threat: Threat | None = None
    """A threat."""
    modus_operandi: ModusOperandi | None = None
    """A way of working."""
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
