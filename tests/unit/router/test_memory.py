"""The router's memory: a fold of the ledger, drafts over it, and a cache that may only ever be behind."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import CorruptHistoryError, UnavailableError
from broker.model.ledger import EntryKind, LedgerEntry
from broker.model.message import Event
from broker.model.naming import Region, Shard
from consumers.router.life import NoticeState, Phase
from consumers.router.memory import Memory, MemoryCache

SHARD = Shard(Region.AFRICA, 1)
FEEDS = ("notices.africa", "diffusions.africa", "commands.africa")
LOG = "installation-one"


def an_entry(
    topic: str, offset: int, kind: EntryKind = EntryKind.ROUTED, *, length: int = 1, **fields: Any
) -> LedgerEntry:
    """An entry of the shard's ledger; a routed one tells of a published notice unless stated."""
    told: dict[str, Any] = {}
    if kind is not EntryKind.PASSED_OVER:
        told = {
            "number": "zw-n-2026-000001",
            "message_id": UUID(int=offset + 1),
            "issuer": "ipsg",
            "event": Event.PUBLISHED,
            "revision": 1,
            "digest": sha256(f"{topic}/{offset}".encode()).digest(),
        }
    return LedgerEntry.model_validate(
        {
            "kind": kind,
            "topic": topic,
            "partition": SHARD.partition,
            "from_offset": offset,
            "next_offset": offset + length,
            "appended_at": datetime(2026, 5, 1, tzinfo=UTC),
            "directory_offset": 3,
            **told,
            **fields,
        }
    )


def folded(entries: Iterable[LedgerEntry]) -> Memory:
    """The memory that some entries come to, one after another."""
    memory = Memory.empty(SHARD)
    for entry in entries:
        memory.enter(entry)
    return memory


# -------------------------------------------------------------------------------------------------------- the fold


def test_an_empty_memory_reads_every_feed_from_its_beginning() -> None:
    """Nothing was read: both feeds and the commands start at offset 0, and no notice is known."""
    assert Memory.empty(SHARD) == Memory(dict.fromkeys(FEEDS, 0), {}, {})


def test_a_routed_entry_moves_the_position_and_is_remembered() -> None:
    """Who was given it, the owner and the issuer hold it; its id and digest are known from now on."""
    entry = an_entry("notices.africa", 0, delivered="fr zw", ended="br", withheld={"excluded": "sn"})

    memory = folded([entry])

    assert memory.positions == {"notices.africa": 1, "diffusions.africa": 0, "commands.africa": 0}
    assert memory.notice("zw-n-2026-000001") == NoticeState(Phase.IN_FORCE, 1, frozenset({"fr", "zw", "ipsg"}))
    assert memory.digest(("ipsg", "zw-n-2026-000001", str(UUID(int=1)))) == entry.digest


def test_an_owner_with_hyphens_in_its_code_holds_its_own_notice() -> None:
    """The owner is what stands before class, year and serial."""
    memory = folded([an_entry("diffusions.africa", 0, number="rb-abidjan-d-2026-000001", event="sent")])

    state = memory.notice("rb-abidjan-d-2026-000001")
    assert state is not None
    assert "rb-abidjan" in state.holders


def test_holders_add_up_over_revisions() -> None:
    """A holder stays one when a later revision no longer reaches it."""
    memory = folded(
        [
            an_entry("notices.africa", 0, delivered="fr br"),
            an_entry("notices.africa", 1, event="revised", revision=2, delivered="br", ended="fr"),
        ]
    )

    assert memory.notice("zw-n-2026-000001") == NoticeState(Phase.IN_FORCE, 2, frozenset({"br", "fr", "ipsg", "zw"}))


@pytest.mark.parametrize("kind", [EntryKind.REPEAT, EntryKind.REJECTED, EntryKind.PASSED_OVER])
def test_what_was_not_routed_moves_the_position_only(kind: EntryKind) -> None:
    """Repeats, rejected records and markers are accounted for, and change nothing: ids of rejected ones stay free."""
    memory = folded([an_entry("notices.africa", 0, kind, length=4)])

    assert memory == Memory({"notices.africa": 4, "diffusions.africa": 0, "commands.africa": 0}, {}, {})


def test_a_command_is_remembered_by_its_id_and_changes_no_notice() -> None:
    """A reminder that was carried out is a repeat the next time, and no step of the notice's life."""
    command = an_entry("commands.africa", 0, issuer="tracker", event=None, revision=None, delivered="fr")

    memory = folded([command])

    assert memory.notices == {}
    assert memory.digest(("tracker", "zw-n-2026-000001", str(UUID(int=1)))) == command.digest


@pytest.mark.parametrize("offset", [2, 0])
def test_a_gap_or_an_overlap_is_corrupt_history(offset: int) -> None:
    """Each entry of a feed begins where the one before it ended; else somebody must look."""
    memory = folded([an_entry("notices.africa", 0)])

    with pytest.raises(CorruptHistoryError, match=rf"notices\.africa/1/{offset}"):
        memory.enter(an_entry("notices.africa", offset))


def test_an_entry_of_another_region_is_corrupt_history() -> None:
    """A ledger partition speaks of its own shard's feeds only."""
    with pytest.raises(CorruptHistoryError, match=r"notices\.europe/1/0"):
        folded([an_entry("notices.europe", 0)])


@pytest.mark.parametrize("field", ["number", "message_id", "issuer", "digest"])
def test_a_routed_entry_that_lacks_what_it_is_about_is_corrupt_history(field: str) -> None:
    """Without number, id, issuer and digest nobody could tell a repeat."""
    with pytest.raises(CorruptHistoryError):
        folded([an_entry("notices.africa", 0).model_copy(update={field: None})])


# ------------------------------------------------------------------------------------------------------- the draft


def test_a_draft_that_is_dropped_leaves_no_trace() -> None:
    """What a failed transaction would have changed is gone with its draft."""
    memory = folded([an_entry("notices.africa", 0, delivered="fr")])
    draft = memory.draft()

    draft.enter(an_entry("notices.africa", 1, event="revised", revision=2, delivered="br"))

    assert draft.notice("zw-n-2026-000001") == NoticeState(Phase.IN_FORCE, 2, frozenset({"br", "fr", "ipsg", "zw"}))
    assert memory == folded([an_entry("notices.africa", 0, delivered="fr")])


def test_a_draft_that_is_merged_is_as_if_entered_at_once() -> None:
    """A poll's draft and its merging come to the same as the entries themselves; it held only what was new."""
    first = an_entry("notices.africa", 0, delivered="fr")
    second = an_entry("diffusions.africa", 0, number="zw-d-2026-000002", event="sent", delivered="br")
    memory = folded([first])
    draft = memory.draft()
    draft.enter(second)

    memory.merge(draft)

    assert memory == folded([first, second])
    assert draft.notices.keys() == {"zw-d-2026-000002"}


# ------------------------------------------------------------------------------------------------------- the cache

_kinds = st.sampled_from([EntryKind.ROUTED, EntryKind.ROUTED, *(kind for kind in EntryKind if kind != "unknown")])
_events = st.sampled_from([event for event in Event if event is not Event.UNKNOWN])


@st.composite
def ledgers(draw: st.DrawFn) -> list[LedgerEntry]:
    """Any ledger of the shard: entries of its feeds, each beginning where the one before it of its feed ended."""
    at: Counter[str] = Counter()
    entries = []
    for topic, kind, length in draw(
        st.lists(st.tuples(st.sampled_from(FEEDS[:2]), _kinds, st.integers(1, 3)), max_size=12)
    ):
        changes: dict[str, Any] = {}
        if kind is EntryKind.ROUTED:
            changes = {
                "number": f"zw-{topic[0]}-2026-00000{draw(st.integers(1, 3))}",
                "event": draw(_events),
                "revision": draw(st.integers(0, 3)),
                "delivered": " ".join(draw(st.lists(st.sampled_from(["br", "fr", "sn"]), unique=True))),
            }
        entries.append(an_entry(topic, at[topic], kind, length=length, **changes))
        at[topic] += length
    return entries


@settings(max_examples=60, deadline=None)
@given(ledgers(), st.lists(st.tuples(st.integers(1, 4), st.booleans()), max_size=6))
def test_a_cache_equals_a_full_fold_wherever_it_was_cut(
    ledger: list[LedgerEntry], cuts: list[tuple[int, bool]]
) -> None:
    """Saved poll by poll, and loaded again at any of them, it holds what a fold of that prefix comes to."""
    with TemporaryDirectory() as folder:
        cache = MemoryCache(Path(folder, "a.db"), shard=SHARD, log_id=LOG)
        memory, at = cache.load()
        assert (_whole(memory, ledger), at) == (Memory.empty(SHARD), 0)
        for length, is_restarted in [*cuts, (len(ledger), True)]:
            draft = memory.draft()
            for entry in ledger[at : at + length]:
                draft.enter(entry)
            at = min(at + length, len(ledger))
            memory.merge(draft)
            assert cache.save(draft, at)
            memory.shelve()
            assert (memory.notices, memory.seen) == ({}, {})
            if is_restarted:  # the next one reads what this one left; it was killed, so it closed nothing in order
                cache.close()
                cache = MemoryCache(Path(folder, "a.db"), shard=SHARD, log_id=LOG)
                memory, found = cache.load()
                assert found == at
            assert _whole(memory, ledger) == folded(ledger[:at])
        cache.close()


def _whole(memory: Memory, entries: Sequence[LedgerEntry]) -> Memory:
    """What a memory knows of whatever some entries mention, wherever it knows it from."""
    whole = Memory(memory.positions)
    for entry in entries:
        key = (str(entry.issuer), str(entry.number), str(entry.message_id))
        if (state := memory.notice(key[1])) is not None:
            whole.notices[key[1]] = state
        if (digest := memory.digest(key)) is not None:
            whole.seen[key] = digest
    return whole


def _saved(path: Path, entries: Sequence[LedgerEntry], *, log_id: str = LOG, shard: Shard = SHARD) -> None:
    cache = MemoryCache(path, shard=shard, log_id=log_id)
    cache.load()
    cache.save(folded(entries), len(entries))
    cache.close()


def _loaded(path: Path, *, log_id: str = LOG, shard: Shard = SHARD) -> tuple[Memory, int]:
    cache = MemoryCache(path, shard=shard, log_id=log_id)
    memory, at = cache.load()
    whole = _whole(memory, ENTRIES)
    cache.close()
    return whole, at


ENTRIES = (an_entry("notices.africa", 0, delivered="fr"), an_entry("notices.africa", 1, EntryKind.REJECTED))


def test_a_cache_that_two_wrote_is_void_for_both(tmp_path: Path) -> None:
    """A router that hung and woke does not mix its memory into its successor's: both fold from the start next time."""
    path = tmp_path / "a.db"
    hung, successor = (MemoryCache(path, shard=SHARD, log_id=LOG) for _ in range(2))
    hung.load()
    successor.load()
    successor.save(folded(ENTRIES), 2)

    hung.save(folded(ENTRIES[:1]), 1)
    successor.save(folded(ENTRIES), 3)
    hung.save(folded(ENTRIES[:1]), 2)

    hung.close()
    successor.close()
    assert _loaded(path) == (Memory.empty(SHARD), 0)


def test_a_cache_of_another_log_is_thrown_away(tmp_path: Path) -> None:
    """Another installation's history says nothing about ours, and ours nothing about it afterwards."""
    path = tmp_path / "a.db"
    _saved(path, ENTRIES)

    assert _loaded(path, log_id="installation-two") == (Memory.empty(SHARD), 0)
    assert _loaded(path) == (Memory.empty(SHARD), 0)


def test_a_cache_of_another_shard_is_thrown_away(tmp_path: Path) -> None:
    """The same file under another shard's name is not believed."""
    path = tmp_path / "a.db"
    other = Shard(Region.AFRICA, 0)
    _saved(path, ENTRIES)

    assert _loaded(path, shard=other) == (Memory.empty(other), 0)


def _garbage(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 400)


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _other_tables(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("ALTER TABLE notices RENAME COLUMN phase TO stage")
        database.execute("UPDATE notices SET stage = 'a phase of a later version'")
    database.close()


@pytest.mark.parametrize("spoil", [_garbage, _cut_short, _other_tables])
def test_a_cache_that_cannot_be_read_counts_as_none(spoil: Any, tmp_path: Path) -> None:
    """Losing it costs a longer fold and nothing else; it works again afterwards."""
    path = tmp_path / "a.db"
    _saved(path, ENTRIES)
    spoil(path)

    assert _loaded(path) == (Memory.empty(SHARD), 0)

    _saved(path, ENTRIES)
    assert _loaded(path) == (folded(ENTRIES), 2)


def test_a_forgotten_cache_is_gone(tmp_path: Path) -> None:
    """Deleting it leaves no file, and the next load starts from nothing."""
    path = tmp_path / "folder" / "a.db"
    _saved(path, ENTRIES)

    MemoryCache(path, shard=SHARD, log_id=LOG).forget()

    assert list(path.parent.iterdir()) == []
    assert _loaded(path) == (Memory.empty(SHARD), 0)


def test_saving_to_a_cache_that_is_not_open_does_nothing(tmp_path: Path) -> None:
    """A cache that was lost stays lost until somebody loads it again."""
    path = tmp_path / "a.db"

    MemoryCache(path, shard=SHARD, log_id=LOG).save(folded(ENTRIES), 2)

    assert not path.exists()


def test_what_the_cache_took_over_is_read_from_it(tmp_path: Path) -> None:
    """A memory that let go of what was saved knows all of it, and so does a draft over it; what is new lies above."""
    cache = MemoryCache(tmp_path / "a.db", shard=SHARD, log_id=LOG)
    memory, _ = cache.load()
    memory.merge(learned := folded(ENTRIES))
    assert cache.save(learned, 2)
    memory.shelve()

    draft = memory.draft()
    draft.enter(an_entry("notices.africa", 2, event="revised", revision=2, delivered="br"))

    assert _whole(memory, ENTRIES) == folded(ENTRIES)
    assert draft.notice("zw-n-2026-000001") == NoticeState(Phase.IN_FORCE, 2, frozenset({"br", "fr", "ipsg", "zw"}))
    cache.close()


@pytest.mark.parametrize("spoil", ["closed", "unreadable", "a later version's"])
def test_a_lost_cache_never_answers_that_nothing_is_known(tmp_path: Path, spoil: str) -> None:
    """Who asks for what only the cache held is told that it is away, so that nothing is decided without it."""
    cache = MemoryCache(tmp_path / "a.db", shard=SHARD, log_id=LOG)
    memory, _ = cache.load()
    assert cache.save(folded(ENTRIES), 2)
    assert cache._database is not None
    match spoil:
        case "closed":
            cache.close()
        case "unreadable":
            cache._database.execute("DROP TABLE notices")
        case _:
            cache._database.execute("UPDATE notices SET phase = 'a phase of a later version'")

    for _ in range(2):
        with pytest.raises(UnavailableError, match="cache"):
            memory.draft().notice("zw-n-2026-000001")
    assert not cache.save(folded(ENTRIES), 3)
