"""Whether a receipt counts, and what it makes of its delivery: pure, and to be read as a list of rules.

A receipt passes two gates. What it says by itself (is it signed, is it of this shard) is settled when it is read:
`consumers.tracker.reading`. What it says about a delivery is settled here, once the ledger has passed its origin.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from broker.model.receipt import FOLLOWS, ActorKind, DeclineReason, Stage


class How(StrEnum):
    """What a bureau was given."""

    DELIVERED = "delivered"
    """The message itself."""
    ENDED = "ended"
    """A notice of end in its place."""


class Verdict(StrEnum):
    """What became of a receipt."""

    PENDING = "pending"
    """The ledger has not got to its origin."""
    COUNTED = "counted"
    NOT_COUNTED = "not_counted"


class Reason(StrEnum):
    """Why a receipt is not counted; the first one that holds, in this order. In the store, so never rename one."""

    TRANSACTIONAL = "transactional"
    """Part of a transaction: bureaus write outside of them, so that whether it was aborted need not be known."""
    UNDECODABLE = "undecodable"
    """Framing, schema id, Avro, headers, or a batch that cannot be parsed."""
    UNSIGNED = "unsigned"
    """A header that the signature needs is not there, or cannot be read."""
    KEY_NOT_VALID = "key_not_valid"
    """The key did not count when the record was appended: not yet, no more, or never entered."""
    WRONG_BUREAU = "wrong_bureau"
    """Signed with a key of another bureau than the one that it speaks for."""
    WRONG_SIGNATURE = "wrong_signature"
    MALFORMED = "malformed"
    """Its number or its origin is none."""
    NOT_ITS_SHARD = "not_its_shard"
    """Its origin is on another shard, whose ledger is not read here."""
    WITHHELD = "withheld"
    """The message was withheld from the bureau, which should not know of it."""
    UNKNOWN_DELIVERY = "unknown_delivery"
    """The bureau was given nothing there."""
    NUMBER = "number"
    """Another notice number than that of what was delivered."""
    MESSAGE_ID = "message_id"
    DIGEST = "digest"
    """The bureau has other bytes than those it was given."""
    NO_DECLINE_REASON = "no_decline_reason"
    """A bureau that declines says why."""
    REPEATED = "repeated"
    """It says what is known already: the stage again, or `received` after a later one."""
    STAGE_NOT_ALLOWED = "stage_not_allowed"
    """The stage cannot follow the one before (`broker.model.receipt.FOLLOWS`)."""
    REPLAYED = "replayed"
    """It would turn the last word round (declined, or accepted after all), but was given before it: whoever may write
    receipts could copy an older signed record to the end of the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a receipt says of a delivery."""

    number: str
    message_id: UUID
    digest: bytes
    stage: Stage
    decline_reason: DeclineReason | None
    actor_kind: ActorKind
    actor: str
    appended_at: datetime
    """When Kafka appended it: a stage's time, because the sender's clock proves nothing to others."""
    given_at: datetime
    """By the sender's clock: orders what one bureau says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What a bureau was given, and how far it is with it."""

    number: str
    message_id: UUID
    digest: bytes
    stage: Stage | None = None
    received_at: datetime | None = None
    accepted_at: datetime | None = None
    actioned_at: datetime | None = None
    declined_at: datetime | None = None
    purged_at: datetime | None = None
    actor_kind: ActorKind | None = None
    actor: str | None = None
    given_at: datetime | None = None
    """Of the receipt that brought it to its stage, as are actor and reason."""
    decline_reason: DeclineReason | None = None


def judge(claim: Claim, delivery: Delivery | None, *, withheld: bool = False) -> Reason | None:
    """Say why a receipt doesn't count, or nothing if it does.

    Args:
        claim: the receipt.
        delivery: what the ledger says its bureau was given at its origin, after all receipts before this one.
        withheld: whether the ledger says that the message was withheld from the bureau.
    """
    if delivery is None:
        return Reason.WITHHELD if withheld else Reason.UNKNOWN_DELIVERY
    if claim.number != delivery.number:
        return Reason.NUMBER
    if claim.message_id != delivery.message_id:
        return Reason.MESSAGE_ID
    if claim.digest != delivery.digest:
        return Reason.DIGEST
    if claim.stage is Stage.DECLINED and claim.decline_reason is None:
        return Reason.NO_DECLINE_REASON
    if delivery.stage is not None and claim.stage in {delivery.stage, Stage.RECEIVED}:
        return Reason.REPEATED
    if claim.stage not in FOLLOWS[delivery.stage]:
        return Reason.STAGE_NOT_ALLOWED
    turns_round = claim.stage is Stage.DECLINED or (
        delivery.stage is Stage.DECLINED and claim.stage is not Stage.PURGED
    )
    if turns_round and delivery.given_at is not None and claim.given_at < delivery.given_at:
        return Reason.REPLAYED
    return None


def advance(delivery: Delivery, claim: Claim) -> Delivery:
    """Return a delivery after a receipt that counts."""
    at = claim.appended_at
    moved = replace(
        delivery,
        stage=claim.stage,
        received_at=delivery.received_at or at,  # a later stage implies `received`
        actor_kind=claim.actor_kind,
        actor=claim.actor,
        given_at=claim.given_at,
    )
    match claim.stage:
        case Stage.ACCEPTED | Stage.ACTIONED:
            # Better thought of: the decline no longer stands. That there was one is in the receipts.
            moved = replace(moved, declined_at=None, decline_reason=None)
            return replace(moved, accepted_at=at) if claim.stage is Stage.ACCEPTED else replace(moved, actioned_at=at)
        case Stage.DECLINED:
            return replace(moved, declined_at=at, decline_reason=claim.decline_reason)
        case Stage.PURGED:
            return replace(moved, purged_at=at)
        case Stage.RECEIVED | Stage.UNKNOWN:
            return moved
