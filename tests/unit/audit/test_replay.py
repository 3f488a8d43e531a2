from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import audit as command
from broker.clock import from_epoch_ms
from broker.errors import CorruptHistoryError, RefusedError
from consumers.audit import replay as replaying
from consumers.audit.files import Paths
from consumers.audit.replay import Wanted, replay
from tests.support.archives import CODEC, T0_MS, a_batch, a_log, a_record, an_archive
from tests.support.builders import a_red_notice

NOTICE = a_red_notice(number="zw-n-2026-777777")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The usual log, and a real notice in `fr`'s inbox and then in `ke`'s."""
    value = CODEC.encode(NOTICE)
    key = NOTICE.number.encode()
    log = [*a_log(), *((f"inbox.{code}", 0, a_batch([a_record(0, value, key=key)])) for code in ("fr", "ke"))]
    return an_archive(tmp_path, log)


def places(folder: Path, wanted: Wanted) -> list[str]:
    return [str(one.place) for one in replay(folder, wanted, codec=CODEC)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(topic="rejected"), ["rejected/0/0"]),
        (Wanted(bureau="fr"), ["inbox.fr/0/0"]),
        (Wanted(notice=NOTICE.number), ["inbox.fr/0/0", "inbox.ke/0/0"]),
        (Wanted(region="africa", topic="acks.africa"), ["acks.africa/1/0"]),
        (Wanted(region="europe"), []),
        (
            Wanted(topic="notices.africa", since=from_epoch_ms(T0_MS + 2000), until=from_epoch_ms(T0_MS + 4000)),
            ["notices.africa/0/2", "notices.africa/0/3"],
        ),
    ],
)
def test_each_filter_leaves_what_it_names(folder: Path, wanted: Wanted, expected: list[str]) -> None:
    """By topic, bureau, notice, region and time; the start counts, the end does not."""
    assert places(folder, wanted) == expected


def test_everything_is_told_in_the_archives_order(folder: Path) -> None:
    """Without a filter every row comes, markers and aborted batches included."""
    told = list(replay(folder, Wanted(), codec=CODEC))
    assert [one.leaf for one in told] == list(range(31))
    assert {one.what for one in told if one.kind != "record"} == {"marker", "aborted", "undecodable"}
    assert "ledger entry routed of notices.africa/0/3" in {one.what for one in told}


def test_no_personal_data_unless_asked_for(folder: Path) -> None:
    """A message is told by event and number; its value only with the values."""
    (told,) = replay(folder, Wanted(bureau="ke"), codec=CODEC)
    assert (told.number, told.value) == (NOTICE.number, None)
    assert told.what.startswith("notice ")
    (told,) = replay(folder, Wanted(bureau="ke"), codec=CODEC, with_values=True)
    assert told.value is not None
    assert told.value["number"] == NOTICE.number


def test_a_value_stored_long_ago_is_looked_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value that is no longer remembered is read from its own row again."""
    monkeypatch.setattr(replaying, "_REMEMBERED_BYTES", 0)
    (told,) = replay(folder, Wanted(bureau="ke"), codec=CODEC)
    assert told.number == NOTICE.number


def test_a_damaged_archive_is_not_told(folder: Path) -> None:
    """What cannot be read ends the story with an error that names the file, not silently."""
    path = Paths(folder).segment(0)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CorruptHistoryError, match=r"000000000000\.avro"):
        places(folder, Wanted())


def test_a_number_that_nobody_knows_is_no_empty_story(folder: Path) -> None:
    """The command fails where nothing matches: a misspelt number must not look like a notice without a history."""
    argv = ["replay", "--archive", str(folder), "--notice"]

    assert CliRunner().invoke(command.app, [*argv, NOTICE.number]).exit_code == 0
    assert isinstance(CliRunner().invoke(command.app, [*argv, "zw-n-1999-000001"]).exception, RefusedError)
