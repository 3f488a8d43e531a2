"""The CloudEvents SDK, unmodified, reads every kind of record as it lies on Kafka."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from typing_extensions import override

from tests.support.kafka import plain_read
from tests.support.kinds import BUREAUS, a_record_of_every_kind
from tests.support.plain import PlainRecord, plain
from tests.support.shared_kafka import SharedKafka
from tests.support.world import a_world

TOPICS = (
    "notices.africa",
    "diffusions.africa",
    "commands.africa",
    "acks.africa",
    "inbox.zw",
    "inbox.ke",
    "inbox.fr",
    "inbox.ipsg",
    "rejected",
    "directory",
)
KINDS = {
    "command.reminder": "command_id",
    "diffusion.revised": "message_id",
    "diffusion.sent": "message_id",
    "directory.entered": "change_id",
    "directory.founded": "change_id",
    "directory.subscriptions_set": "change_id",
    "notice-of-end.revised": "notice_id",
    "notice.requested": "message_id",
    "outcome.routed": "outcome_id",
    "receipts": None,
    "rejection.undecodable": "origin",
}
"""What a type ends in, and which field the id is; receipts have none of their own."""


class Opaque(JSONFormat):
    """Leaves data alone: the SDK has a format for JSON only, and reads other data as bytes or text."""

    @override
    def read_data(self, body: bytes, datacontenttype: str | None) -> Any:
        return body


async def test_every_kind_of_record_is_a_cloudevent(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """Binary mode of the Kafka binding: all required attributes, a time, a subject, and the data as they are."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=BUREAUS) as world:
        await a_record_of_every_kind(world)
        consumed = await plain_read(world.kafka, *TOPICS)
        seen: dict[str, str | None] = {}
        for raw in consumed:
            if raw.value is None or not raw.headers:  # the stranger's
                continue
            record = plain(raw, prefix=prefix)
            message = KafkaMessage(headers=dict(raw.headers), key=raw.key, value=raw.value)
            event = from_kafka(message, Opaque())
            assert isinstance(event, CloudEvent)
            _check(event, record)
            kind = event.get_type().removeprefix("noticewire.")
            assert kind in KINDS, kind
            identity = KINDS[kind]
            assert identity is None or event.get_id() == str(record.value[identity])
            seen[kind] = identity
    assert seen == KINDS


def _check(event: CloudEvent, record: PlainRecord) -> None:
    """What the specification asks of each attribute, and what the value says of it."""
    assert event.get_specversion() == "1.0"
    author = next(
        (record.value[name] for name in ("issuer", "author") if name in record.value),
        record.value["bureau"] if record.subject == "receipts" else "broker",
    )
    assert event.get_source() == f"/bureaus/{author}"  # a URI-reference: an absolute path
    time = event.get_time()
    assert time is not None
    assert time.tzinfo is not None
    assert abs(time - datetime.now(UTC)).days < 3650
    assert record.headers["ce_time"].decode() == time.astimezone(UTC).isoformat(timespec="milliseconds").replace(
        "+00:00", "Z"
    )  # RFC 3339, in UTC
    assert event.get_subject() == (record.key or b"").decode()
    # The media type of the value as a whole, framing included; which schema it is, the frame says and the registry.
    assert event.get_datacontenttype() == "application/vnd.confluent.avro"
    assert event.get_dataschema() is None
    assert event.get_data() == record.raw
    others = {name for name in record.headers if not name.startswith("ce_")}
    assert others <= {"content-type", "traceparent", "key-id", "signature", "origin"}
    assert not any(name.startswith("ce-") for name in others)


def test_the_sdk_finds_what_is_wrong() -> None:
    """A record without one of the required headers is none: the SDK is a judge that can say no."""
    headers = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"/bureaus/ke"}
    with pytest.raises(CloudEventValidationError, match="type"):
        from_kafka(KafkaMessage(headers=headers, key=b"ke", value=b""), Opaque())
