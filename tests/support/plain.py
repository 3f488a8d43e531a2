"""What lies on the topics, as a stranger's program would read it: fastavro and a plain consumer, no code of ours."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastavro
from aiokafka import ConsumerRecord

from broker.settings import KafkaSettings
from tests.support.kafka import plain_read

_AVRO = Path(__file__).parents[2] / "schemas" / "avro"


@dataclass(frozen=True, slots=True)
class PlainRecord:
    """A record, decoded with the schema that its framing names."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    raw: bytes
    subject: str
    value: dict[str, Any]
    headers: dict[str, bytes]

    @property
    def origin(self) -> str:
        """Where it was first written, as its header says."""
        return self.headers["origin"].decode()


def _schemas() -> dict[int, tuple[str, Any]]:
    catalogue = json.loads((_AVRO / "catalogue.json").read_text(encoding="utf-8"))
    return {
        one["id"]: (
            one["subject"],
            fastavro.parse_schema(json.loads((_AVRO / one["file"]).read_text(encoding="utf-8"))),
        )
        for one in catalogue["schemas"]
    }


SCHEMAS = _schemas()


def decode(value: bytes) -> tuple[str, dict[str, Any]]:
    """Return the subject and the fields of a value in Confluent framing."""
    assert value[0] == 0
    subject, schema = SCHEMAS[int.from_bytes(value[1:5], "big")]
    body = io.BytesIO(value[5:])
    fields = fastavro.schemaless_reader(body, schema, None)
    assert body.read() == b""
    assert isinstance(fields, dict)
    return subject, fields


def plain(record: ConsumerRecord[bytes | None, bytes | None], *, prefix: str) -> PlainRecord:
    """Decode a consumed record."""
    raw = record.value or b""
    subject, fields = decode(raw)
    topic = record.topic.removeprefix(prefix)
    return PlainRecord(topic, record.partition, record.offset, record.key, raw, subject, fields, dict(record.headers))


async def read(kafka: KafkaSettings, *topics: str) -> list[PlainRecord]:
    """Read topics (bare names) to their end, read_committed."""
    return [plain(record, prefix=kafka.prefix) for record in await plain_read(kafka, *topics)]
