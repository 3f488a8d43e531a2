"""A plain FastStream application reads an inbox and the ledger."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.support.kinds import BUREAUS, a_record_of_every_kind
from tests.support.plain import read
from tests.support.programs import run_to_end
from tests.support.shared_kafka import SharedKafka
from tests.support.world import a_world

PROGRAM = Path(__file__).with_name("faststream_program.py")
SCHEMAS = Path(__file__).parents[2] / "schemas" / "avro"


async def test_faststream_reads_an_inbox_and_the_ledger(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """Every committed record once, in each partition's order, with its key, its CloudEvents type and every field."""
    topics = ("inbox.ke", "ledger.africa")
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=BUREAUS) as world:
        await a_record_of_every_kind(world)
        records = await read(world.kafka, *topics)
        arguments = [kafka.bootstrap_servers, str(SCHEMAS), str(len(records)), *(prefix + topic for topic in topics)]
        code, out, errors = await run_to_end(sys.executable, PROGRAM, *arguments)
    assert code == 0, errors.decode()

    told = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
    expected: list[dict[str, Any]] = [
        {
            "topic": prefix + record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "key": None if record.key is None else record.key.decode(),
            "type": record.headers["ce_type"].decode() if record.headers else None,
            "id": record.headers["ce_id"].decode() if record.headers else None,
            "fields": json.loads(json.dumps(record.value, default=str)),
        }
        for record in records
    ]
    assert sorted(told, key=_place) == sorted(expected, key=_place)
    for partition in {_place(one)[:2] for one in told}:
        offsets = [one["offset"] for one in told if _place(one)[:2] == partition]
        assert offsets == sorted(offsets)
    types = [one["type"] for one in expected if one["topic"].endswith("inbox.ke")]
    assert sorted(types) == [
        "noticewire.command.reminder",
        "noticewire.diffusion.sent",
        "noticewire.notice-of-end.revised",
    ]


def _place(one: dict[str, Any]) -> tuple[str, int, int]:
    return one["topic"], one["partition"], one["offset"]
