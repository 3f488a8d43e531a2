"""Files for a system that watches a folder, and the receipts that it leaves there."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from broker.errors import InvalidFieldError, MisuseError, UnavailableError
from broker.schema.codec import Codec
from broker.transport.inbox import Delivery, InboxDecoder
from consumers.bureau.folder import Folder, name_of, write_whole
from tests.support.builders import a_red_notice
from tests.support.inbox_world import InboxWorld

ID = "0197a3c2-7b1e-7c3a-9d55-0242ac120001"
CODEC = Codec.load()


@pytest.fixture
def delivery() -> Delivery:
    world = InboxWorld(CODEC)
    record = world.record(a_red_notice(message_id=ID, number="zw-n-2026-000001"), offset=42)
    return InboxDecoder(CODEC).decode(record, bureau="gh", directory=world.directory)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_delivery_is_a_file_of_its_own(tmp_path: Path, delivery: Delivery) -> None:
    """It is there whole, for its owner's eyes, under a name without personal data; again is the same file."""
    folder = Folder(tmp_path / "in")
    for _ in range(2):
        await folder.take(delivery)

    (file,) = (tmp_path / "in").glob("*.json")
    assert file.name == f"000000000042-message-zw-n-2026-000001-{ID}.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = json.loads(file.read_bytes())["content"]
    assert content["subject"]["person"]["name"]["family"] == "EXAMPLE"
    assert names(tmp_path / "in") == [file.name, "receipts"]


async def test_a_file_is_whole_or_not_there(
    tmp_path: Path, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk fails before the rename, nothing can be seen, and the delivery does not count as taken."""

    def fails(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    folder = Folder(tmp_path)
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(UnavailableError, match="No space left"):
        await folder.take(delivery)

    assert names(tmp_path) == ["receipts"]


def test_it_is_durable_before_it_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content to the disk, then the name, then the folder: in this order."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        steps.append("name")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(tmp_path / "a.json", b"{}")

    assert steps == ["content", "name", "folder"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "answer"),
        ("{", "answer"),
        (f'{{"id": "{ID}"}}', "stage"),
        ('{"stage": "accepted"}', "id"),
        (f'{{"id": "{ID}", "stage": "done"}}', "stage"),
    ],
)
def test_a_receipt_that_is_none_fails_with_the_reason_beside_it(tmp_path: Path, text: str, field: str) -> None:
    """It does not come again, and a person finds out why."""
    folder = Folder(tmp_path)
    (tmp_path / "receipts" / "a.json").write_text(text)
    (picked,) = folder.receipts()
    assert isinstance(picked.content, InvalidFieldError)
    assert picked.content.field == field
    folder.failed(picked, str(picked.content))

    assert list(folder.receipts()) == []
    failed = tmp_path / "receipts" / "failed"
    assert (failed / "a.json").read_text() == text
    assert (failed / "a.json.reason").read_text() == f"{picked.content}\n"


def test_a_link_and_a_pipe_are_not_read(tmp_path: Path) -> None:
    """Whoever may write receipts can neither make us read another file nor wait for ever."""
    folder = Folder(tmp_path)
    (tmp_path / "secret").write_text(f'{{"id": "{ID}", "stage": "accepted"}}')
    (tmp_path / "receipts" / "a.json").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "receipts" / "b.json")

    assert all(isinstance(picked.content, InvalidFieldError) for picked in folder.receipts())


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A file in its place is a misuse, before anything is connected."""
    (tmp_path / "file").write_text("")
    with pytest.raises(MisuseError, match="cannot take deliveries"):
        Folder(tmp_path / "file")


def test_names_sort_in_the_inbox_s_order(delivery: Delivery) -> None:
    """Whoever works through the files by name keeps each notice's order."""
    assert name_of(delivery) < f"{delivery.offset + 1:012d}"
