from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.clock import ManualClock, SystemClock
from broker.errors import CorruptHistoryError, InvalidFieldError, MisuseError, RefusedError, UnavailableError
from broker.schema.codec import Codec
from broker.transport.publisher import RecordPlace
from broker.trust.keys import KeyFileError, generate
from producers.journal import Journal
from producers.letter import Letter
from producers.sending import Sender
from tests.support.builders import a_person, a_red_notice
from tests.support.eventually import eventually_async

CODEC = Codec.load()
SIGNER = generate("ipsg")
NOW = SystemClock().now()
PLANTED = "PLANTEDNAME"


def a_letter(serial: int = 1, **changes: object) -> Letter:
    message = a_red_notice(number=f"zw-n-2026-{serial:06d}", **changes)
    return Letter.written(message, signer=SIGNER, installation="here", codec=CODEC)


class Feed:
    """Stands in for Kafka: takes letters, or fails as it is told for a notice."""

    def __init__(self) -> None:
        self.taken: list[Letter] = []
        self.away = False
        self.refuses: set[bytes] = set()
        self.breaks_at: set[bytes] = set()

    async def send(self, letter: Letter) -> RecordPlace:
        """Take a letter."""
        await asyncio.sleep(0)
        if self.away:
            raise UnavailableError("away")
        if letter.digest in self.breaks_at:
            raise ZeroDivisionError
        if letter.digest in self.refuses:
            raise RefusedError("not this one")
        self.taken.append(letter)
        return RecordPlace(letter.topic, letter.partition, len(self.taken) - 1, 0)


class Desk:
    """A journal with its sender, over and over on the same file."""

    def __init__(self, folder: Path) -> None:
        self.path, self.key = folder / "journal.db", folder / "keys" / "journal.key"
        self.feed = Feed()
        self.sender: Sender
        self.journal: Journal

    async def start(self) -> Sender:
        """Open the journal, and begin to send."""
        self.journal = await Journal.open(self.path, key_file=self.key)
        self.sender = Sender(journal=self.journal, send=self.feed.send, clock=ManualClock(NOW))
        await self.sender.start()
        return self.sender

    async def stop(self) -> None:
        """Stop sending, and let go of the file."""
        await self.sender.close()
        await self.journal.close()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.start()
    yield desk
    await desk.stop()


async def test_what_is_accepted_comes_back_unchanged(desk: Desk) -> None:
    """After a restart the journal holds the same bytes, headers and place, so that the router sees a repeat."""
    desk.feed.away = True
    letter = a_letter()
    await desk.sender.accept(letter)
    await desk.stop()
    desk.feed.away = False
    sender = await desk.start()
    await sender.drain()

    assert desk.feed.taken == [letter]
    assert await desk.journal.waiting() == []


async def test_each_notice_keeps_its_order_and_holds_up_no_other(desk: Desk) -> None:
    """A message is sent only after the one of its notice before it, across restarts too; other notices go on."""
    desk.feed.away = True
    letters = [a_letter(serial, revision=revision) for revision in range(1, 6) for serial in (1, 2, 3)]
    for letter in letters[:9]:
        await desk.sender.accept(letter)
    await desk.stop()
    await desk.start()
    for letter in letters[9:]:
        await desk.sender.accept(letter)
    assert desk.sender.waiting == 15
    desk.feed.away = False
    await asyncio.wait_for(desk.sender.drain(), 90)

    for serial in (1, 2, 3):
        number = f"zw-n-2026-{serial:06d}"
        assert [one.message_id for one in desk.feed.taken if one.number == number] == [
            one.message_id for one in letters if one.number == number
        ]
    assert len(desk.feed.taken) == 15


async def test_a_refused_message_is_kept_and_reported_and_the_next_one_goes_on(desk: Desk) -> None:
    """Given up is never silent: who waits is told, the entry stays with its reason, and an end is not held up."""
    bad, good = a_letter(revision=1), a_letter(event="cancelled", revision=1)
    desk.feed.refuses.add(bad.digest)
    _, failing = await desk.sender.accept(bad)
    _, landing = await desk.sender.accept(good)
    with pytest.raises(RefusedError, match="not this one"):
        await failing
    await landing

    [failed] = await desk.journal.failures()
    assert (failed.message_id, failed.number, failed.code) == (bad.message_id, bad.number, "refused")
    assert (failed.accepted_at, failed.failed_at, failed.problem) == (NOW, NOW, "not this one")
    await desk.stop()
    await desk.start()
    await desk.sender.drain()
    assert desk.feed.taken == [good]  # a restart does not try again by itself
    desk.feed.refuses.clear()
    _, landing = await desk.sender.accept(bad)
    await landing
    assert desk.feed.taken == [good, bad]
    assert await desk.journal.failures() == []


async def test_nothing_overtakes_a_message_at_which_sending_broke_down(desk: Desk) -> None:
    """After a fault of ours the notice waits for the next start, what is accepted later too; others go on."""
    first, second, third = (a_letter(1, revision=revision) for revision in (1, 2, 3))
    other = a_letter(2)
    desk.feed.breaks_at = {first.digest}
    landings = [(await desk.sender.accept(one))[1] for one in (first, second)]
    await desk.sender.drain()
    landings += [(await desk.sender.accept(one))[1] for one in (third, other)]
    await desk.sender.drain()

    assert desk.feed.taken == [other]
    assert desk.sender.waiting == 3
    for landing in landings[:3]:
        with pytest.raises(UnavailableError, match="it cannot be sent now"):
            await landing
    await desk.stop()
    desk.feed.breaks_at.clear()
    await (await desk.start()).drain()
    assert desk.feed.taken == [other, first, second, third]


async def test_a_job_that_breaks_down_is_told_and_the_next_goes_on(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever accepts hears of a fault of ours instead of waiting for ever, and nothing of it is kept."""
    with monkeypatch.context() as broken:
        broken.setattr("producers.journal.to_epoch_ms", lambda _: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(desk.sender.accept(a_letter(1)), 10)

    await desk.sender.accept(a_letter(2))
    await desk.sender.drain()
    assert [one.number for one in desk.feed.taken] == ["zw-n-2026-000002"]


async def test_a_failed_entry_can_be_discarded_and_a_waiting_one_cannot(desk: Desk) -> None:
    """Only what has failed may be dropped."""
    bad = a_letter(1)
    desk.feed.refuses.add(bad.digest)
    entry, _ = await desk.sender.accept(bad)
    await desk.sender.drain()
    desk.feed.away = True
    waiting, _ = await desk.sender.accept(a_letter(2))

    assert await desk.journal.discard(entry.sequence)
    assert not await desk.journal.discard(waiting.sequence)
    assert await desk.journal.failures() == []
    assert [one.sequence for one in await desk.journal.waiting()] == [waiting.sequence]


async def test_the_same_message_twice_is_one_entry(desk: Desk) -> None:
    """The same bytes share one entry while they wait; the same id with other bytes is refused."""
    desk.feed.away = True
    letter = a_letter()
    other = a_letter(message_id=str(letter.message_id), revision=7)
    first, _ = await desk.sender.accept(letter)
    second, _ = await desk.sender.accept(letter)
    with pytest.raises(InvalidFieldError, match="message_id"):
        await desk.sender.accept(other)

    assert first == second
    desk.feed.away = False
    await asyncio.wait_for(desk.sender.drain(), 90)
    assert len(desk.feed.taken) == 1


async def test_no_personal_data_lies_in_any_file(desk: Desk, tmp_path: Path) -> None:
    """A planted name is in the message and in none of the journal's files, waiting, failed or gone."""
    desk.feed.away = True
    subject = a_person("wanted", name={"family": PLANTED, "forename": "Alex"})
    letters = [a_letter(serial, subject=subject) for serial in range(1, 20)]
    assert all(PLANTED.encode() in one.value for one in letters)
    desk.feed.refuses |= {one.digest for one in letters[:5]}
    await asyncio.gather(*(desk.sender.accept(letter) for letter in letters))

    def holds() -> list[str]:
        return [
            path.name
            for path in tmp_path.rglob("*")
            if path.is_file()
            and any(text in path.read_bytes() for text in (PLANTED.encode(), PLANTED.lower().encode()))
        ]

    assert await asyncio.to_thread(holds) == []
    desk.feed.away = False
    await asyncio.wait_for(desk.sender.drain(), 90)
    assert len(await desk.journal.failures()) == 5
    assert await asyncio.to_thread(holds) == []
    assert stat.S_IMODE(desk.key.stat().st_mode) == 0o600
    assert stat.S_IMODE(desk.path.stat().st_mode) == 0o600


async def test_two_do_not_share_a_journal(desk: Desk) -> None:
    """A second user of the file is refused, and told which process has it."""
    with pytest.raises(MisuseError, match=r"in use by process \d+"):
        await Journal.open(desk.path, key_file=desk.key)


async def test_another_key_or_none_is_noticed(tmp_path: Path) -> None:
    """A journal never opens with another key, and a lost key is never replaced by a fresh one."""
    path, key = tmp_path / "journal.db", tmp_path / "a.key"
    await (await Journal.open(path, key_file=key)).close()
    await (await Journal.open(tmp_path / "other.db", key_file=tmp_path / "b.key")).close()

    with pytest.raises(MisuseError, match="another key"):
        await Journal.open(path, key_file=tmp_path / "b.key")
    with pytest.raises(KeyFileError):
        await Journal.open(path, key_file=tmp_path / "c.key")
    assert not (tmp_path / "c.key").exists()
    key.chmod(0o644)
    with pytest.raises(KeyFileError, match="can be read by others"):
        await Journal.open(path, key_file=key)


async def test_a_newer_journal_is_refused(tmp_path: Path) -> None:
    """A file of a newer program is left alone."""
    path = tmp_path / "journal.db"
    await (await Journal.open(path, key_file=tmp_path / "key")).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(MisuseError, match="newer Noticewire"):
        await Journal.open(path, key_file=tmp_path / "key")


async def test_a_changed_entry_fails_and_is_reported(desk: Desk) -> None:
    """Bytes that were changed on disk, or put beside another id, are not sent: they are kept as failed."""
    desk.feed.away = True
    await desk.sender.accept(a_letter(1))
    await desk.sender.accept(a_letter(2))
    await desk.stop()
    with sqlite3.connect(desk.path) as database:
        database.execute("UPDATE entries SET sealed = (SELECT sealed FROM entries WHERE sequence = 2)")
    database.close()
    desk.feed.away = False
    await desk.start()
    await desk.sender.drain()

    [failed] = await desk.journal.failures()
    assert (failed.sequence, failed.code) == (1, CorruptHistoryError.code)
    assert [one.number for one in desk.feed.taken] == ["zw-n-2026-000002"]


async def test_a_full_disk_accepts_nothing_and_says_so(desk: Desk) -> None:
    """Where the journal cannot grow, the message is not accepted; when there is room again, it is."""
    desk.feed.away = True
    await desk.sender.accept(a_letter(1))
    pages = desk.journal._database.execute("PRAGMA page_count").fetchone()[0]
    desk.journal._database.execute(f"PRAGMA max_page_count = {pages}")
    ended = await asyncio.gather(
        *(desk.sender.accept(a_letter(serial)) for serial in range(2, 20)), return_exceptions=True
    )
    assert any(isinstance(one, UnavailableError) and "full" in str(one) for one in ended)
    held = len(await desk.journal.waiting())
    assert desk.sender.waiting == held
    desk.journal._database.execute("PRAGMA max_page_count = 100000")
    await desk.sender.accept(a_letter(99))
    assert desk.sender.waiting == held + 1


async def test_a_cancelled_accept_is_sent_all_the_same(desk: Desk) -> None:
    """Whoever stops waiting for the disk may find the message on its feed, never in the journal and forgotten."""
    accepting = asyncio.create_task(desk.sender.accept(a_letter()))
    await asyncio.sleep(0)
    accepting.cancel()
    await asyncio.gather(accepting, return_exceptions=True)
    await desk.sender.drain()

    assert len(desk.feed.taken) == 1
    assert await desk.journal.waiting() == []


async def test_a_commit_waits_for_the_disk(desk: Desk) -> None:
    """SQLite synchronises every commit: synchronous is FULL (2)."""
    assert desk.journal._database.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_sending_goes_on_when_kafka_is_back(desk: Desk) -> None:
    """While nobody answers, an entry is sent again and again; it lands without a hand."""
    desk.feed.away = True
    _, landing = await desk.sender.accept(a_letter())
    await asyncio.sleep(0)
    assert not landing.done()
    desk.feed.away = False

    async def has_landed() -> bool:
        return landing.done()

    await eventually_async(has_landed, seconds=10, what="landed")
    assert landing.result().topic == "notices.africa"
