"""What a message says besides its subject: texts, facts, judicial data, warnings, conditions of use, attachments."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, TypeVar

from annotated_types import Len
from pydantic import Field, StringConstraints

from broker.model.base import Digest, HexBytes, Model
from broker.model.dates import PartialDate

COUNTRY = "country"
"""Marks a field that holds a country's code; `broker.model.rules` finds the fields by it."""

CountryCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$"), COUNTRY]
"""ISO 3166-1 alpha-2, or one of its user-assigned codes (AA, QM-QZ, XA-XZ, ZZ) for what is fictitious."""

LanguageCode = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]
"""ISO 639: two letters, or three for a language that has no two."""

Line = Annotated[str, StringConstraints(min_length=1, max_length=300)]
"""A name, a number, a place: one line."""

Prose = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
"""Free text. Four such texts in a four-byte script still fit into one record."""


_T = TypeVar("_T")

Few = Annotated[tuple[_T, ...], Len(0, 100)]
"""A list that people wrote: more than a hundred is an attack, or an error."""


class Language(StrEnum):
    """INTERPOL's working languages."""

    UNKNOWN = "unknown"
    EN = "en"
    """English."""
    FR = "fr"
    """French."""
    ES = "es"
    """Spanish."""
    AR = "ar"
    """Arabic."""


class Text(Model):
    """What the message says to people, in one language."""

    language: Language
    """In which it is written."""
    title: Line
    """One line."""
    body: Prose
    """The whole."""


class Place(Model):
    """Where something is or was."""

    country: CountryCode | None = None
    """Where it lies."""
    locality: Line | None = None
    """Town or district."""
    detail: Line | None = None
    """Address, border post, vessel: whatever leads there."""


class Facts(Model):
    """What happened, where and when: an offence, a disappearance, a find. Ages are reckoned at its date."""

    summary: Prose | None = None
    """In words."""
    place: Place | None = None
    """Where it happened."""
    happened: PartialDate | None = None
    """When it happened."""
    police_reference: Line | None = None
    """Under which the police recorded the disappearance or the find (RPD articles 90, 91)."""


class Assessment(Model):
    """The police's own judgement of a danger, and its grounds (RPD article 89)."""

    grounds: Prose
    """On which the judgement rests."""
    assessed_on: date | None = None
    """The day of the judgement."""


class WarningCode(StrEnum):
    """What an officer must know before meeting the subject; goes with every answer."""

    UNKNOWN = "unknown"
    ARMED = "armed"
    """May carry a weapon."""
    VIOLENT = "violent"
    """May use force."""
    ESCAPE_RISK = "escape_risk"
    """May flee."""
    SUICIDAL = "suicidal"
    """May harm themselves."""
    INFECTIOUS = "infectious"
    """May carry an infection."""


class HandlingCode(StrEnum):
    """Conditions of use."""

    UNKNOWN = "unknown"
    POLICE_ONLY = "police_only"
    """For police alone."""
    NO_ONWARD_SHARING = "no_onward_sharing"
    """Not to be passed on."""
    ASK_BEFORE_ACTION = "ask_before_action"
    """Ask the owner before acting on it."""
    NO_ADMINISTRATIVE_USE = "no_administrative_use"
    """Not for visas, permits or other administrative decisions."""


class AskedFor(StrEnum):
    """What the owner asks of those who can help (RPD article 88)."""

    UNKNOWN = "unknown"
    LOCATION = "location"
    """Where the person is."""
    IDENTITY = "identity"
    """Who the person is."""
    CRIMINAL_RECORD = "criminal_record"
    """Previous convictions."""
    MOVEMENTS = "movements"
    """Border crossings and travel."""
    CONTACTS = "contacts"
    """With whom the person deals."""
    BACKGROUND = "background"
    """The person's circumstances."""
    PROTECTION = "protection"
    """Find and protect: never to hold against the person's will, save a child."""
    SIMILAR_CASES = "similar_cases"
    """Cases of the same kind (RPD article 92)."""
    ASSETS = "assets"
    """What the person owns or controls, where it is, and through whom."""


class ContactKind(StrEnum):
    """Whom to call."""

    UNKNOWN = "unknown"
    BUREAU = "bureau"
    """A national bureau or the Secretariat."""
    POLICE_UNIT = "police_unit"
    """The unit that has the case."""
    SOCIAL_SERVICE = "social_service"
    """Who supports a victim."""


class Contact(Model):
    """Whom to call; a message about a victim names one (domain section 6, rule 7)."""

    kind: ContactKind
    """What sort of office."""
    name: Line
    """Of the office, not of a person."""
    telephone: Line | None = None
    """With the country code."""
    email: Line | None = None
    """The office's."""


class PenaltyKind(StrEnum):
    """What sort of penalty."""

    UNKNOWN = "unknown"
    TERM = "term"
    """Imprisonment for `months`."""
    LIFE = "life"
    """Imprisonment for life."""
    DEATH = "death"
    """Extradition may depend on assurances."""


class Penalty(Model):
    """A penalty that the law threatens, that was imposed, or that is left to serve."""

    kind: PenaltyKind
    """Term, life or death."""
    months: int | None = Field(default=None, ge=0, le=12_000)
    """Of a term."""

    def reaches(self, months: int) -> bool:
        """Return whether it is at least so many months; life and death are."""
        return self.kind in {PenaltyKind.LIFE, PenaltyKind.DEATH} or (self.months or 0) >= months


class Charge(Model):
    """An offence as the court words it."""

    original: Prose
    """In the court's own words."""
    language: LanguageCode | None = None
    """Of those words."""
    translation: Prose | None = None
    """Into one of the working languages."""


class Warrant(Model):
    """A warrant of arrest or a judgment that is as good."""

    number: Line
    """The court's own."""
    authority: Line
    """Who issued it."""
    country: CountryCode
    """Whose authority that is."""
    issued_on: date
    """The day of issue."""
    valid_until: date | None = None
    """Its last day, if it has one."""


class Judicial(Model):
    """What justice says of the subject (RPD articles 82-84)."""

    charges: Few[Charge] = ()
    """What the person is charged with or convicted of."""
    law: Prose | None = None
    """The provisions that cover the offence."""
    maximum_penalty: Penalty | None = None
    """That the law threatens: two years at least for a red notice (RPD articles 82-87)."""
    sentence: Penalty | None = None
    """Imposed."""
    remainder: Penalty | None = None
    """Left to serve."""
    warrants: Few[Warrant] = ()
    """On the strength of which an arrest is asked for."""
    extradition_will_be_sought: bool = False
    """If the person is found (RPD articles 82-87)."""


EXTRACT_MEDIA_TYPE = "application/vnd.noticewire.extract+json"
"""Marks a message as an imported extract: an attachment of this type says of what (caption), from where (URI), and
what was read (digest). It stays where it was; nobody is asked to fetch it."""


class AttachmentKind(StrEnum):
    """What an attachment shows."""

    UNKNOWN = "unknown"
    PHOTOGRAPH = "photograph"
    """Of a person, a body, an object or a place."""
    FINGERPRINTS = "fingerprints"
    """ANSI/NIST-ITL."""
    DNA = "dna"
    """A profile."""
    DOCUMENT = "document"
    """Any other file."""


class Attachment(Model):
    """A large part, which travels by claim check: the message says where it is and proves what it is.

    What lies at the URI is ciphertext (AES-256-GCM) wherever `key` is given, so whoever was not given the message
    cannot read its parts.
    """

    kind: AttachmentKind
    """What it shows."""
    media_type: Annotated[str, StringConstraints(pattern=r"^[a-z0-9.+-]{1,100}/[a-z0-9.+-]{1,100}$")]
    """Of the content, as in RFC 2046."""
    size_bytes: int = Field(ge=0, lt=2**63)
    """Of the content, in clear."""
    sha256: Digest
    """Of the content, in clear."""
    uri: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    """Where it lies."""
    key: Annotated[HexBytes, Len(32, 32)] | None = None
    """32 bytes of AES-256; without one the content lies there in clear."""
    caption: Line | None = None
    """What people should know of it."""
