"""Objects and vehicles: what a crime was committed with, or what is missing; a vehicle may be an asset, too."""

from __future__ import annotations

from enum import StrEnum

from broker.model.base import Model
from broker.model.content import CountryCode, Line, Prose


class ItemKind(StrEnum):
    """What sort of object."""

    UNKNOWN = "unknown"
    FIREARM = "firearm"
    """A gun, or a part of one."""
    VESSEL = "vessel"
    """A ship or a boat."""
    EXPLOSIVE = "explosive"
    """An explosive, or what sets it off."""
    SUBSTANCE = "substance"
    """A drug, a poison, a precursor."""
    CONCEALMENT = "concealment"
    """What things are hidden in."""
    OTHER = "other"
    """Any other object."""


class Item(Model):
    """An object."""

    kind: ItemKind
    """What sort of object."""
    description: Prose | None = None
    """In words."""
    make: Line | None = None
    """Who made it."""
    model: Line | None = None
    """The maker's name for it."""
    serial_number: Line | None = None
    """A firearm's, or a vessel's IMO number."""
    country: CountryCode | None = None
    """Of origin; a vessel's flag."""


class Vehicle(Model):
    """A vehicle."""

    vin: Line | None = None
    """Vehicle identification number (ISO 3779)."""
    plate: Line | None = None
    """As mounted."""
    country: CountryCode | None = None
    """That registered it."""
    make: Line | None = None
    """Who made it."""
    model: Line | None = None
    """The maker's name for it."""
    colour: Line | None = None
    """In words."""
    description: Prose | None = None
    """Whatever else can be seen."""
