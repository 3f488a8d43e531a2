"""A directory with keys, and inbox records as a router would write them, made by hand."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from broker.clock import to_epoch_ms
from broker.members.directory import Bureau, Directory
from broker.model.base import Model
from broker.model.change import BureauKind
from broker.model.command import Command
from broker.model.message import Classification, Message
from broker.model.naming import Origin, Region, feed, partition_of
from broker.model.notice import Notice
from broker.model.outcome import NoticeOfEnd, Outcome
from broker.model.parsing import parse_message
from broker.schema.codec import Codec
from broker.transport.batches import RawBatch, RawRecord
from broker.transport.headers import signed_headers
from broker.trust.keys import generate, public_key
from broker.trust.signing import RecordKind, Signer

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
INSTALLATION = "test-installation"

KINDS = {
    "ipsg": (BureauKind.GENERAL_SECRETARIAT, Region.EUROPE),
    "broker": (BureauKind.SERVICE, Region.GLOBAL),
    "zw": (BureauKind.MEMBER, Region.AFRICA),
    "gh": (BureauKind.MEMBER, Region.AFRICA),
    "fr": (BureauKind.MEMBER, Region.EUROPE),
}


def a_notice(**fields: Any) -> Notice:
    """A published purple notice of Zimbabwe; fields replace its own."""
    message = parse_message(
        {
            "type": "purple",
            "number": "zw-n-2026-000001",
            "event": "published",
            "revision": 1,
            "owner": "zw",
            "issuer": "ipsg",
            "region": "africa",
            "issued_at": "2026-05-01T11:00:00Z",
            "circulation": {"scope": "all"},
            "subject": {"kind": "modus_operandi", "modus_operandi": {"description": "Papers sewn into a coat"}},
            "texts": [{"language": "en", "title": "Hidden papers", "body": "Papers are sewn into coats."}],
        }
        | fields
    )
    assert isinstance(message, Notice)
    return message


class InboxWorld:
    """Signs as anybody; offsets of each inbox go up by one."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.signers: dict[str, Signer] = {code: generate(code) for code in KINDS}
        self.directory = Directory(
            [
                Bureau(
                    code=code,
                    name=code,
                    kind=kind,
                    region=region,
                    city="",
                    clearance=Classification.CONFIDENTIAL,
                    keys=(public_key(self.signers[code], valid_from=NOW - timedelta(days=1)),),
                    version=1,
                )
                for code, (kind, region) in KINDS.items()
            ],
            offset=len(KINDS),
            installation=INSTALLATION,
        )
        self._next = 0

    def record(
        self, content: Model, *, signer: str | None = None, offset: int | None = None, at: int = 42
    ) -> RawRecord:
        """What a router would put into an inbox: value, headers, and the origin `<feed>/<partition>/<at>`."""
        key, value, headers = self.parts(content, signer=signer, at=at)
        if offset is None:
            offset, self._next = self._next, self._next + 1
        return RawRecord(offset=offset, timestamp_ms=to_epoch_ms(NOW), key=key, value=value, headers=tuple(headers))

    def parts(
        self, content: Model, *, signer: str | None = None, at: int = 42
    ) -> tuple[bytes, bytes, list[tuple[str, bytes | None]]]:
        """Key, value and headers of an inbox record."""
        value = self.codec.encode(content)
        if isinstance(content, Message):
            who = self.signers[signer or content.issuer]
            origin = str(origin_of(content, at))
            signature = who.sign(RecordKind.MESSAGE, INSTALLATION, value)
        else:
            assert isinstance(content, NoticeOfEnd | Outcome | Command)
            who = self.signers[signer or "broker"]
            asked_in = Origin("commands.africa", partition_of(content.number.encode()), at)
            origin = str(asked_in) if isinstance(content, Command) else content.origin
            signature = who.sign(RecordKind.BROKER, INSTALLATION, value)
        headers: list[tuple[str, bytes | None]] = [
            *signed_headers(content, key_id=who.key_id, signature=signature),
            ("origin", origin.encode()),
        ]
        return content.number.encode(), value, headers

    def end_of(self, message: Message, *, bureau: str, at: int = 42) -> NoticeOfEnd:
        """The notice of end that a bureau is given in place of a message."""
        return NoticeOfEnd(
            notice_id=message.message_id,
            bureau=bureau,
            number=message.number,
            event=message.event,
            revision=message.revision,
            origin=str(origin_of(message, at)),
            digest=sha256(self.codec.encode(message)).digest(),
            made_at=NOW,
        )

    def reminder_of(self, message: Message, *, bureaus: tuple[str, ...], **fields: Any) -> Command:
        """What the tracker asks for, and the router copies into inboxes."""
        return Command.model_validate(
            {
                "command_id": message.message_id,
                "kind": "reminder",
                "number": message.number,
                "bureaus": bureaus,
                "origin": str(origin_of(message, 42)),
                "asked_by": "tracker",
                "asked_at": NOW,
            }
            | fields
        )

    def outcome_of(self, message: Message, *, bureau: str, at: int = 42) -> Outcome:
        """The router's word that a message was routed."""
        return Outcome.model_validate(
            {
                "outcome_id": message.message_id,
                "bureau": bureau,
                "number": message.number,
                "message_id": message.message_id,
                "origin": str(origin_of(message, at)),
                "digest": sha256(self.codec.encode(message)).digest(),
                "verdict": "routed",
                "given": 3,
                "decided_at": NOW,
            }
        )


def origin_of(message: Message, at: int) -> Origin:
    """Where a message would lie on its feed."""
    return Origin(feed(message.parsed_number.message_class, message.region), message.shard.partition, at)


def a_batch(*records: RawRecord) -> RawBatch:
    """One batch that holds these records."""
    return RawBatch(base_offset=records[0].offset, next_offset=records[-1].offset + 1, records=list(records))


def with_header(record: RawRecord, name: str, content: bytes | None) -> RawRecord:
    """The record with one header replaced, or taken away."""
    headers = [pair for pair in record.headers if pair[0] != name]
    if content is not None:
        headers.append((name, content))
    return RawRecord(record.offset, record.timestamp_ms, record.key, record.value, tuple(headers))


def another_signature(record: RawRecord) -> RawRecord:
    """The record with a signature that is none."""
    return with_header(record, "signature", b64encode(bytes(64)))
