"""An acknowledgement that a person gives, beside the client that runs: one receipt, sent at once."""

from __future__ import annotations

from datetime import timedelta

from broker.clock import Clock
from broker.errors import InvalidFieldError, RefusedError
from broker.model.naming import Origin
from broker.model.receipt import ActorKind, DeclineReason, Stage
from broker.schema.codec import Codec
from broker.transport.headers import signed_headers
from broker.transport.inbox import DeliveryKind
from broker.transport.publisher import Writes
from broker.trust.signing import RecordKind, Signer
from consumers.bureau.receipts import batched, may_follow, receipt_of
from consumers.bureau.sending import send
from consumers.bureau.state import BureauState
from consumers.bureau.tables import Known, Owed

_WITHIN = timedelta(seconds=30)


async def acknowledge_by_hand(
    state: BureauState,
    name: str,
    stage: Stage,
    *,
    reason: DeclineReason | None,
    actor: str,
    actor_kind: ActorKind,
    signer: Signer,
    installation: str,
    codec: Codec,
    publisher: Writes,
    clock: Clock,
) -> Known:
    """Acknowledge the latest message under a notice number, or the one with a message id.

    Returns:
        What was acknowledged; Kafka has the receipt.

    Raises:
        RefusedError: the bureau has received nothing under this name, or the stage may not come now.
        UnavailableError: Kafka is away; nothing is noted, so give it again.
    """
    received = [known for known in state.deliveries(name) if DeliveryKind(known.kind).takes_receipts]
    if not received:
        raise RefusedError(f"{signer.bureau} has received nothing under {name}")
    known = received[-1]
    if not may_follow(known.stage, stage, reason):
        raise InvalidFieldError("stage", f"{stage} is acknowledged already", "each stage once")
    if stage is Stage.PURGED and (holding := state.holding(known.number)) is not None and holding.value is not None:
        rule = "a copy is removed when its notice ends (withdrawn, cancelled, expired), and purged is acknowledged then"
        raise InvalidFieldError("stage", f"{known.number} is in force, and its copy is held", rule)
    receipt = receipt_of(known, stage, reason=reason, actor=actor, actor_kind=actor_kind, given_at=clock.now())
    for shard, batch in batched(signer.bureau, [(Origin.parse(known.origin).shard, receipt)]):
        value = codec.encode(batch)
        signature = signer.sign(RecordKind.RECEIPTS, installation, value)
        headers = signed_headers(batch, key_id=signer.key_id, signature=signature, traceparent=known.traceparent)
        owed = Owed(shard=shard, value=value, headers=tuple(headers))
        await send([(signer.bureau, owed)], publisher=publisher, give_up_after=_WITHIN)
    state.note_stage(known, stage)
    return known
