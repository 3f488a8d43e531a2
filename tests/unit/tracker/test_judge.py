"""Whether a receipt counts, written by hand from the rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from broker.model.receipt import ActorKind, DeclineReason, Stage
from consumers.tracker.judge import Claim, Delivery, Reason, advance, judge

MORNING = datetime(2026, 5, 1, 8, tzinfo=UTC)
MESSAGE, OTHER = UUID(int=1), UUID(int=2)
DIGEST = b"\x01" * 32


def claim(stage: Stage, minute: int = 0, **other: Any) -> Claim:
    said: dict[str, Any] = {
        "number": "zw-n-2026-000001",
        "message_id": MESSAGE,
        "digest": DIGEST,
        "stage": stage,
        "decline_reason": DeclineReason.NATIONAL_LAW if stage is Stage.DECLINED else None,
        "actor_kind": ActorKind.PROGRAM,
        "actor": "desk",
        "appended_at": MORNING + timedelta(minutes=minute),
        "given_at": MORNING + timedelta(minutes=minute),
    }
    return Claim(**(said | other))


def given(*stages: Stage) -> Delivery:
    """What the bureau was given, after it has said these, a minute each."""
    delivery = Delivery(number="zw-n-2026-000001", message_id=MESSAGE, digest=DIGEST)
    for minute, stage in enumerate(stages):
        delivery = advance(delivery, claim(stage, minute))
    return delivery


R, A, X, D, P = Stage.RECEIVED, Stage.ACCEPTED, Stage.ACTIONED, Stage.DECLINED, Stage.PURGED

RULES: list[tuple[str, Delivery | None, Claim, Reason | None]] = [
    ("the first word may be any stage: received", given(), claim(R, 9), None),
    ("the first word may be any stage: accepted", given(), claim(A, 9), None),
    ("the first word may be any stage: actioned", given(), claim(X, 9), None),
    ("the first word may be any stage: declined", given(), claim(D, 9), None),
    ("the first word may be any stage: purged", given(), claim(P, 9), None),
    ("a stage follows", given(R), claim(A, 9), None),
    ("a stage may be left out", given(R), claim(X, 9), None),
    ("what is accepted may be declined", given(R, A), claim(D, 9), None),
    ("a decline can be thought better of", given(R, D), claim(A, 9), None),
    ("what is declined may be purged", given(D), claim(P, 9), None),
    ("what is actioned may be purged", given(X), claim(P, 9), None),
    ("the same again says nothing new", given(R), claim(R, 9), Reason.REPEATED),
    ("received after a later stage says nothing new", given(A), claim(R, 9), Reason.REPEATED),
    ("purged again says nothing new", given(P), claim(P, 9), Reason.REPEATED),
    ("purging is final", given(P), claim(A, 9), Reason.STAGE_NOT_ALLOWED),
    ("what is actioned is not declined", given(X), claim(D, 9), Reason.STAGE_NOT_ALLOWED),
    ("what is actioned is not accepted afterwards", given(X), claim(A, 9), Reason.STAGE_NOT_ALLOWED),
    ("a stage of a later version is not guessed at", given(), claim(Stage.UNKNOWN, 9), Reason.STAGE_NOT_ALLOWED),
    ("whoever declines says why", given(R), claim(D, 9, decline_reason=None), Reason.NO_DECLINE_REASON),
    ("nothing was given there", None, claim(R), Reason.UNKNOWN_DELIVERY),
    ("another notice", given(), claim(R, number="zw-n-2026-000002"), Reason.NUMBER),
    ("another message", given(), claim(R, message_id=OTHER), Reason.MESSAGE_ID),
    ("other bytes", given(), claim(R, digest=b"\x02" * 32), Reason.DIGEST),
    ("an old acceptance, copied behind a decline", given(A, D), claim(A, 0), Reason.REPLAYED),
    ("an old decline, copied behind an acceptance", given(D, A), claim(D, 0), Reason.REPLAYED),
    ("two systems of a bureau whose clocks differ", given(R, R, A), claim(X, 0), None),
]


@pytest.mark.parametrize(("delivery", "said", "reason"), [row[1:] for row in RULES], ids=[row[0] for row in RULES])
def test_rule(delivery: Delivery | None, said: Claim, reason: Reason | None) -> None:
    """Each rule by itself."""
    assert judge(said, delivery) == reason


def test_withheld() -> None:
    """Whoever acknowledges what was withheld from it is told apart from whoever was given nothing."""
    assert judge(claim(R), None, withheld=True) is Reason.WITHHELD


def test_later_stage_implies_received() -> None:
    """The first word is the moment of receipt, whatever it says, and stays it."""
    delivery = advance(advance(given(), claim(A, 3)), claim(X, 5))

    assert (delivery.received_at, delivery.accepted_at, delivery.actioned_at) == (
        MORNING + timedelta(minutes=3),
        MORNING + timedelta(minutes=3),
        MORNING + timedelta(minutes=5),
    )
    assert delivery.stage is X


def test_decline_thought_better_of() -> None:
    """Once a bureau accepts after all, its decline and the reason no longer stand."""
    declined = given(R, D)
    accepted = advance(declined, claim(A, 5))

    assert (declined.declined_at, declined.decline_reason) == (
        MORNING + timedelta(minutes=1),
        DeclineReason.NATIONAL_LAW,
    )
    assert (accepted.declined_at, accepted.decline_reason, accepted.stage) == (None, None, A)


def test_time_is_kafkas() -> None:
    """A stage's time is when Kafka appended the receipt, whatever its sender's clock said."""
    delivery = advance(given(), claim(P, 7, given_at=datetime(1999, 1, 1, tzinfo=UTC)))

    assert delivery.purged_at == MORNING + timedelta(minutes=7)
