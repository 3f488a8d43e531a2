from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import TopicPartition as Place

from broker.errors import CorruptHistoryError
from broker.settings import KafkaSettings
from broker.transport.fanout import BatchTemplate, Compression, CopiedBatch, Outgoing
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.publisher import Publisher
from broker.trust.keys import generate, store
from consumers.audit.archive import Limits
from consumers.audit.files import Paths
from consumers.audit.leaf import decode_headers
from consumers.audit.live import compare_live, published_checkpoints
from consumers.audit.report import Report
from consumers.audit.segment import read_rows
from consumers.audit.service import AuditService, Pace
from consumers.audit.verify import LeafIndex, Verification
from tests.support.archives import CODEC, INSTALLATION, edit_rows, edit_state, leaves_by_partition, read_state
from tests.support.eventually import eventually, eventually_async
from tests.support.kafka import create_topics, plain_read, plain_write
from tests.support.shared_kafka import SharedKafka

SIGNER = generate("audit")
TOPICS = {"notices.africa": 2, "inbox.zw": 1, "acks.africa": 2, "alerts": 1, "shards": 12, "checkpoints": 1}


@pytest.fixture
def settings(kafka: SharedKafka, prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)


@pytest.fixture
async def client(settings: KafkaSettings) -> AsyncIterator[RawClient]:
    client = RawClient(settings, client_id="audit-test")
    await client.start()
    yield client
    await client.stop()


SMALL = Pace(commit_rows=4, commit_after=timedelta(milliseconds=50), discover_every=timedelta(0))


def service(client: RawClient, folder: Path, *, pace: Pace = SMALL, **other: Any) -> AuditService:
    """An archive that commits often."""
    return AuditService(client=client, archive=folder, signer=SIGNER, installation=INSTALLATION, pace=pace, **other)


async def transact(settings: KafkaSettings, topic: str, *values: bytes, commit: bool) -> None:
    """Write in a transaction."""
    name = f"{settings.prefix}writer"
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, transactional_id=name)
    await producer.start()
    await producer.begin_transaction()
    for value in values:
        await producer.send_and_wait(settings.prefix + topic, value, key=b"zw-n-2026-000001", partition=0)
    await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()


async def write_oddities(settings: KafkaSettings) -> None:
    """Every kind of thing that an offset can hold."""
    await create_topics(settings, TOPICS)
    await plain_write(settings, "notices.africa", b"a" * 100, None, headers=(("h", b"1"),))
    await transact(settings, "notices.africa", b"lost", b"lost too", commit=False)
    await transact(settings, "notices.africa", b"kept", commit=True)
    await plain_write(settings, "inbox.zw", b"a" * 100, b"b" * 100, key=b"zw-n-2026-000001")
    await plain_write(settings, "acks.africa", b"ack", partition=1)
    poison = BatchTemplate.of(
        [Outgoing(b"k", b"odd", (("NAME", b"1"),))], compression=Compression.NONE, transactional=False
    )
    poison = BatchTemplate(poison.copy_for(0, 0, 0).replace(b"NAME", b"\xff\xfe\xfa\xfb"), 1)
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, enable_idempotence=True)
    await producer.start()
    await (await producer.send_batch(CopiedBatch(poison), settings.prefix + "alerts", partition=0))
    await producer.stop()


async def verified(client: RawClient, folder: Path) -> Report:
    """Verify offline and against the cluster."""
    published = await published_checkpoints(client)
    index = LeafIndex()
    one = Verification(
        folder, public=SIGNER.public, codec=CODEC, published=published, index=index, settled_ms=0, patience=timedelta(0)
    )
    report = await asyncio.to_thread(one.run)
    await compare_live(client, index, report, archived=one.ends)
    return report


async def test_every_offset_of_every_topic_is_accounted_for(
    settings: KafkaSettings, client: RawClient, tmp_path: Path
) -> None:
    """Records, tombstones, markers and aborted batches: the archive covers each offset, as a plain consumer sees it."""
    await write_oddities(settings)

    size = await service(client, tmp_path).run_to_end()

    state = read_state(tmp_path)
    ends = await client.end_offsets([TopicPartition(topic, n) for topic, n in state.positions])
    assert {place: known.next_offset for place, known in state.positions.items()} == ends
    assert set(state.positions) == {("notices.africa", 0), ("inbox.zw", 0), ("acks.africa", 1), ("alerts", 0)}
    leaves = leaves_by_partition(tmp_path)
    kinds = [leaf[1] for leaf in leaves["notices.africa", 0]]
    assert kinds == [0, 0, 2, 2, 1, 0, 1]  # two records, two aborted batches, their marker, a record, its marker
    names = [
        decode_headers(row["headers"])
        for block in read_rows(Paths(tmp_path).segment(0).read_bytes())
        for row in (block if isinstance(block, list) else [])
        if row["topic"] == "alerts"
    ]
    assert names == [[(b"\xff\xfe\xfa\xfb", b"1")]]  # a plain consumer raises there for ever
    records = await plain_read(settings, "notices.africa", "inbox.zw", "acks.africa")
    archived = sorted(
        (place[0], place[1], int.from_bytes(leaf[7:15], "big"), int.from_bytes(leaf[23:31], "big"))
        for place, entries in leaves.items()
        for leaf in entries
        if leaf[1] == 0 and place[0] != "alerts"
    )
    assert archived == sorted(
        (one.topic.removeprefix(settings.prefix), one.partition, one.offset, one.timestamp) for one in records
    )
    report = await verified(client, tmp_path)
    assert [one for one in report.findings if "origin" not in one.problem] == []
    assert (report.behind, report.counts.compared_live, report.counts.leaves) == (0, size, size)


async def test_checkpoints_are_published_and_not_archived(
    settings: KafkaSettings, client: RawClient, tmp_path: Path
) -> None:
    """Each commit's checkpoint reaches its topic, byte for byte, and the archive does not feed on itself."""
    await write_oddities(settings)
    async with Publisher(settings, client_id="audit") as publisher:
        audit = service(client, tmp_path, publisher=publisher)
        await audit.run_to_end()
        await audit.run_to_end()

    notes = [one.value for one in await plain_read(settings, "checkpoints")]
    assert Paths(tmp_path).checkpoint.read_bytes() == notes[-1]
    signed = Paths(tmp_path).checkpoints.read_bytes()
    assert all(note is not None and note in signed for note in notes)
    assert not any(topic == "checkpoints" for topic, _ in read_state(tmp_path).positions)


async def test_a_topic_that_appears_later_is_archived_too(
    settings: KafkaSettings, client: RawClient, tmp_path: Path
) -> None:
    """The running service finds new topics, and commits what comes without being told to."""
    await create_topics(settings, {"notices.africa": 2})
    stopping = asyncio.Event()
    audit = service(client, tmp_path)
    running = asyncio.create_task(audit.run(stopping))
    await create_topics(settings, {"inbox.fr": 1, "unrelated": 1})
    await plain_write(settings, "inbox.fr", b"late")

    async def committed() -> int:
        return audit.tree_size

    assert await eventually_async(committed, seconds=20, what="one leaf") == 1
    stopping.set()
    await running
    assert list(read_state(tmp_path).positions) == [("inbox.fr", 0)]


async def test_resuming_looks_at_the_last_batch_again(
    settings: KafkaSettings, client: RawClient, tmp_path: Path
) -> None:
    """A log that lost its end and grew again has another batch before our position: the archive stops, naming it."""
    await create_topics(settings, {"inbox.zw": 1})
    await plain_write(settings, "inbox.zw", b"a", b"b")
    await service(client, tmp_path).run_to_end()
    assert await service(client, tmp_path).run_to_end() == 2  # nothing new, nothing wrong

    place = ("inbox.zw", 0)
    known = read_state(tmp_path).positions[place]
    edit_state(tmp_path, positions={place: replace(known, last=replace(known.last, crc=known.last.crc ^ 1))})
    with pytest.raises(CorruptHistoryError, match=f"inbox.zw/0/{known.last.base_offset}: the log holds another batch"):
        await service(client, tmp_path).run_to_end()


async def test_a_log_that_starts_above_the_position_is_an_incident(
    settings: KafkaSettings, client: RawClient, tmp_path: Path, kafka: SharedKafka
) -> None:
    """Offsets that were deleted before they were archived are not passed over."""
    await create_topics(settings, {"inbox.zw": 1})
    await plain_write(settings, "inbox.zw", b"a", b"b", b"c")
    for future in kafka.admin.delete_records([Place(settings.prefix + "inbox.zw", 0, 2)]).values():
        future.result()
    with pytest.raises(CorruptHistoryError, match=r"inbox\.zw/0/0: the log starts at 2"):
        await service(client, tmp_path).run_to_end()


async def test_what_was_archived_may_be_deleted(
    settings: KafkaSettings, client: RawClient, tmp_path: Path, kafka: SharedKafka
) -> None:
    """The janitor deletes what is archived: the archive goes on from its own position, and still verifies."""
    await create_topics(settings, {"alerts": 1})
    await plain_write(settings, "alerts", b"a", b"b")
    await service(client, tmp_path).run_to_end()
    for future in kafka.admin.delete_records([Place(settings.prefix + "alerts", 0, 2)]).values():
        future.result()
    await plain_write(settings, "alerts", b"c")
    assert await service(client, tmp_path).run_to_end() == 3
    report = await verified(client, tmp_path)
    assert (report.findings, report.counts.compared_live) == ([], 1)


async def test_a_consistent_forgery_differs_from_the_topics(
    settings: KafkaSettings, client: RawClient, tmp_path: Path
) -> None:
    """With the cluster at hand, a record that was changed with all its hashes is named by comparing it."""
    await create_topics(settings, {"alerts": 1})
    await plain_write(settings, "alerts", b"a", b"b", b"c")
    await service(client, tmp_path).run_to_end()
    edit_rows(tmp_path, lambda rows: rows[1].__setitem__("value", b"B"), with_leaves=True)
    findings = {one.place: one.problem for one in (await verified(client, tmp_path)).findings}
    assert findings["alerts/0/1"] == "differs on its topic from its leaf"
    assert "alerts/0/0" not in findings


_PROGRAM = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from broker.settings import KafkaSettings
from broker.transport.fanout import BatchTemplate, Compression, CopiedBatch, Outgoing
from broker.transport.kafka import RawClient
from broker.trust.keys import load
from consumers.audit.segment import read_rows
from consumers.audit.service import AuditService, Pace

async def main(servers, prefix, folder, key, installation):
    client = RawClient(KafkaSettings(bootstrap_servers=servers, prefix=prefix), client_id="audit-killed")
    await client.start()
    pace = Pace(commit_rows=20, commit_after=timedelta(milliseconds=20), discover_every=timedelta(milliseconds=100))
    await AuditService(
        client=client, archive=Path(folder), signer=load(Path(key)), installation=installation, pace=pace
    ).run(asyncio.Event())

asyncio.run(main(*sys.argv[1:]))
"""


async def test_killed_five_times_it_ends_with_the_same_leaves(
    settings: KafkaSettings, client: RawClient, tmp_path: Path
) -> None:
    """Five SIGKILLs while records come in: the archive ends with the leaves of one that was never killed."""
    await create_topics(settings, {"notices.africa": 2, "alerts": 1, "ledger.africa": 2})
    key = store(SIGNER, tmp_path / "keys")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    writing = True

    async def write() -> int:
        written = 0
        async with Publisher(settings, client_id="writer") as publisher:
            while writing:
                for topic, partition in (("notices.africa", 0), ("notices.africa", 1), ("alerts", 0)):
                    value = f"{topic} {partition} {written}".encode() * 20
                    await publisher.publish(topic, key=b"k", value=value, partition=partition)
                    written += 1
        return written

    writer = asyncio.create_task(write())
    for _ in range(5):
        before = size(killed)
        argv = [settings.bootstrap_servers, settings.prefix, str(killed), str(key), INSTALLATION]
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _PROGRAM, *argv)
        await asyncio.to_thread(
            eventually, lambda before=before: size(killed) > before, seconds=30, what="another commit"
        )
        os.kill(process.pid, signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
    writing = False
    written = await writer

    assert await service(client, killed, pace=Pace()).run_to_end() == written
    assert await service(client, whole, pace=Pace(), limits=Limits(segment_rows=50)).run_to_end() == written
    assert leaves_by_partition(killed) == leaves_by_partition(whole)
    assert (await verified(client, killed)).findings == []


def size(folder: Path) -> int:
    """How many leaves are committed."""
    return read_state(folder).size if Paths(folder).state.exists() else 0
