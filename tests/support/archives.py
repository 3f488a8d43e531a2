"""A small archive, made by the real writer from batches written by hand; and ways to tamper with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import fastavro
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.clock import ManualClock, from_epoch_ms
from broker.model.ledger import EntryKind, LedgerEntry
from broker.schema.codec import Codec
from broker.transport.reader import RawBatch, RawRecord
from consumers.audit import checkpoint, segment
from consumers.audit.archive import Archive, Limits, Step
from consumers.audit.checkpoint import TreeHead
from consumers.audit.files import Paths
from consumers.audit.merkle import CompactRange
from consumers.audit.report import Report
from consumers.audit.segment import Row
from consumers.audit.state import TreeState
from consumers.audit.verify import verify

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
INSTALLATION = "0f9d2a4c"
CODEC = Codec.load()
T0_MS = 1_780_000_000_000
CLOCK_AT = datetime(2026, 6, 1, tzinfo=UTC)
"""Days after the records below, so that whatever is missing is overdue."""

Log = list[tuple[str, int, RawBatch]]

VALUES = [f"message {number}: ".encode() + bytes([number]) * 120 for number in range(6)]


def a_record(
    offset: int, value: bytes | None, *, key: bytes | None = b"zw-n-2026-000001", **headers: bytes
) -> RawRecord:
    """A record appended one second after the one before it."""
    return RawRecord(offset, T0_MS + offset * 1000, key, value, tuple(headers.items()))


def a_batch(records: Sequence[RawRecord], *, crc: int = 7, **other: Any) -> RawBatch:
    """A batch of these records, with the broker's timestamps."""
    first, last = records[0].offset, records[-1].offset
    return RawBatch(
        base_offset=first,
        next_offset=last + 1,
        crc=crc,
        attributes=0x08,
        max_timestamp_ms=records[-1].timestamp_ms,
        records=list(records),
        raw=b"".join(record.value or b"" for record in records),
        **other,
    )


def a_marker(offset: int) -> RawBatch:
    """A transaction's end."""
    return RawBatch(offset, offset + 1, is_control=True, attributes=0x38, max_timestamp_ms=T0_MS, raw=b"marker bytes")


def an_entry(offset: int, value: bytes, delivered: str, *, topic: str = "notices.africa", **other: Any) -> bytes:
    """What the router enters for the feed record at an offset."""
    fields: dict[str, Any] = {
        "kind": EntryKind.ROUTED,
        "topic": topic,
        "partition": 0,
        "from_offset": offset,
        "next_offset": offset + 1,
        "appended_at": from_epoch_ms(T0_MS + offset * 1000),
        "directory_offset": 3,
        "digest": sha256(value).digest(),
        "delivered": delivered,
    }
    return CODEC.encode(LedgerEntry(**fields | other))


def a_log() -> Log:
    """Six messages on a feed, entered, and delivered to two inboxes; with markers, and a batch that was aborted."""
    log: Log = [("notices.africa", 0, a_batch([a_record(n, VALUES[n], origin_of=b"x") for n in range(3)]))]
    log.append(("notices.africa", 0, a_batch([a_record(n, VALUES[n]) for n in range(3, 6)])))
    for bureau in ("zw", "ng"):
        for n in range(6):
            copy = a_record(n, VALUES[n], origin=f"notices.africa/0/{n}".encode())
            log.append((f"inbox.{bureau}", 0, a_batch([copy])))
    log.append(("inbox.zw", 0, RawBatch(6, 9, is_transactional=True, is_aborted=True, raw=b"aborted bytes")))
    log.append(("inbox.zw", 0, a_marker(9)))
    log += [("ledger.africa", 0, a_batch([a_record(n, an_entry(n, VALUES[n], "ng zw"))])) for n in range(6)]
    log.append(("ledger.africa", 0, a_marker(6)))
    log.append(("rejected", 0, RawBatch(0, 2, error="torn", max_timestamp_ms=T0_MS, raw=b"who knows what")))
    log.append(("acks.africa", 1, a_batch([a_record(0, None, key=None)])))
    return log


def open_archive(folder: Path, *, at: Callable[[Step], None] = lambda _: None, limits: Limits | None = None) -> Archive:
    """Open an archive with this module's key."""
    clock = ManualClock(CLOCK_AT)
    return Archive(folder, installation=INSTALLATION, signer=KEY, clock=clock, at=at, limits=limits)


def feed(archive: Archive, log: Iterable[tuple[str, int, RawBatch]]) -> None:
    """Add what the archive does not have yet."""
    for topic, partition, batch in log:
        if batch.base_offset >= archive.next_offset(topic, partition):
            archive.add(topic, partition, replace(batch, records=list(batch.records)))


def an_archive(folder: Path, log: Log | None = None, *, every: int = 5, limits: Limits | None = None) -> Path:
    """Archive a log, with a commit after every few batches."""
    log = a_log() if log is None else log
    archive = open_archive(folder, limits=limits)
    for start in range(0, len(log), every):
        feed(archive, log[start : start + every])
        archive.commit(caught_up=True)
    archive.close()
    return folder


def check(folder: Path, **other: Any) -> Report:
    """Verify it with this module's key."""
    given: dict[str, Any] = {"public": PUBLIC, "codec": CODEC, "patience": timedelta(0)}
    return verify(folder, **given | other)


def leaves_by_partition(folder: Path) -> dict[tuple[str, int], list[bytes]]:
    """Every leaf of an archive, read by hand from its bundles."""
    found: dict[tuple[str, int], list[bytes]] = {}
    for bundle in sorted((folder / "leaves").iterdir()):
        data = bundle.read_bytes()
        while data:
            length = int.from_bytes(data[:2], "big")
            entry, data = data[2 : 2 + length], data[2 + length :]
            place = (entry[129:].decode(), int.from_bytes(entry[3:7], "big"))
            found.setdefault(place, []).append(entry)
    return found


# ------------------------------------------------------------------------------------------------------------ tampering


def edit_state(folder: Path, **changes: Any) -> None:
    """Change fields of the tree state."""
    path = Paths(folder).state
    path.write_bytes(replace(TreeState.from_json(path.read_bytes()), **changes).to_json())


def read_state(folder: Path) -> TreeState:
    """Read the tree state."""
    return TreeState.from_json(Paths(folder).state.read_bytes())


def edit_rows(folder: Path, change: Callable[[list[Row]], None], *, number: int = 0, with_leaves: bool = False) -> None:
    """Rewrite a segment with its rows changed, as somebody who knows the format would; the lengths are made to fit.

    Args:
        folder: the archive's.
        change: changes the list of rows.
        number: which segment.
        with_leaves: recompute the leaves, too.
    """
    state = read_state(folder)
    known = state.segments[number]
    path, bundle = Paths(folder).segment(known.first_leaf), Paths(folder).bundle(known.first_leaf)
    with path.open("rb") as file:
        rows: list[Any] = list(fastavro.reader(file))
    change(rows)
    path.unlink()
    grown = replace(known, segment_bytes=segment.append_rows(path, rows))
    if with_leaves:
        bundle.unlink()
        for row in rows:
            row["value_sha256"] = row["value_sha256"] if row["value"] is None else sha256(row["value"]).digest()
        entries = [segment.leaf_of(row) for row in rows]
        path.unlink()
        grown = replace(
            known,
            segment_bytes=segment.append_rows(path, rows),
            bundle_bytes=segment.append_entries(bundle, entries),
            leaves=len(entries),
        )
    edit_state(folder, segments=(*state.segments[:number], grown, *state.segments[number + 1 :]))
    if with_leaves:
        recompute_tree(folder)


def recompute_tree(folder: Path) -> None:
    """Make the tree state fit the leaves that are there; only a signature cannot be made up."""
    state = read_state(folder)
    tree = CompactRange()
    for known in state.segments:
        for entry in segment.read_entries(Paths(folder).bundle(known.first_leaf).read_bytes())[0]:
            tree.append(entry)
    edit_state(folder, size=tree.size, root=tree.root(), subtrees=tree.roots)


def forge_checkpoint(folder: Path) -> None:
    """Sign the tree state with a key that is not the archive's."""
    state = read_state(folder)
    head = TreeHead(checkpoint.origin_of(INSTALLATION), state.size, state.root)
    Paths(folder).checkpoint.write_bytes(checkpoint.sign(head, Ed25519PrivateKey.generate()))
