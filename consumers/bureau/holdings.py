"""What a bureau holds: of each notice the latest revision, and after an end nothing but the fact that it ended.

Pure: `after` says what a delivery makes of a holding; `consumers.bureau.state` keeps the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from broker.model.message import ENDS, Event
from broker.transport.inbox import Delivery, DeliveryKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A notice or a diffusion as this bureau has it.

    Attributes:
        number: the notice number.
        event: the last one that the bureau was told of.
        revision: the last one that the bureau was told of.
        origin: where the message that said so lies on its feed.
        appended_at: when that came into the inbox.
        value: the latest revision as it lies on the wire (framed Avro); `None` once the copy is removed.
        digest: SHA-256 of what came last (of the value, while there is one).
    """

    number: str
    event: Event
    revision: int
    origin: str
    appended_at: datetime
    value: bytes | None
    digest: bytes

    @property
    def is_ended(self) -> bool:
        """Whether the copy is removed: the notice ended, or this bureau may no longer see it."""
        return self.value is None


def after(delivery: Delivery, holding: Holding | None) -> Holding | None:
    """Return what the bureau holds of a notice once it has finished a delivery about it.

    An end (cancelled, withdrawn, expired) removes the copy, and so does every notice of end: whoever gets one may not
    see the message, so keeping an earlier revision would keep what is in doubt, narrowed or over. What comes late (a
    lower revision, sent again) changes nothing, and nothing follows an end.
    """
    if not delivery.kind.takes_receipts:
        return holding
    event, revision = delivery.event, delivery.revision
    if holding is not None and (revision < holding.revision or holding.event in ENDS):
        return holding
    removed = delivery.kind is DeliveryKind.END or event in ENDS
    return Holding(
        number=delivery.number,
        event=event,
        revision=revision,
        origin=str(delivery.origin),
        appended_at=delivery.appended_at,
        value=None if removed else delivery.value,
        digest=delivery.digest,
    )
