"""Changes of the directory: what a bureau is, and the signed record that says so."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from annotated_types import Len
from pydantic import Field, StringConstraints

from broker.model.base import BureauCode, HexBytes, Model, Moment
from broker.model.content import Few
from broker.model.message import Classification, Status
from broker.model.naming import Region


class BureauKind(StrEnum):
    """What sort of bureau: a member country's, or one of the entities' (`entities.csv`)."""

    UNKNOWN = "unknown"
    MEMBER = "member"
    """A member country's national bureau."""
    GENERAL_SECRETARIAT = "general_secretariat"
    """`ipsg`, in Lyon."""
    REGIONAL_BUREAU = "regional_bureau"
    """Part of the Secretariat."""
    LIAISON_OFFICE = "liaison_office"
    """Of the Secretariat, with another organisation."""
    INTERNATIONAL_ENTITY = "international_entity"
    """Another organisation, by agreement."""
    SERVICE = "service"
    """The broker and the archive themselves: they sign, and are sent nothing."""


class BureauStatus(StrEnum):
    """Whether a bureau takes part."""

    UNKNOWN = "unknown"
    ACTIVE = "active"
    """It takes part."""
    SUSPENDED = "suspended"
    """Given nothing but notices of end; its own messages still count, its keys can be ended apart."""


Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]
"""A word of the format, or the code of an operation; the longest category of today has 24 letters."""


class Subscription(Model):
    """What a bureau asks for; each absent (empty) part matches everything."""

    regions: Few[Region] = ()
    """Feed regions. Naming one also asks for what is open to subscribers there and not addressed to the bureau."""
    types: Few[Word] = ()
    """Notice types and diffusion kinds, as on the wire: `red`, `missing`."""
    offences: Few[Word] = ()
    """Categories: `thb` matches `thb.labour.mining`."""
    operations: Few[Word] = ()
    """By their codes."""
    statuses: Few[Status] = ()
    """EXERCISE and TEST are given only where named here (rule 6)."""


SUBSCRIPTIONS_MAX = 50
"""How many subscriptions a bureau or an agreement may have: each is held against every message of every region, and
against each other where an entity asks within its agreement. One that lists alternatives does the work of many."""

Subscriptions = Annotated[tuple[Subscription, ...], Len(0, SUBSCRIPTIONS_MAX)]
"""What a bureau asks for, all told."""


class PublicKey(Model):
    """A bureau's Ed25519 key, and when it counts."""

    key_id: str
    """The bureau's code and the beginning of the key's digest."""
    public: Annotated[HexBytes, Len(32, 32)]
    """32 bytes of Ed25519 (RFC 8032)."""
    valid_from: Moment
    """When it begins to count."""
    valid_until: Moment | None = None
    """When it stops, if that is known."""


class ChangeKind(StrEnum):
    """What a change does; who may is in `broker.members.rights`."""

    UNKNOWN = "unknown"
    FOUNDED = "founded"
    """The first record: the installation's id, the Secretariat and its first key (pinned in the settings)."""
    ENTERED = "entered"
    """A new bureau, entity or service: `bureau`, and its first keys, subscriptions and agreement, if any."""
    KEY_ADDED = "key_added"
    """Another key counts from its `valid_from`."""
    KEY_ENDED = "key_ended"
    """A key stops counting at `keys[0].valid_until`."""
    STATUS_SET = "status_set"
    """The bureau is suspended, or takes part again."""
    CLEARANCE_SET = "clearance_set"
    """The highest classification that it may see."""
    AGREEMENT_SET = "agreement_set"
    """What an entity's agreement lets it subscribe to."""
    SUBSCRIPTIONS_SET = "subscriptions_set"
    """What it asks for."""
    READS_SET = "reads_set"
    """The newest version of the format that the bureau's programs read."""


UNKNOWN_TO_SOME = frozenset({ChangeKind.READS_SET})
"""Kinds that came after version 1, and do not count in a bureau's version: a program of before passes them over, and
would else find every later change of that bureau stale."""


class BureauFacts(Model):
    """What the Secretariat enters about a bureau; its region is for good."""

    name: str
    """Of the country or entity."""
    kind: BureauKind
    """What sort of bureau."""
    region: Region
    """Its home."""
    city: str
    """Where it sits."""
    clearance: Classification
    """The highest classification that it may see (RPD article 112)."""


class DirectoryChange(Model):
    """One signed change; without effect where stale or not allowed, yet kept on the log."""

    change_id: UUID
    """Of this change."""
    kind: ChangeKind
    """Which part it changes."""
    code: BureauCode
    """The bureau that is changed."""
    author: BureauCode
    """Who signs."""
    base_version: int = Field(ge=0)
    """How many changes of this code had taken effect when its author looked, those of what it reads left aside; another
    number makes it stale."""
    changed_at: Moment
    """By the author's clock."""
    installation: str | None = None
    """The id of the installation, in its first record."""
    bureau: BureauFacts | None = None
    """What is entered."""
    keys: Few[PublicKey] = ()
    """Added, or ended."""
    status: BureauStatus | None = None
    """From now on."""
    clearance: Classification | None = None
    """From now on."""
    agreement: Subscriptions = ()
    """What an entity may subscribe to."""
    subscriptions: Subscriptions = ()
    """All of them, in place of those before."""
    reads: int | None = Field(default=None, ge=1, lt=2**31)
    """The newest version of notices and diffusions that the bureau reads; of one that never said so, the first."""
