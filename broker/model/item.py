"""Objects and vehicles: what a crime was committed with, or what is missing; a vehicle may be an asset, too."""

from __future__ import annotations

from enum import StrEnum

from broker.model.base import Model
from broker.model.content import CountryCode, Line, Prose


class ItemKind(StrEnum):
    """What sort of object."""

    UNKNOWN = "unknown"
    FIREARM = "firearm"
    VESSEL = "vessel"
    EXPLOSIVE = "explosive"
    SUBSTANCE = "substance"
    CONCEALMENT = "concealment"
    OTHER = "other"


class Item(Model):
    """An object."""

    kind: ItemKind
    description: Prose | None = None
    make: Line | None = None
    model: Line | None = None
    serial_number: Line | None = None
    """A firearm's, or a vessel's IMO number."""
    country: CountryCode | None = None
    """Of origin; a vessel's flag."""


class Vehicle(Model):
    """A vehicle."""

    vin: Line | None = None
    plate: Line | None = None
    country: CountryCode | None = None
    make: Line | None = None
    model: Line | None = None
    colour: Line | None = None
    description: Prose | None = None
