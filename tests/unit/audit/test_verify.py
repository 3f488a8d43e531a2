from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumers.audit import checkpoint
from consumers.audit.archive import Limits
from consumers.audit.files import Paths
from consumers.audit.segment import Row, read_rows
from tests.support.archives import (
    a_log,
    an_archive,
    check,
    edit_rows,
    edit_state,
    forge_checkpoint,
    open_archive,
    read_state,
    recompute_tree,
)


def test_an_intact_archive_holds(tmp_path: Path) -> None:
    """Nothing is found in an archive that nobody touched, and everything in it was looked at."""
    report = check(an_archive(tmp_path))
    assert report.findings == []
    assert report.holds
    counts = report.counts
    assert (counts.leaves, counts.records, counts.markers) == (29, 25, 2)
    assert (counts.aborted_batches, counts.undecodable_batches) == (1, 1)
    assert (counts.partitions, counts.ledger_entries, counts.deliveries) == (6, 6, 12)
    assert counts.checkpoints == 5


def test_an_empty_archive_holds(tmp_path: Path) -> None:
    """An archive to which nothing was committed has no tree state, and says so."""
    open_archive(tmp_path).close()
    assert [finding.problem.partition(":")[0] for finding in check(tmp_path).findings] == [
        "the tree state cannot be read"
    ]


def flip(data: bytes) -> bytes:
    """Change one byte, in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def row_at(rows: list[Row], place: str) -> Row:
    """The row of a record."""
    (row,) = (row for row in rows if f"{row['topic']}/{row['partition']}/{row['offset']}" == place)
    return row


def change_value(rows: list[Row]) -> None:
    row = row_at(rows, "notices.africa/0/4")
    row["value"] = flip(row["value"] or b"")


def change_value_and_its_digest(rows: list[Row]) -> None:
    change_value(rows)
    row = row_at(rows, "notices.africa/0/4")
    row["value_sha256"] = sha256(row["value"] or b"").digest()


def change_only_the_stated_digest(rows: list[Row]) -> None:
    row = row_at(rows, "notices.africa/0/4")
    row["value_sha256"] = flip(row["value_sha256"] or b"")


def change_header(rows: list[Row]) -> None:
    row = row_at(rows, "inbox.zw/0/2")
    row["headers"] = flip(row["headers"])


def change_key(rows: list[Row]) -> None:
    row = row_at(rows, "ledger.africa/0/1")
    row["key"] = flip(row["key"] or b"")


def remove_key(rows: list[Row]) -> None:
    row_at(rows, "ledger.africa/0/1")["key"] = None


def change_timestamp(rows: list[Row]) -> None:
    row_at(rows, "notices.africa/0/0")["timestamp_ms"] += 1


def change_timestamp_kind(rows: list[Row]) -> None:
    row_at(rows, "notices.africa/0/0")["timestamp_kind"] = "create"


def change_reference(rows: list[Row]) -> None:
    row_at(rows, "inbox.ng/0/3")["value_leaf"] = 0


def change_marker(rows: list[Row]) -> None:
    row_at(rows, "inbox.zw/0/9")["value"] = b"other bytes"


def drop(rows: list[Row]) -> None:
    rows.remove(row_at(rows, "inbox.ng/0/5"))


def double(rows: list[Row]) -> None:
    rows.insert(9, row_at(rows, "notices.africa/0/3"))


def add(rows: list[Row]) -> None:
    rows.append(row_at(rows, "acks.africa/1/0") | Row(offset=1, next_offset=2))  # type: ignore[typeddict-item]


def swap(rows: list[Row]) -> None:
    rows[1], rows[4] = rows[4], rows[1]


def cut_off(rows: list[Row]) -> None:
    del rows[-3:]


Change = Callable[[list[Row]], None]

CHANGES: list[tuple[Change, str, str]] = [
    (change_value, "notices.africa/0/4", "differ: value"),
    (change_value_and_its_digest, "notices.africa/0/4", "differ: value"),
    (change_only_the_stated_digest, "notices.africa/0/4", "another digest of its value"),
    (change_header, "inbox.zw/0/2", "differ: headers"),
    (change_key, "ledger.africa/0/1", "differ: key"),
    (remove_key, "ledger.africa/0/1", "differ: key"),
    (change_timestamp, "notices.africa/0/0", "differ: timestamp"),
    (change_timestamp_kind, "notices.africa/0/0", "differ: timestamp"),
    (change_reference, "inbox.ng/0/3", "value is not stored with leaf 0"),
    (change_marker, "inbox.zw/0/9", "differ: value"),
    (drop, "inbox.ng/0/5", "no row in 000000000000.avro"),
    (double, "notices.africa/0/3", "twice"),
    (add, "acks.africa/1/1", "no leaf accounts for it"),
    (swap, "notices.africa/0/1", "swapped or moved"),
    (swap, "notices.africa/0/4", "swapped or moved"),
    (cut_off, "acks.africa/1/0", "no row in 000000000000.avro"),
]


@pytest.mark.parametrize(
    ("change", "place", "problem"), CHANGES, ids=[f"{change.__name__}-{place}" for change, place, _ in CHANGES]
)
def test_a_changed_row_is_named(tmp_path: Path, change: Change, place: str, problem: str) -> None:
    """One row changed in its segment, the rest left as it was: the finding names the record and the part."""
    an_archive(tmp_path)
    edit_rows(tmp_path, change)
    found = [finding for finding in check(tmp_path).findings if finding.place == place]
    assert any(problem in finding.problem for finding in found), check(tmp_path).findings


@pytest.mark.parametrize("change", [swap, drop, change_header])
def test_only_the_rows_that_changed_are_named(tmp_path: Path, change: Change) -> None:
    """A change does not drag its neighbours into the findings."""
    an_archive(tmp_path)
    edit_rows(tmp_path, change)
    named = {finding.place for finding in check(tmp_path).findings}
    expected: dict[Change, set[str]] = {
        swap: {"notices.africa/0/1", "notices.africa/0/4"},
        drop: {"inbox.ng/0/5", "notices.africa/0/5"},  # the second: it was not delivered to ng, as far as we can see
        change_header: {"inbox.zw/0/2", "notices.africa/0/2"},
    }
    assert named == expected[change]


@pytest.mark.parametrize("change", [change_value, change_header, change_key, change_timestamp, swap, drop, cut_off])
def test_recomputed_hashes_do_not_fit_the_signature(tmp_path: Path, change: Change) -> None:
    """With leaves, root and lengths all made to fit, the signed root still tells, and narrows it to one commit."""
    an_archive(tmp_path)
    edit_rows(tmp_path, change, with_leaves=True)
    found = [finding for finding in check(tmp_path).findings if finding.place.startswith(str(tmp_path))]
    assert any("signed another root" in one.problem or "no valid checkpoint" in one.problem for one in found), found


def test_a_forged_stretch_is_narrowed_to_its_commit(tmp_path: Path) -> None:
    """Of a consistent forgery the first finding names the records between the two checkpoints that it lies between."""
    an_archive(tmp_path)
    edit_rows(tmp_path, lambda rows: rows[10].__setitem__("timestamp_ms", 0), with_leaves=True)
    found = [one.problem for one in check(tmp_path).findings if "signed another root" in one.problem]
    # The first commit has five batches: two on the feed (6 records) and three in inbox.zw; the second has five more.
    assert found[0] == ("signed another root: one of leaves 9 to 13 (inbox.zw/0/3 to inbox.ng/0/1) is not what it was")


def test_a_forged_checkpoint_is_found(tmp_path: Path) -> None:
    """A tree head that another key signed is named by its file."""
    an_archive(tmp_path)
    forge_checkpoint(tmp_path)
    (found,) = check(tmp_path).findings
    assert found.place == str(Paths(tmp_path).checkpoint)
    assert "not signed with the log's key" in found.problem


def test_a_changed_leaf_is_named(tmp_path: Path) -> None:
    """One changed byte in any leaf is named by its record, and the signed root differs."""
    an_archive(tmp_path)
    bundle = Paths(tmp_path).bundle(0)
    data = bundle.read_bytes()
    entry = int.from_bytes(data[:2], "big") + 2
    for at in (2, 3, 10, 40, 100, entry - 1):  # version, kind, partition, key, value, topic: all of the first leaf
        bundle.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        found = check(tmp_path).findings
        assert any(one.place == "notices.africa/0/0" for one in found), (at, found)
        assert any("signed another root" in one.problem for one in found)


@pytest.mark.parametrize("field", ["root", "size", "subtrees", "positions"])
def test_a_changed_tree_state_is_found(tmp_path: Path, field: str) -> None:
    """Nothing in the tree state is believed: what was changed in it contradicts the leaves."""
    an_archive(tmp_path)
    state = read_state(tmp_path)
    place = ("inbox.zw", 0)
    changes: dict[str, dict[str, Any]] = {
        "root": {"root": flip(state.root)},
        "size": {"size": state.size - 1},
        "subtrees": {"subtrees": tuple(flip(root) for root in state.subtrees)},
        "positions": {"positions": state.positions | {place: replace(state.positions[place], next_offset=9)}},
    }
    edit_state(tmp_path, **changes[field])
    assert not check(tmp_path).holds


def test_a_changed_byte_anywhere_on_disk_is_found(tmp_path: Path) -> None:
    """Whichever byte of a segment, a bundle or a checkpoint changes: verification fails, and never crashes.

    Only where a segment still reads the same, because zstandard does not use a bit, nothing has changed.
    """
    an_archive(tmp_path)
    paths = Paths(tmp_path)
    rows = list(read_rows(paths.segment(0).read_bytes()))
    for path in (paths.segment(0), paths.bundle(0), paths.checkpoints, paths.checkpoint):
        data = path.read_bytes()
        for at in range(0, len(data), max(1, len(data) // 60)):
            changed = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]
            path.write_bytes(changed)
            same = path == paths.segment(0) and list(read_rows(changed)) == rows
            assert check(tmp_path).holds == same, (path.name, at)
        path.write_bytes(data)
    assert check(tmp_path).holds


def test_what_comes_after_a_damaged_block_is_still_read(tmp_path: Path) -> None:
    """A damaged block loses its own records only, and they are named."""
    an_archive(tmp_path)
    segment = Paths(tmp_path).segment(0)
    data = segment.read_bytes()
    sync = data[-16:]
    first = data.find(sync) + 16
    segment.write_bytes(data[: first + 8] + bytes([data[first + 8] ^ 0xFF]) + data[first + 9 :])
    report = check(tmp_path)
    named = {finding.place for finding in report.findings if "no row" in finding.problem}
    notes, _ = checkpoint.split(Paths(tmp_path).checkpoints.read_bytes())
    assert len(named) == checkpoint.parse(notes[0]).size
    assert {f"notices.africa/0/{n}" for n in range(6)} <= named


@pytest.mark.parametrize("what", ["segment", "bundle"])
def test_a_cut_off_or_missing_file_is_found(tmp_path: Path, what: str) -> None:
    """The end of a segment or bundle cut off, or the file gone: the file and the records are named."""
    an_archive(tmp_path, limits=Limits(segment_rows=10))
    known = read_state(tmp_path).segments[-1]
    path = getattr(Paths(tmp_path), what)(known.first_leaf)
    data = path.read_bytes()
    for left in (len(data) - 1, len(data) // 2, 0):
        path.write_bytes(data[:left])
        places = {finding.place for finding in check(tmp_path).findings}
        assert str(path) in places
        assert "acks.africa/1/0" in places
    path.unlink()
    assert str(path) in {finding.place for finding in check(tmp_path).findings}


def set_back(folder: Path, *, notes: int, keep_notes: bool) -> list[bytes]:
    """Put an older archive in the place of a newer one, as from a backup; return every checkpoint ever signed."""
    log = a_log()
    an_archive(folder, log)
    signed, _ = checkpoint.split(Paths(folder).checkpoints.read_bytes())
    older = an_archive(folder / "older", log[: 5 * notes])
    for path in (p for p in older.rglob("*") if p.is_file()):
        target = folder / path.relative_to(older)
        if not (keep_notes and target == Paths(folder).checkpoints):
            target.write_bytes(path.read_bytes())
    return signed


def test_an_archive_set_back_contradicts_its_checkpoints(tmp_path: Path) -> None:
    """The end cut off everywhere but in the file of checkpoints: those that signed more are named."""
    set_back(tmp_path, notes=2, keep_notes=True)
    found = [one for one in check(tmp_path).findings if "its end is cut off" in one.problem]
    assert [one.place for one in found] == [f"{Paths(tmp_path).checkpoints} note {n}" for n in (2, 3, 4)]


def test_an_archive_set_back_as_a_whole_contradicts_what_was_published(tmp_path: Path) -> None:
    """An older archive in a newer one's place is consistent in itself; a checkpoint that left it says otherwise."""
    signed = set_back(tmp_path, notes=2, keep_notes=False)
    late = 10**15
    alone = check(tmp_path, settled_ms=0)
    assert alone.findings == []
    published = [(f"checkpoints/0/{n}", note) for n, note in enumerate(signed)]
    found = check(tmp_path, settled_ms=0, published=published).findings
    assert [one.place for one in found if "its end is cut off" in one.problem] == [
        "checkpoints/0/2",
        "checkpoints/0/3",
        "checkpoints/0/4",
    ]
    assert not check(tmp_path, settled_ms=late).holds  # and deliveries are missing that the ledger does not enter


def test_two_histories_cannot_both_be_signed(tmp_path: Path) -> None:
    """A checkpoint of the same size with another root, wherever it was kept, is a finding."""
    an_archive(tmp_path / "one")
    log = a_log()
    log[0][2].records[0].timestamp_ms += 1
    an_archive(tmp_path / "two", log)
    other = [("a witness", Paths(tmp_path / "two").checkpoint.read_bytes())]
    (found,) = check(tmp_path / "one", published=other).findings
    assert found.place == "a witness"
    assert "signed another root" in found.problem


def test_a_swap_in_the_history_itself_is_found(tmp_path: Path) -> None:
    """Two leaves of a partition in the wrong order, signed so: its offsets do not follow each other."""
    an_archive(tmp_path)
    edit_rows(tmp_path, swap, with_leaves=True)
    recompute_tree(tmp_path)
    assert any(one.problem == "comes where offset 1 is due" for one in check(tmp_path).findings)


def test_an_archive_can_be_verified_while_it_grows(tmp_path: Path) -> None:
    """What is written beyond the tree state, by a service that is at work, is not looked at."""
    log = a_log()
    an_archive(tmp_path, log[:20])
    for path in (Paths(tmp_path).segment(0), Paths(tmp_path).bundle(0)):
        with path.open("ab") as file:
            file.write(b"half a block")
    assert check(tmp_path, settled_ms=0).findings == []


def test_the_key_comes_from_outside(tmp_path: Path) -> None:
    """With another key than the one that signed, nothing is signed."""
    an_archive(tmp_path)
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    found = check(tmp_path, public=other).findings
    assert any("no valid checkpoint signs the tree of 29 leaves" in one.problem for one in found)
