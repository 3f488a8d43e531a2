"""Read a ledger partition's entries, in order: what a memory is folded from."""

from __future__ import annotations

from collections.abc import AsyncIterator

from broker.errors import CorruptHistoryError, RejectedRecordError
from broker.model.ledger import LedgerEntry
from broker.schema.codec import Codec
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.reader import RawReader


async def ledger_entries(
    client: RawClient, codec: Codec, ledger: TopicPartition, *, start: int, end: int
) -> AsyncIterator[LedgerEntry]:
    """Yield the committed entries from one offset up to another.

    Args:
        client: a started connection.
        codec: decodes the entries.
        ledger: the partition.
        start: the first offset to read.
        end: read up to here: the partition's last stable offset, or an earlier one.

    Raises:
        CorruptHistoryError: the log does not hold `start`, or a record that is no entry.
        UnavailableError: no broker answers.
    """
    reader = RawReader(client, {ledger: start}, committed=True, lane=f"fold-{ledger}")
    try:
        while reader.positions[ledger] < end:
            for _, batches in await reader.poll():
                for record in (record for batch in batches if not batch.is_control for record in batch.records):
                    try:
                        yield codec.decode(record.value or b"", LedgerEntry)
                    except RejectedRecordError as error:
                        raise CorruptHistoryError(f"{ledger}/{record.offset}", error.detail) from error
                reader.advance(ledger, batches[-1].next_offset)
    finally:
        await reader.close()
