"""What a service asks of a region's router about a notice."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from pydantic import Field

from broker.model.base import BUREAUS_MAX, BureauCode, Model, Moment


class CommandKind(StrEnum):
    """What is asked."""

    UNKNOWN = "unknown"
    REMINDER = "reminder"
    """Remind holders of a message that they have not acknowledged."""
    BACK_FILL = "back_fill"
    """Give a bureau that subscribed later what is in force."""


class Command(Model):
    """Asked by a service, signed as `broker`; codes only, because commands are kept for ever."""

    command_id: UUID
    """Of this command."""
    kind: CommandKind
    """What is asked."""
    number: str
    """The notice it is about."""
    bureaus: tuple[BureauCode, ...] = Field(min_length=1, max_length=BUREAUS_MAX)
    """Whom it concerns."""
    origin: str | None = None
    """The message it is about."""
    asked_by: str
    """Which service."""
    asked_at: Moment
    """By the service's clock."""
