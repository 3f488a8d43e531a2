"""Notices: published by the General Secretariat at a bureau's or an entity's request."""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from typing_extensions import override

from broker.model.base import Model
from broker.model.content import Few, Line
from broker.model.message import Message


class NoticeType(StrEnum):
    """The colours (RPD articles 82-95); silver came with version 2."""

    UNKNOWN = "unknown"
    RED = "red"
    """Arrest for extradition."""
    BLUE = "blue"
    """Locate, identify or learn about a person in an investigation."""
    GREEN = "green"
    """Warn of a likely repeat offender."""
    YELLOW = "yellow"
    """A missing person, or one who cannot say who they are."""
    BLACK = "black"
    """Identify a body."""
    PURPLE = "purple"
    """Warn of or ask about a modus operandi, an object, a concealment."""
    ORANGE = "orange"
    """An imminent threat."""
    SPECIAL = "special"
    """Subject to sanctions of the UN Security Council."""
    SILVER = "silver"
    """Trace criminal assets: the pilot of 2025 (domain section 2)."""


class Measure(StrEnum):
    """A sanction of the UN Security Council."""

    UNKNOWN = "unknown"
    ASSET_FREEZE = "asset_freeze"
    """Funds and other assets are frozen."""
    TRAVEL_BAN = "travel_ban"
    """Entry and transit are refused."""
    ARMS_EMBARGO = "arms_embargo"
    """Arms are not supplied."""


class Listing(Model):
    """The entry on a list of the UN Security Council that a special notice is about (RPD article 95)."""

    reference: Line
    """The permanent reference number, as in `QDi.001`."""
    measures: Few[Measure] = ()
    """What the Security Council has imposed."""
    listed_on: date | None = None
    """When it was entered on the list."""


class Notice(Message):
    """A notice, in one of its events."""

    type: NoticeType
    """The colour."""
    listing: Listing | None = None
    """Special notices have one."""

    @property
    @override
    def wire_type(self) -> str:
        """The type as on the wire, by which subscriptions name it."""
        return self.type.value

    @property
    @override
    def is_missing_child(self) -> bool:
        """Whether it needs no subscription to reach whom it addresses."""
        return self.type is NoticeType.YELLOW and self.concerns_minor
