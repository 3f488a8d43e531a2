"""The archive against the cluster: checkpoints that left it, and the topics themselves, read once more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.clock import to_epoch_ms
from broker.errors import CorruptHistoryError
from broker.model.naming import CHECKPOINTS
from broker.transport.kafka import TopicPartition
from broker.transport.reader import RawReader
from consumers.audit.align import place_of
from consumers.audit.files import Paths
from consumers.audit.merkle import leaf_hash
from consumers.audit.report import Finding
from consumers.audit.segment import leaf_of, rows_of
from consumers.audit.service import archived_partitions
from consumers.audit.state import TreeState
from consumers.audit.verify import SETTLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from broker.transport.kafka import RawClient
    from consumers.audit.report import Report
    from consumers.audit.verify import LeafIndex

_PUBLISHED = TopicPartition(CHECKPOINTS, 0)


async def published_checkpoints(client: RawClient) -> list[tuple[str, bytes]]:
    """Return every record of the topic `checkpoints` with its place; read them before the archive is verified.

    Raises:
        UnavailableError: no broker answers.
    """
    if CHECKPOINTS not in await client.topics():
        return []
    start, end = await client.log_start(_PUBLISHED), await client.end_offset(_PUBLISHED, committed=True)
    reader = RawReader(client, {_PUBLISHED: start}, committed=True, lane="published")
    notes = []
    try:
        while reader.positions[_PUBLISHED] < end:
            for partition, batches in await reader.poll():
                reader.advance(partition, batches[-1].next_offset)
                records = [record for batch in batches for record in batch.records]
                notes += [(f"{partition}/{record.offset}", record.value or b"") for record in records]
    finally:
        await reader.close()
    return notes


async def settled_before(client: RawClient, folder: Path, *, now: datetime) -> int | None:
    """Return the moment, in epoch milliseconds, before which everything must have been entered and delivered.

    A minute ago, if the archive holds everything that the cluster does; None otherwise: the archive itself says when
    it last did.

    Raises:
        UnavailableError: no broker answers.
    """
    try:
        archived = TreeState.from_json(Paths(folder).state.read_bytes()).positions
    except (OSError, ValueError):
        return None  # the verification will say so
    ends = await client.end_offsets(await archived_partitions(client), committed=True)
    if any(end and (place not in archived or archived[place].next_offset < end) for place, end in ends.items()):
        return None
    return to_epoch_ms(now - SETTLE)


async def compare_live(
    client: RawClient,
    index: LeafIndex,
    report: Report,
    *,
    archived: Mapping[tuple[str, int], int],
    newest: int | None = None,
) -> None:
    """Read the topics again and hold every offset against its leaf; findings and counts go to the report.

    Args:
        client: A started connection.
        index: The leaves, as a verification has filled it.
        report: Completed here.
        archived: How far each partition is archived.
        newest: Only so many of each partition's newest rows; None: everything that the log still holds.

    Raises:
        UnavailableError: no broker answers.
    """
    present = await archived_partitions(client)
    ends = await client.end_offsets(present, committed=True) if present else {}
    # Up to the high watermark, not the last stable offset: what a stranger's open transaction holds up is behind, too.
    highest = await client.end_offsets(present) if present else {}
    starts = await client.log_starts(present) if present else {}
    report.behind = sum(max(0, end - archived.get(partition, 0)) for partition, end in highest.items())
    positions: dict[TopicPartition, int] = {}
    for place, end in archived.items():
        partition = TopicPartition(*place)
        if partition not in ends:
            report.add(partition, "was archived, and is not on the cluster any more")
        elif ends[partition] < end:
            report.add(f"{partition}/{ends[partition]}", f"the log ends here, archived up to {end}")
        elif starts[partition] < end:
            positions[partition] = max(starts[partition], _from(index.hashes[place], newest))
    await _read_again(client, index, report, archived=archived, positions=positions)


def _from(hashes: Mapping[int, bytes], newest: int | None) -> int:
    """Return the offset at which so many of the newest rows begin."""
    offsets = list(hashes)
    return min(offsets[-newest:], default=0) if newest else 0


async def _read_again(
    client: RawClient,
    index: LeafIndex,
    report: Report,
    *,
    archived: Mapping[tuple[str, int], int],
    positions: dict[TopicPartition, int],
) -> None:
    reader = RawReader(client, positions, committed=True, lane="compare", keep_raw=True)
    differing: list[Finding] = []
    try:
        while reader.positions:
            for partition, batches in await reader.poll():
                first = positions[partition]
                hashes = index.hashes[partition]
                for batch in batches:
                    for row in rows_of(*partition, batch):
                        if row["offset"] < first or row["offset"] >= archived[partition]:
                            continue  # the reader cuts the batch in which it begins; its end is not archived yet
                        report.counts.compared_live += 1
                        if hashes.get(row["offset"]) != leaf_hash(leaf_of(row)):
                            differing.append(Finding(str(place_of(row)), "differs on its topic from its leaf"))
                reader.advance(partition, batches[-1].next_offset)
                if reader.positions[partition] >= archived[partition]:
                    reader.drop(partition)
    except CorruptHistoryError as error:
        report.add(error.place, error.problem)
    finally:
        await reader.close()
    report.add_many(differing, "records of a topic that differ from the archive")
