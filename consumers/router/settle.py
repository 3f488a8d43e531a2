"""What becomes of each arrival: one ledger entry, and with it the message's deliveries, ends, outcomes or rejection.

Pure: it changes only the draft of the memory that it is handed, and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from broker.clock import to_epoch_ms
from broker.errors import RejectedRecordError
from broker.members.directory import Directory
from broker.model.command import Command, CommandKind
from broker.model.ledger import EntryKind, LedgerEntry, Rewritten
from broker.model.message import Message
from broker.model.naming import bureaus_of, codes
from broker.model.outcome import Outcome, Verdict, id_for
from broker.model.rejection import RawHeader, Rejection, RejectReason
from broker.model.versions import needs
from broker.schema.codec import Codec
from broker.transport.batches import RawRecord, lone_batch
from consumers.router.arrival import Arrival, ArrivedRecord, BrokenBatch
from consumers.router.decide import decide
from consumers.router.examine import Examination, examine, examine_command, is_command_feed
from consumers.router.life import check_life
from consumers.router.memory import Memory

DETAIL_CHARS_MAX = 2_000
"""A message of 1 MB may break a rule in 10,000 places. Named one by one, they would not fit beside it into the record
on `rejected`, and no router could ever get past it."""

HEADERS_MAX = 20_000
"""Each header takes a byte more in Avro than on the log, so 500,000 empty ones would not fit either. Above this the
record is set aside as the log's own bytes."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A message in an older version of the format, for some of those to whom it is delivered."""

    value: bytes
    rewritten: Rewritten


@dataclass(frozen=True, slots=True)
class Settled:
    """One arrival, settled."""

    arrival: Arrival
    entry: LedgerEntry
    outcomes: tuple[Outcome, ...] = ()
    rejection: Rejection | None = None
    copies: tuple[Copy, ...] = ()
    """The message as it is written for those who read an older version of the format."""

    @property
    def delivered(self) -> frozenset[str]:
        """Who is given the record itself."""
        return bureaus_of(self.entry.delivered)

    @property
    def ended(self) -> frozenset[str]:
        """Who is given a notice of end."""
        return bureaus_of(self.entry.ended)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settler:
    """Settles arrivals against one version of the directory."""

    directory: Directory
    codec: Codec
    installation: str

    def settle_all(self, arrived: Iterable[Arrival], memory: Memory) -> list[Settled]:
        """Settle arrivals in order, each knowing what became of those before it.

        Args:
            arrived: in feed order, each feed continuing where `memory` stands.
            memory: a draft, which learns each entry.
        """
        settled = []
        for arrival in arrived:
            one = self._settle(arrival, memory)
            memory.enter(one.entry)
            settled.append(one)
        return settled

    def _settle(self, arrival: Arrival, memory: Memory) -> Settled:
        if isinstance(arrival, BrokenBatch):
            error = RejectedRecordError(RejectReason.UNDECODABLE, f"record batch: {arrival.problem}")
            return self._reject(arrival, error, key=None, value=arrival.raw, is_raw_batch=True)
        if not isinstance(arrival, ArrivedRecord):
            return Settled(arrival, self._entry(EntryKind.PASSED_OVER, arrival))
        if is_command_feed(arrival.origin):
            return self._settle_command(arrival, memory)
        return self._settle_message(arrival, memory)

    def _settle_message(self, record: ArrivedRecord, memory: Memory) -> Settled:
        found = examine(record, directory=self.directory, codec=self.codec, installation=self.installation)
        if found.rejected is None and found.message is not None:
            try:
                return self._route(record, found.message, memory)
            except RejectedRecordError as error:
                found.rejected = error
        if found.rejected is None:
            msg = "an examination ends with a message or with a reason"
            raise AssertionError(msg)
        return self._reject(record, found.rejected, key=record.key, value=record.value, found=found)

    def _route(self, record: ArrivedRecord, message: Message, memory: Memory) -> Settled:
        digest = sha256(record.value or b"").digest()
        before = memory.digest((message.issuer, message.number, str(message.message_id)))
        if before == digest:
            entry = self._entry(EntryKind.REPEAT, record, message=message, digest=digest)
            return Settled(record, entry, self._outcomes(entry, message, Verdict.REPEAT, is_signed=True))
        if before is not None:
            raise RejectedRecordError(
                RejectReason.ID_REUSED, "message_id was used before by this issuer for this notice, with other bytes"
            )
        past = memory.notice(message.number)
        check_life(message, past)
        audience = decide(message, self.directory, past)
        copies = self._copies(record, message, audience.delivered)
        entry = self._entry(
            EntryKind.ROUTED,
            record,
            message=message,
            digest=digest,
            delivered=codes(audience.delivered),
            ended=codes(audience.ended),
            withheld={str(reason): codes(bureaus) for reason, bureaus in sorted(audience.withheld.items())},
            rewritten=tuple(copy.rewritten for copy in copies),
        )
        outcomes = self._outcomes(entry, message, Verdict.ROUTED, is_signed=True)
        return Settled(record, entry, outcomes, copies=copies)

    def _copies(self, record: ArrivedRecord, message: Message, delivered: frozenset[str]) -> tuple[Copy, ...]:
        """Write a message again for each older version that somebody reads to whom it is delivered.

        Where it cannot be said in that version, only its owner is left, or who reviews a request (`decide`): they get
        what the issuer wrote.
        """
        copies = []
        written = self.codec.version_of(record.value or b"")
        for version, readers in sorted(self.directory.readers_below(written).items()):
            bureaus = delivered & readers
            if bureaus and needs(message) <= version:
                value = self.codec.encode(message, version=version, bytes_max=None)
                digest = sha256(value).digest()
                copies.append(Copy(value, Rewritten(version=version, digest=digest, delivered=codes(bureaus))))
        return tuple(copies)

    def _settle_command(self, record: ArrivedRecord, memory: Memory) -> Settled:
        """Route a reminder to those of its bureaus that hold the notice."""
        try:
            command = examine_command(
                record, directory=self.directory, codec=self.codec, installation=self.installation
            )
            holders = _remindable(command, memory)
        except RejectedRecordError as error:
            return self._reject(record, error, key=record.key, value=record.value)
        digest = sha256(record.value or b"").digest()
        is_repeat = memory.digest((command.asked_by, command.number, str(command.command_id))) is not None
        reminded = frozenset[str]() if is_repeat else frozenset(command.bureaus) & holders
        entry = LedgerEntry(
            kind=EntryKind.REPEAT if is_repeat else EntryKind.ROUTED,
            topic=record.origin.topic,
            partition=record.origin.partition,
            from_offset=record.origin.offset,
            next_offset=record.next_offset,
            appended_at=record.appended_at,
            directory_offset=self.directory.offset,
            number=command.number,
            message_id=command.command_id,
            issuer=command.asked_by,
            digest=digest,
            delivered=codes(reminded),
        )
        return Settled(record, entry)

    def _reject(
        self,
        arrival: Arrival,
        error: RejectedRecordError,
        *,
        key: bytes | None,
        value: bytes | None,
        is_raw_batch: bool = False,
        found: Examination | None = None,
    ) -> Settled:
        """Set an arrival aside whole; tell its issuer where the signature holds, and the owner that it names."""
        message = found.named if found is not None else None
        digest = sha256(value or b"").digest()
        detail = _cut(error.detail)
        headers = arrival.headers if isinstance(arrival, ArrivedRecord) else ()
        if isinstance(arrival, ArrivedRecord) and len(headers) > HEADERS_MAX:
            key, value, headers, is_raw_batch = None, _alone(arrival), (), True
        rejection = Rejection(
            origin=str(arrival.origin),
            reason=RejectReason(error.reason),
            detail=detail,
            rejected_at=arrival.appended_at,
            key=key,
            value=value,
            headers=tuple(
                RawHeader(key=name.encode() if isinstance(name, str) else name, value=content)
                for name, content in headers
            ),
            is_raw_batch=is_raw_batch,
        )
        # The ledger is for ever, so what anybody could have made up is not entered: only what its issuer has signed.
        signed = message if found is not None and found.is_signed else None
        entry = self._entry(EntryKind.REJECTED, arrival, message=signed, digest=digest, reason=error.reason)
        if found is None or message is None:
            return Settled(arrival, entry, rejection=rejection)
        outcomes = self._outcomes(
            entry, message, Verdict.REJECTED, is_signed=found.is_signed, reason=error.reason, detail=detail
        )
        return Settled(arrival, entry, outcomes, rejection)

    def _entry(
        self,
        kind: EntryKind,
        arrival: Arrival,
        *,
        message: Message | None = None,
        digest: bytes | None = None,
        delivered: str = "",
        ended: str = "",
        withheld: dict[str, str] | None = None,
        reason: str | None = None,
        rewritten: tuple[Rewritten, ...] = (),
    ) -> LedgerEntry:
        return LedgerEntry(
            kind=kind,
            topic=arrival.origin.topic,
            partition=arrival.origin.partition,
            from_offset=arrival.origin.offset,
            next_offset=arrival.next_offset,
            appended_at=arrival.appended_at,
            directory_offset=self.directory.offset,
            number=message.number if message is not None else None,
            message_id=message.message_id if message is not None else None,
            issuer=message.issuer if message is not None else None,
            event=message.event if message is not None else None,
            revision=message.revision if message is not None else None,
            digest=digest,
            delivered=delivered,
            ended=ended,
            withheld=withheld or {},
            reason=reason,
            rewritten=rewritten,
        )

    def _outcomes(
        self,
        entry: LedgerEntry,
        message: Message,
        verdict: Verdict,
        *,
        is_signed: bool,
        reason: str | None = None,
        detail: str = "",
    ) -> tuple[Outcome, ...]:
        told = {message.owner, message.issuer} if is_signed else {message.owner}
        return tuple(
            Outcome(
                outcome_id=id_for("outcome", str(entry.origin), code),
                bureau=code,
                number=message.number,
                message_id=message.message_id,
                origin=str(entry.origin),
                digest=entry.digest or b"",
                verdict=verdict,
                reason=reason,
                detail=detail,
                given=len(bureaus_of(entry.delivered)),
                ended=len(bureaus_of(entry.ended)),
                withheld=sum(len(bureaus_of(bureaus)) for bureaus in entry.withheld.values()),
                decided_at=entry.appended_at,
            )
            for code in sorted(told)
            if self._has_inbox(code)
        )

    def _has_inbox(self, code: str) -> bool:
        bureau = self.directory.get(code)
        return bureau is not None and not bureau.is_service


def _cut(detail: str) -> str:
    return detail if len(detail) <= DETAIL_CHARS_MAX else f"{detail[:DETAIL_CHARS_MAX]} ... and more"


def _alone(record: ArrivedRecord) -> bytes:
    return lone_batch(
        RawRecord(
            record.origin.offset, to_epoch_ms(record.appended_at), record.key, record.value, tuple(record.headers)
        )
    )


def _remindable(command: Command, memory: Memory) -> frozenset[str]:
    """Return who holds the notice that a reminder is about.

    Raises:
        RejectedRecordError: it is no reminder, or nobody holds the notice.
    """
    if command.kind is not CommandKind.REMINDER:
        raise RejectedRecordError(RejectReason.INVALID, f"kind: no router carries out {command.kind}")
    past = memory.notice(command.number)
    if past is None:
        raise RejectedRecordError(RejectReason.NO_BEGINNING, f"nothing of {command.number} was routed before")
    return past.holders
