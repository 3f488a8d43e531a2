"""Receipts: which stage may be acknowledged next, and many of them in one signed record for each shard. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from broker.errors import InvalidFieldError
from broker.model.naming import Shard
from broker.model.receipt import FOLLOWS, ActorKind, DeclineReason, Receipt, Receipts, Stage
from broker.transport.inbox import Delivery
from consumers.bureau.tables import Known

RECEIPTS_PER_RECORD_MAX = 500
"""Some 90 KB: well below what a topic takes, and far beyond where a larger record would be cheaper still."""


def may_follow(last: Stage | None, stage: Stage, reason: DeclineReason | None) -> bool:
    """Return whether there is something to acknowledge: `False` where this stage was acknowledged before.

    Raises:
        InvalidFieldError: the stage may not follow the last one, or a declining bureau gives no reason.
    """
    if (stage is Stage.DECLINED) != (reason is not None):
        raise InvalidFieldError("reason", f"does not go with {stage}", "who declines gives a reason, and nobody else")
    if stage is last:
        return False
    if stage not in FOLLOWS[last]:
        rule = f"after {last} comes {' or '.join(sorted(FOLLOWS[last])) or 'nothing'}"
        raise InvalidFieldError("stage", f"{stage} does not follow {last}", rule)
    return True


def receipt_of(
    delivery: Delivery | Known,
    stage: Stage,
    *,
    reason: DeclineReason | None,
    actor: str,
    actor_kind: ActorKind,
    given_at: datetime,
) -> Receipt:
    """Return the receipt of one stage of one delivery, with what proves which bytes it is about."""
    return Receipt(
        number=delivery.number,
        message_id=delivery.id,
        origin=str(delivery.origin),
        digest=delivery.digest,
        stage=stage,
        reason=reason,
        actor_kind=actor_kind,
        actor=actor,
        given_at=given_at,
    )


def batched(bureau: str, receipts: Iterable[tuple[Shard, Receipt]]) -> Iterator[tuple[Shard, Receipts]]:
    """Yield as few records as hold these receipts: by shard, and in the order given within each."""
    by_shard: dict[Shard, list[Receipt]] = defaultdict(list)
    for shard, receipt in receipts:
        by_shard[shard].append(receipt)
    for shard, given in by_shard.items():
        for at in range(0, len(given), RECEIPTS_PER_RECORD_MAX):
            yield shard, Receipts(bureau=bureau, receipts=tuple(given[at : at + RECEIPTS_PER_RECORD_MAX]))
