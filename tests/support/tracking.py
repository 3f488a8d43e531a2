"""What a tracker must come to, folded from the topics with nothing of ours: plain consumers, fastavro, a few rules.

For honest bureaus, who say only what they may: signatures and lifecycles of a liar's receipts are the tracker's own
tests' business.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import select

from broker.model.naming import Region, acks, inbox, ledger
from broker.settings import KafkaSettings
from broker.store.engine import open_store, sqlite_url
from broker.store.tables import deliveries
from tests.support.kafka import plain_read
from tests.support.plain import decode

_RANK = {"received": 1, "accepted": 2, "purged": 3}
_COLUMNS = ("how", "message_id", "digest", "stage", "received_at", "accepted_at", "purged_at", "actor")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Deliveries = dict[tuple[str, str], dict[str, Any]]
"""What each bureau was given at each origin, and how far it is."""


async def folded(kafka: KafkaSettings, bureaus: list[str]) -> Deliveries:
    """Fold ledgers, inboxes and receipts."""
    given: Deliveries = {}
    for record in await plain_read(kafka, *map(ledger, Region)):
        _, entry = decode(record.value or b"")
        if entry["kind"] != "routed" or entry["event"] is None:
            continue
        origin = f"{entry['topic']}/{entry['partition']}/{entry['from_offset']}"
        for bureau in entry["delivered"].split():
            given[origin, bureau] = _row("delivered", entry["message_id"], entry["digest"])
    for bureau in bureaus:
        for record in await plain_read(kafka, inbox(bureau)):
            subject, end = decode(record.value or b"")
            if subject == "notice-of-end":
                origin = dict(record.headers)["origin"].decode()
                given[origin, bureau] = _row("ended", end["notice_id"], sha256(record.value or b"").digest())
    for record in await plain_read(kafka, *map(acks, Region)):
        _, said = decode(record.value or b"")
        for receipt in said["receipts"]:
            row = given[receipt["origin"], said["bureau"]]
            assert (str(receipt["message_id"]), receipt["digest"]) == (row["message_id"], row["digest"])
            if _RANK[receipt["stage"]] <= _RANK.get(row["stage"] or "", 0):
                continue  # said before: whoever was killed says it again
            at = _EPOCH + timedelta(milliseconds=record.timestamp)
            row |= {"stage": receipt["stage"], "actor": receipt["actor"], "received_at": row["received_at"] or at}
            row[f"{receipt['stage']}_at"] = row["received_at"] if receipt["stage"] == "received" else at
    return given


def _row(how: str, message_id: object, digest: bytes) -> dict[str, Any]:
    return dict.fromkeys(_COLUMNS) | {"how": how, "message_id": str(message_id), "digest": digest}


async def tracked(store: Path) -> Deliveries:
    """Return the same from a tracker's store."""
    engine = await open_store(sqlite_url(store))
    try:
        async with engine.connect() as connection:
            rows = await connection.execute(select(deliveries))
            return {
                (row.origin, row.bureau): {name: getattr(row, name) for name in _COLUMNS}
                | {"message_id": str(row.message_id)}
                for row in rows
            }
    finally:
        await engine.dispose()
