"""A stranger's application: FastStream, fastavro, and the folder of schemas. Nothing of Noticewire is imported.

    python faststream_program.py BOOTSTRAP_SERVERS SCHEMAS RECORDS TOPIC...

Prints a line of JSON for each record that it is handed, and ends after so many.
"""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path
from typing import Any

import fastavro
from faststream import FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

bootstrap_servers, folder, expected, *topics = sys.argv[1:]
schemas: dict[int, Any] = {}
for entry in json.loads((Path(folder) / "catalogue.json").read_text())["schemas"]:
    schemas[entry["id"]] = fastavro.parse_schema(json.loads((Path(folder) / entry["file"]).read_text()))

broker = KafkaBroker(bootstrap_servers)
app = FastStream(broker)
seen = 0


async def from_avro(message: KafkaMessage) -> Any:
    """Read the framing, find the schema by its id, decode the body."""
    body: bytes = message.body
    assert body[0] == 0, "no Confluent framing"
    return fastavro.schemaless_reader(io.BytesIO(body[5:]), schemas[int.from_bytes(body[1:5], "big")], None)


@broker.subscriber(*topics, decoder=from_avro, auto_offset_reset="earliest", isolation_level="read_committed")
async def handle(fields: dict[str, Any], message: KafkaMessage) -> None:
    """Say what came."""
    global seen  # noqa: PLW0603 - a script that counts
    seen += 1
    record = message.raw_message
    assert not isinstance(record, tuple), "one at a time was asked for"
    told = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": None if record.key is None else record.key.decode(),
        "type": message.headers.get("ce_type"),
        "id": message.headers.get("ce_id"),
        "fields": fields,
    }
    print(json.dumps(told, default=str), flush=True)  # noqa: T201 - read by the test
    if seen == int(expected):
        app.exit()


if __name__ == "__main__":
    asyncio.run(app.run())
