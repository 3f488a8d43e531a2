"""A backup holds what was committed, and comes back whole or not at all."""

from __future__ import annotations

import json
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from broker.errors import CorruptHistoryError, MisuseError
from broker.store.backup import DATA, MANIFEST, Manifest, Plan, back_up, restore
from broker.trust.keys import KeyRing
from consumers.audit.copying import copy_archive
from tests.support.archives import CLOCK_AT, a_log, an_archive, check, feed, open_archive


def a_folder(data: Path) -> Path:
    """A data folder: keys, a store that is open and has a write-ahead log, an archive, and what is left out."""
    KeyRing(data / "keys").make(["zw", "audit"])
    an_archive(data / "archive")
    with closing(sqlite3.connect(data / "store.db")) as store:
        store.execute("CREATE TABLE things (name TEXT)")
        store.commit()
    for left_out in ("router/africa-0.db", "logs/router.log", "kafka/logs/0.log", "endpoints.json", "up.lock"):
        (data / left_out).parent.mkdir(parents=True, exist_ok=True)
        (data / left_out).write_text("{}")
    return data


def saved(data: Path, target: Path, *, has_kafka: bool = False) -> Manifest:
    plan = Plan(
        data=data, has_kafka=has_kafka, folders={"archive": copy_archive}, installation="tests", made_at=CLOCK_AT
    )
    return back_up(plan, target)


def test_what_is_being_written_is_copied_as_it_was_committed(tmp_path: Path) -> None:
    """An open transaction, rows without a tree state and a write-ahead log: the copy has what was committed."""
    data = a_folder(tmp_path / "data")
    archive = open_archive(data / "archive", at=_die_before_the_state)
    feed(archive, [(topic, partition + 5, batch) for topic, partition, batch in a_log()[:1]])
    with pytest.raises(RuntimeError):
        archive.commit()
    with closing(sqlite3.connect(data / "store.db", isolation_level=None)) as writing:
        writing.execute("PRAGMA journal_mode = WAL")
        writing.execute("INSERT INTO things VALUES ('committed')")
        writing.execute("BEGIN IMMEDIATE")
        writing.execute("INSERT INTO things VALUES ('never committed')")

        saved(data, tmp_path / "backup")
    archive.close()
    restore(tmp_path / "backup", tmp_path / "again")

    with closing(sqlite3.connect(tmp_path / "again" / "store.db")) as store:
        assert store.execute("SELECT name FROM things").fetchall() == [("committed",)]
    assert (data / "archive" / "segments").stat().st_size
    report = check(tmp_path / "again" / "archive")
    assert report.holds, report.findings
    assert report.counts.leaves == check(data / "archive").counts.leaves > 0


def _die_before_the_state(step: object) -> None:
    if step == "leaves":
        raise RuntimeError


def test_keys_come_back_as_private_as_they_were_and_what_is_rebuilt_is_left_out(tmp_path: Path) -> None:
    """Keys sign as before; caches, logs, locks and addresses are not in it, and Kafka's data only if it stood still."""
    data = a_folder(tmp_path / "data")
    manifest = saved(data, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")

    assert {Path(one.path).parts[0] for one in manifest.files} == {"keys", "archive", "store.db"}
    assert KeyRing(tmp_path / "again" / "keys").signer("zw").public == KeyRing(data / "keys").signer("zw").public
    for folder in (tmp_path / "backup", tmp_path / "again"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for key in (tmp_path / "backup" / DATA / "keys").iterdir():
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert "kafka/logs/0.log" in {one.path for one in saved(data, tmp_path / "cold", has_kafka=True).files}


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """Neither a backup nor a restore touches a folder that holds something, and no backup lies in what it copies."""
    data = a_folder(tmp_path / "data")
    saved(data, tmp_path / "backup")
    with pytest.raises(MisuseError, match="holds something"):
        saved(data, tmp_path / "backup")
    with pytest.raises(MisuseError, match="holds something"):
        restore(tmp_path / "backup", data)
    with pytest.raises(MisuseError, match="lies within"):
        saved(data, data / "backup")


@pytest.mark.parametrize("spoil", ["changed", "missing"])
def test_a_spoilt_backup_is_not_restored(tmp_path: Path, spoil: str) -> None:
    """One byte that differs, or a file that is gone, and the new folder does not come to be."""
    saved(a_folder(tmp_path / "data"), tmp_path / "backup")
    segment = next((tmp_path / "backup" / DATA / "archive" / "segments").iterdir())
    if spoil == "missing":
        segment.unlink()
    else:
        segment.write_bytes(segment.read_bytes()[:-1] + b"!")

    with pytest.raises(CorruptHistoryError, match=r"missing from the backup|SHA-256 differs"):
        restore(tmp_path / "backup", tmp_path / "again")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "data"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "newer Noticewire"),
        ({"files": [{"path": "../x", "size_bytes": 0, "sha256": "", "mode": 0}]}, "outside of itself"),
        ({"surprise": 1}, "another form"),
    ],
)
def test_a_strange_manifest_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    """A newer program's, one that names files elsewhere, or none at all."""
    saved(a_folder(tmp_path / "data"), tmp_path / "backup")
    path = tmp_path / "backup" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(MisuseError, match=words):
        restore(tmp_path / "backup", tmp_path / "again")
