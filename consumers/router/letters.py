"""What one poll writes: for each inbox, the ledger and `rejected`, the records in feed order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from broker.model.naming import REJECTED, Shard, bureaus_of, inbox, ledger
from broker.model.outcome import NoticeOfEnd, Outcome, notice_of_end
from broker.model.rejection import Rejection
from broker.schema.codec import Codec
from broker.transport.fanout import Outgoing
from broker.transport.headers import ORIGIN, passed_on, rewritten_headers, signed_headers, traceparent_of
from broker.transport.kafka import TopicPartition
from broker.trust.signing import RecordKind, Signer
from consumers.router.arrival import ArrivedRecord
from consumers.router.settle import Copy, Settled

Word = Outcome | NoticeOfEnd | Rejection

Writes = Mapping[TopicPartition, Sequence[Outgoing]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scribe:
    """Writes out what was settled; signs, as `broker`, what the broker itself says."""

    shard: Shard
    codec: Codec
    installation: str
    signer: Signer

    def write(self, settled: Iterable[Settled]) -> Writes:
        """Return every record of one poll's transaction.

        A message is one object however many inboxes it goes to, so that inboxes with the same records share one
        encoded batch (`broker.transport.fanout`).
        """
        writes: dict[TopicPartition, list[Outgoing]] = defaultdict(list)
        for one in settled:
            self._deliver(one, writes)
            for outcome in one.outcomes:
                writes[_inbox(outcome.bureau)].append(self._said(one, outcome, outcome.number))
            if one.rejection is not None:
                writes[TopicPartition(REJECTED, 0)].append(self._said(one, one.rejection, one.rejection.origin))
            writes[TopicPartition(ledger(self.shard.region), self.shard.partition)].append(self._entered(one))
        return writes

    def _deliver(self, one: Settled, writes: dict[TopicPartition, list[Outgoing]]) -> None:
        if one.entry.delivered and isinstance(one.arrival, ArrivedRecord):
            record = one.arrival
            copy = Outgoing(record.key, record.value, passed_on(record.headers, origin=str(record.origin)))
            rewritten: set[str] = set()
            for older in one.copies:
                bureaus = bureaus_of(older.rewritten.delivered)
                rewritten |= bureaus
                letter = self._rewritten(record, older, digest=one.entry.digest or b"")
                for bureau in bureaus:
                    writes[_inbox(bureau)].append(letter)
            for bureau in one.delivered - rewritten:
                writes[_inbox(bureau)].append(copy)
        for bureau in sorted(one.ended):
            end = notice_of_end(one.entry, bureau)
            writes[_inbox(bureau)].append(self._said(one, end, end.number))

    def _rewritten(self, record: ArrivedRecord, older: Copy, *, digest: bytes) -> Outgoing:
        """Return a message in an older version: the issuer never signed these bytes, so the broker vouches for them."""
        signature = self.signer.sign(RecordKind.BROKER, self.installation, older.value)
        headers = rewritten_headers(
            record.headers,
            origin=str(record.origin),
            key_id=self.signer.key_id,
            signature=signature,
            issuer_digest=digest,
        )
        return Outgoing(record.key, older.value, headers)

    def _said(self, one: Settled, word: Word, key: str) -> Outgoing:
        """Return what the broker itself says of a record; it belongs to that record's trace."""
        value = self.codec.encode(word)
        signature = self.signer.sign(RecordKind.BROKER, self.installation, value)
        # A rejection has no id of its own; its origin serves, so that it is the same after a crash.
        trace = traceparent_of(one.arrival.headers) if isinstance(one.arrival, ArrivedRecord) else None
        headers = signed_headers(
            word, key_id=self.signer.key_id, signature=signature, id=word.origin, traceparent=trace
        )
        return Outgoing(key.encode(), value, (*headers, (ORIGIN, word.origin.encode())))

    def _entered(self, one: Settled) -> Outgoing:
        number = one.entry.number
        return Outgoing(number.encode() if number is not None else None, self.codec.encode(one.entry), ())


@cache  # as many as there are bureaus; they are asked for by every delivery
def _inbox(bureau: str) -> TopicPartition:
    return TopicPartition(inbox(bureau), 0)
