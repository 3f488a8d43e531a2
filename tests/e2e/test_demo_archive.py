"""The demo's own history under `noticewire audit verify`: as it is, and after each way of tampering with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumers.audit.files import Paths
from consumers.audit.segment import Row
from tests.support.archives import edit_rows, edit_state, read_state
from tests.support.demo import Finished, RunningDemo

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(400)]


@pytest.fixture
def archive(demo: RunningDemo, tmp_path: Path) -> Path:
    """A copy of the demo's archive, to tamper with."""
    return shutil.copytree(demo.archive, tmp_path / "archive")


def verify(demo: RunningDemo, archive: Path) -> Finished:
    """Verify an archive by itself, with the demo's audit key."""
    return demo.run("audit", "verify", "--offline", "--archive", archive, "--json")


def findings(ended: Finished) -> list[tuple[str, str]]:
    """Return place and problem of what a verification found: there must be something."""
    report = ended.expect(1).json
    assert not report["holds"]
    return [(one["place"], one["problem"]) for one in report["findings"]]


def flip(data: bytes) -> bytes:
    """Change one byte, in the middle."""
    at = len(data) // 2
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def place_of(row: Row) -> str:
    return f"{row['topic']}/{row['partition']}/{row['offset']}"


def records_of(rows: Sequence[Row], topic: str) -> list[Row]:
    """The records of the topics whose names begin so, that hold their value themselves."""
    return [row for row in rows if row["topic"].startswith(topic) and row["kind"] == "record"]


def test_the_demos_history_holds(demo: RunningDemo) -> None:
    """Every offset that was there when the demo had ended is archived, and compared with Kafka."""
    report = demo.run("audit", "verify", "--json").expect(0).json
    assert report["holds"]
    assert report["findings"] == []
    assert report["counts"]["ledger_entries"] >= len(demo.history.read("ledger."))
    inboxes = [one for one in demo.history.read("inbox.") if one.subject != "outcome"]
    assert report["counts"]["deliveries"] >= len(inboxes)
    assert report["counts"]["compared_live"] >= len(demo.history.records) - len(demo.history.topics["checkpoints"])


def test_the_copy_of_the_archive_holds(demo: RunningDemo) -> None:
    """Of what is tampered with below, nothing was found before."""
    report = verify(demo, demo.archive).expect(0).json
    assert report["holds"]
    archived = len(demo.history.records) - len(demo.history.topics["checkpoints"])
    assert report["counts"]["records"] == archived


@dataclass(frozen=True, slots=True)
class Tampering:
    """A change of rows, and what is said of each row that it concerns."""

    problem: str
    change: Callable[[list[Row]], list[str]]
    """Returns the places that must be named."""


def a_value(rows: list[Row]) -> list[str]:
    row = next(row for row in records_of(rows, "notices.europe") if row["value"])
    row["value"] = flip(row["value"] or b"")
    return [place_of(row)]


def a_header(rows: list[Row]) -> list[str]:
    row = records_of(rows, "inbox.zw")[3]
    row["headers"] = flip(row["headers"])
    return [place_of(row)]


def a_key(rows: list[Row]) -> list[str]:
    row = records_of(rows, "ledger.africa")[2]
    row["key"] = flip(row["key"] or b"")
    return [place_of(row)]


def a_timestamp(rows: list[Row]) -> list[str]:
    row = records_of(rows, "acks.africa")[5]
    row["timestamp_ms"] += 1
    return [place_of(row)]


def one_dropped(rows: list[Row]) -> list[str]:
    row = records_of(rows, "inbox.ke")[4]
    rows.remove(row)
    return [place_of(row)]


def one_doubled(rows: list[Row]) -> list[str]:
    row = records_of(rows, "diffusions.africa")[0]
    rows.insert(rows.index(row) + 1, row)
    return [place_of(row)]


def two_swapped(rows: list[Row]) -> list[str]:
    one, other = records_of(rows, "acks.europe")[1], records_of(rows, "acks.europe")[2]
    at, there = rows.index(one), rows.index(other)
    rows[at], rows[there] = other, one
    return [place_of(one), place_of(other)]


CHANGED_IN_PLACE = [
    Tampering("differ: value", a_value),
    Tampering("differ: headers", a_header),
    Tampering("differ: key", a_key),
    Tampering("differ: timestamp", a_timestamp),
    Tampering("swapped or moved", two_swapped),
]
DROPPED_AND_DOUBLED = [Tampering("no row in", one_dropped), Tampering("twice", one_doubled)]


@pytest.mark.parametrize("tamperings", [CHANGED_IN_PLACE, DROPPED_AND_DOUBLED], ids=["in place", "dropped and doubled"])
def test_each_record_tampered_with_is_named(demo: RunningDemo, archive: Path, tamperings: list[Tampering]) -> None:
    """A byte of a value, a header, a key, a timestamp, two swapped; one dropped, one doubled: each is named for it.

    Several in one archive: that the verification fails after each alone is shown beside the archive itself.
    """
    concerned: dict[str, str] = {}

    def tamper(rows: list[Row]) -> None:
        for tampering in tamperings:
            concerned.update(dict.fromkeys(tampering.change(rows), tampering.problem))

    edit_rows(archive, tamper)

    found = findings(verify(demo, archive))
    for place, problem in concerned.items():
        assert any(where == place and problem in what for where, what in found), (place, problem, found)
    in_the_segment = {where for where, what in found if "avro" in what}
    assert in_the_segment == concerned.keys()


def test_a_changed_leaf_is_named(demo: RunningDemo, archive: Path) -> None:
    """One byte of a leaf: the record that it stands for is named, and no signed root fits any more."""
    bundle = Paths(archive).bundle(0)
    data = bundle.read_bytes()
    topic = b"inbox.sn"  # ends the leaf, so the byte before it is the last one of a digest
    at = data.index(topic) - 1
    bundle.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])

    found = findings(verify(demo, archive))
    assert any(place.startswith("inbox.sn/0/") and "differ" in problem for place, problem in found), found
    assert any("signed another root" in problem for _, problem in found), found


def test_a_changed_root_is_found(demo: RunningDemo, archive: Path) -> None:
    """One byte of the root in the tree state: the file is named."""
    edit_state(archive, root=flip(read_state(archive).root))

    assert str(Paths(archive).state) in {place for place, _ in findings(verify(demo, archive))}


def test_a_segment_cut_off_is_found(demo: RunningDemo, archive: Path) -> None:
    """The end of the last segment cut off: the file is named, and the last records that it held."""
    state = read_state(archive)
    segment = Paths(archive).segment(state.segments[-1].first_leaf)
    segment.write_bytes(segment.read_bytes()[:-5000])

    found = findings(verify(demo, archive))
    assert str(segment) in {place for place, _ in found}
    assert any("no row in" in problem for _, problem in found), found


def test_recomputed_hashes_do_not_help(demo: RunningDemo, archive: Path) -> None:
    """A changed value with leaves, root and lengths made to fit it: the signed root still tells, and between which."""
    place = ""

    def tamper(rows: list[Row]) -> None:
        nonlocal place
        (place,) = a_value(rows)

    edit_rows(archive, tamper, with_leaves=True)

    problems = [problem for _, problem in findings(verify(demo, archive))]
    assert any("signed another root: one of leaves" in problem for problem in problems), (place, problems)
