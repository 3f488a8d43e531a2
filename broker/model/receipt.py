"""Acknowledgement: its stages, which may follow which, and the signed record that carries many of them."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints

from broker.model.base import BureauCode, Digest, Model, Moment


class Stage(StrEnum):
    """How far a bureau is with what it was given; a later stage implies `received`."""

    UNKNOWN = "unknown"
    RECEIVED = "received"
    """The bureau's system has it, whole."""
    ACCEPTED = "accepted"
    """The bureau will act on it, as its law allows."""
    ACTIONED = "actioned"
    """The bureau acted: searched, arrested, warned, told its units."""
    DECLINED = "declined"
    """The bureau will not act, and says why."""
    PURGED = "purged"
    """The national copy is deleted, after an end (domain: purging, RPD articles 49-51)."""


FOLLOWS: dict[Stage | None, frozenset[Stage]] = {
    None: frozenset({Stage.RECEIVED, Stage.ACCEPTED, Stage.ACTIONED, Stage.DECLINED, Stage.PURGED}),
    Stage.RECEIVED: frozenset({Stage.ACCEPTED, Stage.ACTIONED, Stage.DECLINED, Stage.PURGED}),
    Stage.ACCEPTED: frozenset({Stage.ACTIONED, Stage.DECLINED, Stage.PURGED}),
    Stage.ACTIONED: frozenset({Stage.PURGED}),
    Stage.DECLINED: frozenset({Stage.ACCEPTED, Stage.ACTIONED, Stage.PURGED}),
    Stage.PURGED: frozenset(),
}
"""What may come after a delivery's stage. Declining can be thought better of; purging cannot."""


class DeclineReason(StrEnum):
    """Why a bureau does not act; a code, because receipts are kept for ever and may hold no free text."""

    UNKNOWN = "unknown"
    NATIONAL_LAW = "national_law"
    """The request has no basis in the bureau's law."""
    NOT_COMPLIANT = "not_compliant"
    """It seems to break INTERPOL's constitution (articles 2 and 3)."""
    INSUFFICIENT_DATA = "insufficient_data"
    """Too little to act on."""
    NOT_CONCERNED = "not_concerned"
    """Nothing in it touches the country."""
    DUPLICATE = "duplicate"
    """The bureau already handles it under another number."""


class ActorKind(StrEnum):
    """Who gave a receipt."""

    UNKNOWN = "unknown"
    PROGRAM = "program"
    """A bureau's system, by itself."""
    OFFICER = "officer"
    """A person."""


Pseudonym = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""A program's name, or an officer's pseudonym: never a person's name."""


class Receipt(Model):
    """One acknowledgement of one record in a bureau's inbox."""

    number: str
    """Of the notice."""
    message_id: UUID
    """Of the message, or the id of the notice of end."""
    origin: str
    """Of what was received: the `origin` header of the inbox record."""
    digest: Digest
    """SHA-256 of the value that was received."""
    stage: Stage
    """How far the bureau is."""
    reason: DeclineReason | None = None
    """Where it declines."""
    actor_kind: ActorKind = ActorKind.PROGRAM
    """A program or an officer."""
    actor: Pseudonym
    """Who gave it: a name of a program, or a pseudonym."""
    given_at: Moment
    """By the bureau's clock; what counts is when Kafka appended the record."""


class Receipts(Model):
    """Receipts of one bureau about one shard, in one signed record on `acks.<region>`."""

    bureau: BureauCode
    """Who gives them, and signs."""
    receipts: tuple[Receipt, ...] = Field(min_length=1, max_length=1000)
    """In the order in which they were given."""
