"""kcat, as Debian packages it, reads an inbox and the ledger.

Debian builds it without Avro (`kcat -V` names no such feature), so it shows values as they lie there.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.kafka import plain_read
from tests.support.kinds import BUREAUS, a_record_of_every_kind
from tests.support.programs import run_to_end
from tests.support.shared_kafka import SharedKafka
from tests.support.world import a_world

KCAT = shutil.which("kcat")

Shown = tuple[int, int, bytes | None, bytes, bytes]
"""A record: partition, offset, key, headers as kcat writes them, value."""

pytestmark = pytest.mark.skipif(KCAT is None, reason="kcat is not installed (Debian's package `kcat`)")


async def _kcat(bootstrap_servers: str, topic: str) -> list[Shown]:
    """Read a topic to its end. Lengths stand before what may hold anything."""
    assert KCAT is not None
    code, out, errors = await run_to_end(
        *(KCAT, "-C", "-q", "-e", "-b", bootstrap_servers, "-t", topic, "-o", "beginning"),
        *("-X", "isolation.level=read_committed", "-f", r"%p %o %K %S\n%k%h\n%s\n"),
    )
    assert code == 0, errors.decode()
    shown: list[Shown] = []
    while out:
        line, out = out.split(b"\n", 1)
        partition, offset, key_bytes, value_bytes = map(int, line.split())
        key, out = (None, out) if key_bytes < 0 else (out[:key_bytes], out[key_bytes:])
        headers, out = out.split(b"\n", 1)
        value, out = out[:value_bytes], out[value_bytes:]
        assert out[:1] == b"\n"
        shown.append((partition, offset, key, headers, value))
        out = out[1:]
    return sorted(shown)


async def test_kcat_reads_an_inbox_and_the_ledger(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """The same records as any consumer, no more and no fewer: keys, headers, and values byte for byte."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=BUREAUS) as world:
        await a_record_of_every_kind(world)
        for topic, count in (("inbox.ke", 3), ("ledger.africa", 5)):
            expected: list[Shown] = sorted(
                (
                    record.partition,
                    record.offset,
                    record.key,
                    b",".join(name.encode() + b"=" + (content or b"") for name, content in record.headers),
                    record.value or b"",
                )
                for record in await plain_read(world.kafka, topic)
            )
            assert len(expected) == count
            assert await _kcat(kafka.bootstrap_servers, prefix + topic) == expected
