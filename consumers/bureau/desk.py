"""One bureau's desk: sorts what comes into the inbox, gives receipts, and knows how far everything is finished.

No Kafka in here: records come in, signed receipts go out. `client` runs one desk, `host` runs all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from broker.clock import Clock, from_epoch_ms
from broker.errors import InvalidFieldError, RejectedRecordError
from broker.members.directory import Directory
from broker.model.naming import Shard, acks, inbox
from broker.model.receipt import ActorKind, DeclineReason, Receipt, Receipts, Stage
from broker.model.rejection import RejectReason
from broker.observe.tracing import Handling, acknowledging
from broker.schema.codec import Codec
from broker.transport.batches import RawBatch, RawRecord
from broker.transport.headers import signed_headers
from broker.transport.inbox import Delivery, InboxDecoder
from broker.trust.signing import RecordKind, Signer
from consumers.bureau.receipts import batched, may_follow, receipt_of
from consumers.bureau.state import BureauState
from consumers.bureau.tables import Owed, Parked

logger = structlog.get_logger(__name__)

PROGRAM = "noticewire"
"""Who gives the receipts that no handler gives."""


@dataclass(slots=True)
class _Open:
    """A delivery on the desk."""

    delivery: Delivery
    stage: Stage | None
    given: bool = False
    """The stage was given since the last `seal`; otherwise a person may have given a later one by hand."""
    changed: bool = False
    finished: bool = False


class Desk:
    """One bureau's desk.

    Args:
        state: the bureau's own file, open.
        decoder: shared by every desk of a process, for its cache.
        codec: writes receipts.
        signer: signs as this bureau.
        installation: its id, from the directory.
        clock: when receipts are given.
        received_when_finished: `received` is acknowledged when a delivery is finished, rather than when it is taken
            from the inbox: for whoever only passes it on.
    """

    def __init__(
        self,
        *,
        state: BureauState,
        decoder: InboxDecoder,
        codec: Codec,
        signer: Signer,
        installation: str,
        clock: Clock,
        received_when_finished: bool = False,
    ) -> None:
        self.bureau = signer.bureau
        self.state = state
        self._decoder = decoder
        self._codec = codec
        self._signer = signer
        self._installation = installation
        self._clock = clock
        self._received_when_finished = received_when_finished
        self._open: dict[int, _Open] = {}
        self._parked: list[Parked] = []
        self._receipts: list[tuple[Shard, Receipt]] = []
        self._position = state.position
        self._read_to = self._position
        self._sealed_to = self._position
        self._log = logger.bind(bureau=self.bureau)

    # ------------------------------------------------------------------------------------------------------- taking

    def take(self, batches: Sequence[RawBatch], directory: Directory) -> list[Delivery]:
        """Take what the reader read, and return what is new, in the inbox's order.

        What the handler has finished before is passed over; what is not proven is parked. `received` is acknowledged
        for the rest, with the next `seal` (or later: `received_when_finished`).
        """
        new = []
        for batch in batches:
            if batch.error is not None:
                self._park_batch(batch)
            for record in batch.records if not (batch.is_control or batch.is_aborted) else ():
                delivery = self._sort(record, directory)
                if delivery is not None:
                    new.append(delivery)
            self._read_to = batch.next_offset
        return new

    def _sort(self, record: RawRecord, directory: Directory) -> Delivery | None:
        if record.offset < self._read_to:
            return None
        try:
            delivery = self._decoder.decode(record, bureau=self.bureau, directory=directory)
        except RejectedRecordError as rejected:
            self._park(record, rejected)
            return None
        known = self.state.known(delivery)
        twin = next((one.delivery for one in self._open.values() if _is_same(one.delivery, delivery)), None)
        digest = known.digest if known is not None else twin.digest if twin is not None else delivery.digest
        if digest != delivery.digest:
            detail = "another message of its issuer has this number and message id"
            self._park(record, RejectedRecordError(RejectReason.ID_REUSED, detail))
            return None
        if twin is not None or (known is not None and known.finished):
            self._log.debug("Delivery passed over: finished before", number=delivery.number, offset=record.offset)
            return None
        self._open[record.offset] = opened = _Open(delivery, None if known is None else known.stage)
        if not self._received_when_finished:
            self._acknowledge_received(opened)
        return delivery

    def _acknowledge_received(self, opened: _Open) -> None:
        if opened.stage is None and opened.delivery.kind.takes_receipts:
            self.acknowledge(opened.delivery, Stage.RECEIVED)

    def _park(self, record: RawRecord, rejected: RejectedRecordError) -> None:
        self._log.warning("Record parked", offset=record.offset, reason=rejected.reason)
        self._parked.append(
            Parked(
                offset=record.offset,
                reason=rejected.reason,
                detail=rejected.detail,
                appended_at=from_epoch_ms(record.timestamp_ms),
                key=record.key,
                value=record.value,
            )
        )

    def _park_batch(self, batch: RawBatch) -> None:
        self._log.warning("Record parked", offset=batch.base_offset, reason=RejectReason.UNDECODABLE.value)
        self._parked.append(
            Parked(
                offset=batch.base_offset,
                reason=RejectReason.UNDECODABLE,
                detail=f"the batch cannot be read ({batch.error})",
                appended_at=from_epoch_ms(max(batch.max_timestamp_ms, 0)),
                key=None,
                value=batch.raw or None,
            )
        )

    # ----------------------------------------------------------------------------------------------------- handling

    def acknowledge(
        self,
        delivery: Delivery,
        stage: Stage,
        *,
        reason: DeclineReason | None = None,
        actor: str = PROGRAM,
        actor_kind: ActorKind = ActorKind.PROGRAM,
    ) -> None:
        """Give the receipt of a stage; it is on Kafka after the next `seal`, sending and `settle`.

        A stage that was acknowledged before is not acknowledged again.

        Raises:
            InvalidFieldError: the stage may not come now, needs a reason, or an outcome or a reminder is acknowledged.
        """
        if not delivery.kind.takes_receipts:
            raise InvalidFieldError("stage", f"no receipt is for a {delivery.kind}", "messages and notices of end only")
        opened = self._open.get(delivery.offset)
        if opened is None or opened.finished:
            raise InvalidFieldError("stage", "the delivery is finished", "acknowledge first, then finish")
        if may_follow(opened.stage, stage, reason):
            receipt = receipt_of(
                delivery, stage, reason=reason, actor=actor, actor_kind=actor_kind, given_at=self._clock.now()
            )
            self._receipts.append((delivery.origin.shard, receipt))
            opened.stage, opened.given, opened.changed = stage, True, True

    def finish(self, delivery: Delivery) -> None:
        """The handler is done with a delivery: it is never handed out again once the next `seal` returned."""
        opened = self._open.get(delivery.offset)
        if opened is not None:
            self._acknowledge_received(opened)
            opened.finished = opened.changed = True

    def start_over(self) -> int:
        """Forget everything that is not sealed, as a restart would.

        Returns:
            The offset from which the inbox is to be read again.
        """
        self._open.clear()
        self._receipts, self._parked = [], []
        self._read_to = self._sealed_to
        return self._read_to

    @property
    def is_dirty(self) -> bool:
        """Whether there is something to seal."""
        return bool(
            self._receipts
            or self._parked
            or self._safe_position() > self._position
            or any(opened.changed for opened in self._open.values())
        )

    @property
    def unsealed(self) -> int:
        """How many receipts wait for the next `seal`."""
        return len(self._receipts)

    def _safe_position(self) -> int:
        return min((offset for offset, one in self._open.items() if not one.finished), default=self._read_to)

    # ------------------------------------------------------------------------------------------------------ sealing

    def seal(self) -> list[Owed]:
        """Write down what was done since the last time, and return every receipt that Kafka has yet to acknowledge.

        Returns:
            Signed records for `acks.<region>`; after Kafka acknowledged all of them, call `settle` with them.

        Raises:
            FencedError: another client of this bureau took over.
        """
        receipts, parked = self._receipts, self._parked
        touched = [one for one in self._open.values() if one.changed]
        traces = {str(one.delivery.origin): one.delivery.traceparent for one in touched}
        owed = [self._signed(shard, batch, traces) for shard, batch in batched(self.bureau, receipts)]
        safe = self._safe_position()
        nothing_owed = not owed and not self.state.owes
        self.state.seal(
            touched=[(one.delivery, one.stage if one.given else None, one.finished) for one in touched],
            parked=parked,
            owed=owed,
            next_offset=safe if nothing_owed else None,
        )
        self._receipts, self._parked = self._receipts[len(receipts) :], self._parked[len(parked) :]
        for one in touched:
            one.changed = one.given = False
            if one.finished:
                del self._open[one.delivery.offset]
        self._sealed_to = safe
        if nothing_owed:
            self._position = safe
            return []
        return self.state.owed()

    def settle(self, owed: Sequence[Owed]) -> None:
        """Kafka acknowledged what `seal` returned: the position moves over what was finished by then.

        Raises:
            FencedError: another client of this bureau took over.
        """
        self.state.settle(owed, next_offset=self._sealed_to)
        self._position = self._sealed_to

    def _signed(self, shard: Shard, batch: Receipts, traces: Mapping[str, str | None]) -> Owed:
        """Sign a record of receipts; `traces` has each message's, by its origin."""
        value = self._codec.encode(batch)
        signature = self._signer.sign(RecordKind.RECEIPTS, self._installation, value)
        about = {trace for one in batch.receipts if (trace := traces.get(one.origin)) is not None}
        with acknowledging(acks(shard.region), receipts=len(batch.receipts), traceparents=about) as trace:
            headers = signed_headers(batch, key_id=self._signer.key_id, signature=signature, traceparent=trace)
        return Owed(shard=shard, value=value, headers=tuple(headers))


def handling(delivery: Delivery) -> Handling:
    """Begin to handle a delivery, in its message's trace."""
    return Handling(
        inbox(delivery.bureau),
        offset=delivery.offset,
        message_id=str(delivery.id),
        traceparent=delivery.traceparent,
    )


def _is_same(one: Delivery, other: Delivery) -> bool:
    return (one.number, one.signer, one.id) == (other.number, other.signer, other.id)
