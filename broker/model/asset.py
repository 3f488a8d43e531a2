"""Assets: what crime has yielded and a silver notice or diffusion traces (domain section 2); since version 2.

As with subjects: one kind, and the part of the same name that describes it. No union of records, which an older reader
could not pass over.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from broker.model.base import Model
from broker.model.content import CountryCode, Line, Place, Prose
from broker.model.item import Vehicle


class AssetKind(StrEnum):
    """What sort of asset; the part of the same name describes it."""

    UNKNOWN = "unknown"
    PROPERTY = "property"
    """Land and buildings."""
    VEHICLE = "vehicle"
    """A road vehicle."""
    VESSEL = "vessel"
    """A ship or a boat."""
    ACCOUNT = "account"
    """With a bank or any other institution that keeps money or values."""
    COMPANY = "company"
    """A business, or a share in one."""


CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
"""ISO 4217."""


class Estimate(Model):
    """What an asset may be worth."""

    amount: int = Field(ge=0, lt=2**63)
    """In whole units of the currency."""
    currency: CurrencyCode
    """Of the amount."""
    estimated_on: date | None = None
    """The day of the estimate."""


class Property(Model):
    """Land or a building."""

    address: Place | None = None
    """Where it lies."""
    land_register: Line | None = None
    """Which one, or whatever stands in for one."""
    reference: Line | None = None
    """Its folio or number in that register."""


class Vessel(Model):
    """A ship or a boat."""

    name: Line | None = None
    """On its hull."""
    imo_number: Line | None = None
    """Of the International Maritime Organization; stays with the hull."""
    registration: Line | None = None
    """Number in a national or small-craft register."""
    flag: CountryCode | None = None
    """Of which country."""
    home_port: Line | None = None
    """On its stern."""


class Account(Model):
    """An account."""

    institution: Line | None = None
    """That keeps it."""
    country: CountryCode | None = None
    """The institution's."""
    number: Line | None = None
    """IBAN, or the number by which the institution knows it."""
    currency: CurrencyCode | None = None
    """In which it is kept."""


class Company(Model):
    """A business, or a share in one."""

    name: Line
    """In Latin letters."""
    name_original: Line | None = None
    """In its own script."""
    country: CountryCode | None = None
    """Where it is registered."""
    registration: Line | None = None
    """Its number in the register of companies."""
    share_percent: int | None = Field(default=None, ge=0, le=100)
    """How much of it is believed to be the subject's."""


class Asset(Model):
    """One asset."""

    kind: AssetKind
    """Names the part that describes it."""
    description: Prose | None = None
    """In words."""
    property: Property | None = None
    """Land or a building."""
    vehicle: Vehicle | None = None
    """A road vehicle."""
    vessel: Vessel | None = None
    """A ship or a boat."""
    account: Account | None = None
    """An account."""
    company: Company | None = None
    """A business."""
    held_by: Line | None = None
    """In whose name it stands, where that is not the subject's."""
    estimate: Estimate | None = None
    """What it may be worth."""
