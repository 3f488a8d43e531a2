"""From a record in an inbox to a typed delivery that is proven to be what it says; or the reason why it is none."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Generic, TypeVar, cast
from uuid import UUID

from broker.clock import from_epoch_ms
from broker.errors import InvalidFieldError, RejectedRecordError
from broker.members.directory import Directory
from broker.model.command import Command, CommandKind
from broker.model.diffusion import Diffusion
from broker.model.message import Event
from broker.model.naming import Origin, commands, feed, shard_of
from broker.model.notice import Notice
from broker.model.outcome import BROKER, NoticeOfEnd, Outcome
from broker.model.rejection import RejectReason
from broker.schema.codec import Codec
from broker.transport.batches import RawRecord
from broker.transport.headers import Headers, mismatch, parse_headers
from broker.trust.signing import RecordKind, verify

ROUTING_LAG_MAX = timedelta(days=90)
"""How long before its delivery a key may have ended: the window for which a feed keeps its records.

Whether the key counted is the router's question, and it has answered it: it held the key against the append time on the
feed, which an inbox does not show, and nobody but routers can write an inbox. So what an old key signed must not be
parked by every recipient, because its issuer changed keys while the services were down.
"""

CACHE_ENTRIES_MAX = 2048
"""Distinct values and signatures remembered: one process may host 226 inboxes, and most hold the same messages."""

CACHE_BYTES_MAX = 16 * 1024 * 1024
"""And of what size, as on the wire: above 2,048 notices of the usual 2 to 4 KB, so that it bites only where messages
are large; 2,048 of the largest would be 2 GB, and what they are decoded into several times that."""

_HEADER_BYTES = 150
"""What a header takes in Python besides its text: a tuple, and two objects."""

Content = Notice | Diffusion | NoticeOfEnd | Outcome | Command
"""What an inbox record can say."""


class DeliveryKind(StrEnum):
    """What an inbox holds."""

    MESSAGE = "message"
    """A notice or a diffusion, as its issuer signed it."""
    END = "end"
    """A notice of end, in place of a message that this bureau may not see."""
    OUTCOME = "outcome"
    """The router's word about a message of this bureau."""
    REMINDER = "reminder"
    """The broker asks for the receipt of something that this bureau was given before."""

    @property
    def takes_receipts(self) -> bool:
        """Whether the bureau acknowledges it; a receipt for a reminder is one for what it is about."""
        return self in {DeliveryKind.MESSAGE, DeliveryKind.END}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One record of an inbox, proven.

    Attributes:
        bureau: whose inbox it came to.
        kind: which of the four it is.
        content: what it says, typed.
        id: the message's, notice of end's, outcome's or reminder's own id.
        signer: whose word it is: the issuer's, or `broker`'s.
        number: the notice number.
        origin: where the issuer's message lies on its feed; of a reminder, where that lies among the commands.
        digest: SHA-256 of `value`; receipts carry it.
        value: the bytes on the wire.
        offset: in the inbox.
        appended_at: when it came into the inbox.
        traceparent: the trace that it belongs to.
    """

    bureau: str
    kind: DeliveryKind
    content: Content
    id: UUID
    signer: str
    number: str
    origin: Origin
    digest: bytes
    value: bytes
    offset: int
    appended_at: datetime
    traceparent: str | None = None

    @property
    def message(self) -> Notice | Diffusion | None:
        """The notice or diffusion, if it is one."""
        return self.content if isinstance(self.content, Notice | Diffusion) else None

    @property
    def end(self) -> NoticeOfEnd | None:
        """The notice of end, if it is one."""
        return self.content if isinstance(self.content, NoticeOfEnd) else None

    @property
    def outcome(self) -> Outcome | None:
        """The outcome of a message of this bureau, if it is one."""
        return self.content if isinstance(self.content, Outcome) else None

    @property
    def reminder(self) -> Command | None:
        """The reminder, if it is one."""
        return self.content if isinstance(self.content, Command) else None

    @property
    def event(self) -> Event:
        """What happened to the notice; `unknown` for an outcome and for a reminder."""
        return Event.UNKNOWN if isinstance(self.content, Outcome | Command) else self.content.event

    @property
    def revision(self) -> int:
        """Which revision it is about; 0 for an outcome and for a reminder."""
        return 0 if isinstance(self.content, Outcome | Command) else self.content.revision


K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class _Cache(Generic[K, V]):
    """The most recently used results, bounded by number and by size."""

    def __init__(self) -> None:
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self.size_bytes = 0

    def get(self, key: K, make: Callable[[], V], *, size_bytes: int) -> V:
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key][0]
        value = make()
        self._entries[key] = value, size_bytes
        self.size_bytes += size_bytes
        while len(self._entries) > CACHE_ENTRIES_MAX or self.size_bytes > CACHE_BYTES_MAX:
            _, (_, gone_bytes) = self._entries.popitem(last=False)
            self.size_bytes -= gone_bytes
        return value


@dataclass(frozen=True, slots=True)
class _Letter:
    """What a record says, before anybody has proven it; the same for every inbox that holds a copy."""

    content: Content
    headers: Headers
    origin: Origin
    digest: bytes


class InboxDecoder:
    """Decodes and verifies inbox records; each distinct value and signature once, however many inboxes hold it.

    Only the shape is checked, never the rules of the day: a message of five years ago must stay readable.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._letters: _Cache[Hashable, _Letter | RejectedRecordError] = _Cache()
        self._proofs: _Cache[Hashable, bool] = _Cache()

    def decode(self, record: RawRecord, *, bureau: str, directory: Directory) -> Delivery:
        """Return what a record of a bureau's inbox says.

        Args:
            record: as it lies in `inbox.<bureau>`.
            bureau: whose inbox that is.
            directory: at its end; keys are looked up in it.

        Raises:
            RejectedRecordError: `undecodable`, `misplaced` (headers, key, origin or bureau contradict the value) or
                `signature`; park the record with it.
        """
        letter = self._letters.get(
            (record.key, record.value, record.headers), lambda: self._read(record), size_bytes=_size_bytes(record)
        )
        if isinstance(letter, RejectedRecordError):
            raise letter
        content = letter.content
        if isinstance(content, NoticeOfEnd | Outcome) and content.bureau != bureau:
            raise RejectedRecordError(RejectReason.MISPLACED, f"it is for the inbox of {content.bureau}")
        if isinstance(content, Command) and bureau not in content.bureaus:
            raise RejectedRecordError(RejectReason.MISPLACED, "it reminds others")
        value = record.value or b""
        signer = content.issuer if isinstance(content, Notice | Diffusion) else BROKER
        # What the router wrote in an older version of the format, for who reads no newer one, it has signed itself.
        proven_by = BROKER if letter.headers.issuer_digest is not None else signer
        appended_at = from_epoch_ms(record.timestamp_ms)
        self._prove(letter, value, signer=proven_by, appended_at=appended_at, directory=directory)
        kind, own_id = _kind_and_id(content)
        return Delivery(
            bureau=bureau,
            kind=kind,
            content=content,
            id=own_id,
            signer=signer,
            number=content.number,
            origin=letter.origin,
            digest=letter.digest,
            value=value,
            offset=record.offset,
            appended_at=appended_at,
            traceparent=letter.headers.traceparent,
        )

    def _read(self, record: RawRecord) -> _Letter | RejectedRecordError:
        try:
            if record.value is None:
                return RejectedRecordError(RejectReason.UNDECODABLE, "it has no value")
            headers = parse_headers(record.headers)
            content = cast(
                "Content", self._codec.decode(record.value, Notice, Diffusion, NoticeOfEnd, Outcome, Command)
            )
            if isinstance(content, Command) and content.kind is not CommandKind.REMINDER:
                return _misplaced(f"no command of kind {content.kind} goes into an inbox")
            if differing := mismatch(headers, content):
                return _misplaced(f"header {differing} differs from the value")
            if record.key != content.number.encode():
                return _misplaced("the key is not the notice number")
            origin = Origin.parse(headers.origin or "")
        except RejectedRecordError as rejected:
            return rejected
        except InvalidFieldError:
            return _misplaced("header origin is missing or is none")
        if not _is_at_home(content, origin):
            return _misplaced("header origin is not where such a message can have been written")
        return _Letter(content, headers, origin, sha256(record.value).digest())

    def _prove(
        self, letter: _Letter, value: bytes, *, signer: str, appended_at: datetime, directory: Directory
    ) -> None:
        """Hold the signature against the directory.

        Raises:
            RejectedRecordError: `signature`.
        """
        headers = letter.headers
        owner, key = directory.key(headers.key_id) or ("", None)
        if key is None:
            raise RejectedRecordError(RejectReason.SIGNATURE, "the key is not in the directory")
        if owner != signer:
            raise RejectedRecordError(RejectReason.SIGNATURE, f"the key is {owner}'s, the message {signer}'s")
        if key.valid_from > appended_at or (
            key.valid_until is not None and key.valid_until <= appended_at - ROUTING_LAG_MAX
        ):
            raise RejectedRecordError(RejectReason.SIGNATURE, "the key did not count when the record was appended")
        kind = RecordKind.BROKER if signer == BROKER else RecordKind.MESSAGE
        installation = directory.installation or ""
        proven = self._proofs.get(
            (key.public, headers.signature, kind, installation, letter.digest),
            lambda: verify(key.public, headers.signature, kind, installation, value),
            size_bytes=len(headers.signature),
        )
        if not proven:
            raise RejectedRecordError(RejectReason.SIGNATURE, "the signature does not hold")


def _size_bytes(record: RawRecord) -> int:
    headers = sum(len(name) + len(content or b"") + _HEADER_BYTES for name, content in record.headers)
    return len(record.key or b"") + len(record.value or b"") + headers


def _misplaced(detail: str) -> RejectedRecordError:
    return RejectedRecordError(RejectReason.MISPLACED, detail)


def _is_at_home(content: Content, origin: Origin) -> bool:
    if isinstance(content, NoticeOfEnd | Outcome):
        return content.origin == str(origin)
    try:
        if isinstance(content, Command):
            shard = origin.shard
            return origin.topic == commands(shard.region) and shard == shard_of(content.number, shard.region)
        shard, message_class = content.shard, content.parsed_number.message_class
    except InvalidFieldError:
        return False
    return (origin.topic, origin.partition) == (feed(message_class, content.region), shard.partition)


def _kind_and_id(content: Content) -> tuple[DeliveryKind, UUID]:
    match content:
        case NoticeOfEnd():
            return DeliveryKind.END, content.notice_id
        case Outcome():
            return DeliveryKind.OUTCOME, content.outcome_id
        case Command():
            return DeliveryKind.REMINDER, content.command_id
        case _:
            return DeliveryKind.MESSAGE, content.message_id
