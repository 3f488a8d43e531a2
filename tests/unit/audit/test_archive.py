from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import CorruptHistoryError, UnavailableError
from broker.transport.reader import RawBatch
from consumers.audit import checkpoint
from consumers.audit.archive import Limits, Step
from consumers.audit.files import Paths
from tests.support.archives import (
    INSTALLATION,
    PUBLIC,
    VALUES,
    a_batch,
    a_log,
    a_record,
    an_archive,
    check,
    edit_state,
    feed,
    leaves_by_partition,
    open_archive,
    read_state,
)


class KilledError(BaseException):
    """Stands for the end of the process: nothing after it runs."""


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Every row, read with a plain Avro reader."""
    rows: list[Any] = []
    for path in sorted((folder / "segments").iterdir()):
        with path.open("rb") as file:
            rows += fastavro.reader(file)
    return rows


def test_a_row_holds_the_exact_bytes(tmp_path: Path) -> None:
    """Key, value, headers, timestamp, topic, partition and offset are archived as they lay in the log."""
    archive = open_archive(tmp_path)
    record = a_record(0, b"\x00value", key=b"\xff")
    record.headers = (("a", b"1"), (b"\xfe", None))
    archive.add("notices.africa", 1, a_batch([record]))
    archive.commit()
    archive.close()
    (row,) = rows_of(tmp_path)
    assert row == {
        "kind": "record",
        "topic": "notices.africa",
        "partition": 1,
        "offset": 0,
        "next_offset": 1,
        "timestamp_ms": 1_780_000_000_000,
        "timestamp_kind": "log_append",
        "key": b"\xff",
        "value": b"\x00value",
        "value_sha256": sha256(b"\x00value").digest(),
        "value_leaf": -1,
        "headers": b"\0\0\0\1a\0\0\0\x011" + b"\0\0\0\1\xfe\xff\xff\xff\xff",
    }


def test_every_offset_has_its_row(tmp_path: Path) -> None:
    """Markers, aborted and undecodable batches, and holes in a batch are accounted for beside the records."""
    archive = open_archive(tmp_path)
    sparse = a_batch([a_record(1, b"a"), a_record(3, b"b")])
    sparse.base_offset, sparse.next_offset = 0, 6
    feed(archive, [*a_log(), ("alerts", 0, sparse)])
    archive.commit()
    archive.close()
    covered: dict[tuple[str, int], list[tuple[str, int, int]]] = {}
    for row in rows_of(tmp_path):
        stretch = (row["kind"], row["offset"], row["next_offset"])
        covered.setdefault((row["topic"], row["partition"]), []).append(stretch)
    assert covered["alerts", 0] == [
        ("hole", 0, 1),
        ("record", 1, 2),
        ("hole", 2, 3),
        ("record", 3, 4),
        ("hole", 4, 6),
    ]
    assert covered["inbox.zw", 0][6:] == [("aborted", 6, 9), ("marker", 9, 10)]
    assert covered["rejected", 0] == [("undecodable", 0, 2)]
    assert covered["acks.africa", 1] == [("record", 0, 1)]


def test_a_shared_value_is_stored_once(tmp_path: Path) -> None:
    """The copies in inboxes refer to the feed's value by its digest; an aborted batch leaves only its digest."""
    an_archive(tmp_path)
    rows = rows_of(tmp_path)
    for number, value in enumerate(VALUES):
        holders = [row["topic"] for row in rows if row["value"] == value]
        assert holders == ["notices.africa"]
        copies = [row for row in rows if row["value"] is None and row["value_sha256"] == sha256(value).digest()]
        assert [(row["topic"], row["value_leaf"]) for row in copies] == [("inbox.zw", number), ("inbox.ng", number)]
    (aborted,) = (row for row in rows if row["kind"] == "aborted")
    assert (aborted["value"], aborted["value_sha256"]) == (None, sha256(b"aborted bytes").digest())


def test_each_commit_is_signed(tmp_path: Path) -> None:
    """A commit returns a checkpoint of all that was added, which the log's key verifies; without news there is none."""
    archive = open_archive(tmp_path)
    log = a_log()
    feed(archive, log[:1])
    first = archive.commit()
    assert first is not None
    assert checkpoint.verify(first, origin=f"noticewire/{INSTALLATION}", public=PUBLIC).size == 3
    assert archive.commit() is None
    feed(archive, log)
    assert archive.commit() == archive.note
    assert archive.note is not None
    assert checkpoint.parse(archive.note).size == archive.size == 29
    archive.close()


@pytest.mark.parametrize("how", ["rows", "bytes", "age"])
def test_a_full_segment_is_closed_and_never_changes(tmp_path: Path, how: str) -> None:
    """Each limit closes a segment: what comes later goes into another file."""
    limits = {
        "rows": Limits(segment_rows=4),
        "bytes": Limits(segment_bytes=500),
        "age": Limits(segment_age=timedelta(0)),
    }[how]
    log = a_log()
    an_archive(tmp_path, log[:6], every=2, limits=limits)
    before = {path: path.read_bytes() for path in (tmp_path / "segments").iterdir()}
    an_archive(tmp_path, log, every=5, limits=limits)
    assert len(before) > 1
    assert {path: path.read_bytes() for path in before} == before
    assert check(tmp_path).findings == []


def test_a_batch_that_does_not_follow_is_an_incident(tmp_path: Path) -> None:
    """A gap is refused, and named by the offset that is missing."""
    archive = open_archive(tmp_path)
    with pytest.raises(CorruptHistoryError, match="alerts/0/0: the next batch begins at offset 1"):
        archive.add("alerts", 0, a_batch([a_record(1, b"")]))
    archive.close()


def test_only_one_process_writes(tmp_path: Path) -> None:
    """A second writer is turned away while the first one holds the lock, and let in afterwards."""
    archive = open_archive(tmp_path)
    with pytest.raises(UnavailableError, match="another process"):
        open_archive(tmp_path)
    archive.close()
    open_archive(tmp_path).close()


@pytest.mark.parametrize("torn", [b"", b"half a block of something"])
@pytest.mark.parametrize("commit", [0, 1, 3])
@pytest.mark.parametrize("step", Step)
def test_a_crash_at_any_step_costs_nothing(tmp_path: Path, step: Step, commit: int, torn: bytes) -> None:
    """Whatever a crash leaves behind, also torn writes, an archive that goes on ends with the same leaves."""
    log = a_log()
    whole = an_archive(tmp_path / "whole", log)
    folder, commits = tmp_path / "killed", 0
    died = False

    def kill(at: Step) -> None:
        nonlocal died
        if at is step and commits == commit and not died:
            died = True
            raise KilledError

    archive = open_archive(folder, at=kill)
    for start in range(0, len(log), 5):
        feed(archive, log[start : start + 5])
        try:
            archive.commit(caught_up=True)
        except KilledError:
            archive.close()
            paths = Paths(folder)
            written = (*paths.segments.iterdir(), *paths.leaves.iterdir(), paths.checkpoints)
            for path in (path for path in written if path.exists()):
                with path.open("ab") as file:
                    file.write(torn)
            (paths.folder / "state.json.new").write_bytes(torn)
            archive = open_archive(folder)
            feed(archive, log[: start + 5])
            archive.commit(caught_up=True)
        commits += 1
    archive.close()
    assert died
    assert leaves_by_partition(folder) == leaves_by_partition(whole)
    assert read_state(folder).root == read_state(whole).root
    assert check(folder).findings == []


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(1, 28), max_size=6), random=st.randoms(use_true_random=False))
def test_leaves_do_not_depend_on_when_and_in_which_order(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], random: Any
) -> None:
    """However partitions interleave and wherever commits fall, each partition ends with the same leaves."""
    log = a_log()
    places = [(topic, partition) for topic, partition, _ in log]
    random.shuffle(places)
    queues: dict[tuple[str, int], list[RawBatch]] = {}
    for topic, partition, batch in log:
        queues.setdefault((topic, partition), []).append(batch)
    shuffled = [(*place, queues[place].pop(0)) for place in places]
    folder = tmp_path_factory.mktemp("archive")
    archive = open_archive(folder / "shuffled")
    for cut in sorted(cuts):
        feed(archive, shuffled[:cut])
        archive.commit()
    feed(archive, shuffled)
    archive.commit(caught_up=True)
    archive.close()
    assert leaves_by_partition(folder / "shuffled") == leaves_by_partition(an_archive(folder / "plain", log))
    assert check(folder / "shuffled").findings == []


@pytest.mark.parametrize("what", ["segment", "bundle", "segment gone", "state", "notes", "notes gone", "root", "other"])
def test_an_archive_that_contradicts_itself_is_not_touched(tmp_path: Path, what: str) -> None:
    """Opening one that lost what was committed fails, saying where, and changes nothing."""
    an_archive(tmp_path)
    paths, installation = Paths(tmp_path), INSTALLATION
    match what:
        case "segment":
            paths.segment(0).write_bytes(paths.segment(0).read_bytes()[:-1])
        case "bundle":
            paths.bundle(0).write_bytes(paths.bundle(0).read_bytes()[:-1])
        case "segment gone":
            paths.segment(0).unlink()
        case "state":
            paths.state.unlink()
        case "notes":
            paths.checkpoints.write_bytes(b"".join(checkpoint.split(paths.checkpoints.read_bytes())[0][:1]))
        case "notes gone":
            paths.checkpoints.unlink()
        case "root":
            edit_state(tmp_path, root=bytes(32))
        case _:
            edit_state(tmp_path, installation="another")
    with paths.segments.joinpath("999999999999.avro").open("wb"):
        pass
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    with pytest.raises(CorruptHistoryError):
        open_archive(tmp_path)
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
    assert installation == INSTALLATION
