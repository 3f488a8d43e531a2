"""What the demo has done, read back from its topics by a stranger's program."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from hashlib import sha256
from itertools import groupby

import pytest

from tests.support.demo import RunningDemo
from tests.support.plain import PlainRecord
from tests.support.table import Groups, expected_inboxes, plain_samples

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(400)]

_MESSAGES = {"notice", "diffusion"}


def _place(record: PlainRecord) -> str:
    return f"{record.topic}/{record.partition}/{record.offset}"


def _inboxes(demo: RunningDemo) -> dict[str, list[PlainRecord]]:
    found: dict[str, list[PlainRecord]] = defaultdict(list)
    for record in demo.history.read("inbox."):
        found[record.topic.removeprefix("inbox.")].append(record)
    return found


def _feeds(demo: RunningDemo) -> dict[str, PlainRecord]:
    return {_place(record): record for record in demo.history.read("notices.", "diffusions.")}


def _by_notice(inbox: Iterable[tuple[str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Sort an inbox by notice; of one message, in a fixed order: the message itself, its end, its outcome."""
    numbers = {sample.message_id: sample.number for sample in plain_samples()}
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for message_id, same in groupby(inbox, key=lambda given: given[0]):
        kinds = sorted((kind for _, kind in same), key=["message", "end", "outcome"].index)
        found[numbers[message_id]] += [(message_id, kind) for kind in kinds]
    return dict(found)


def test_every_inbox_holds_what_the_table_says(demo: RunningDemo) -> None:
    """All 226 bureaus hold each message, notice of end and outcome of the table once, in order, and nothing else."""
    feeds = _feeds(demo)
    message_ids = {place: record.value["message_id"] for place, record in feeds.items()}
    expected = expected_inboxes()
    inboxes = _inboxes(demo)

    everybody = Groups()._everybody
    assert len(everybody) == 226
    assert inboxes.keys() <= everybody
    for bureau in sorted(everybody):
        given = []
        for record in inboxes.get(bureau, []):
            kind = {"notice-of-end": "end", "outcome": "outcome"}.get(record.subject, "message")
            given.append((str(message_ids[record.origin]), kind))
        assert _by_notice(given) == _by_notice(expected.get(bureau, [])), bureau


def test_what_is_delivered_is_what_was_published(demo: RunningDemo) -> None:
    """A message in an inbox has the feed record's key and bytes; what the broker says of one names its digest."""
    feeds = _feeds(demo)
    seen: Counter[str] = Counter()
    for bureau, records in _inboxes(demo).items():
        for record in records:
            published = feeds[record.origin]
            seen[record.subject] += 1
            assert record.key == published.key
            if record.subject in _MESSAGES:
                assert record.raw == published.raw
            else:
                assert record.value["digest"] == sha256(published.raw).digest()
                assert record.value["bureau"] == bureau
    assert seen.keys() == {*_MESSAGES, "notice-of-end", "outcome"}


def test_every_feed_record_has_one_ledger_entry(demo: RunningDemo) -> None:
    """Each offset of every feed is entered once, as routed, with its digest, and nothing was rejected."""
    entries = demo.history.read("ledger.")
    places = [f"{one.value['topic']}/{one.value['partition']}/{one.value['from_offset']}" for one in entries]
    feeds = _feeds(demo)

    assert Counter(places) == Counter(feeds.keys())
    assert Counter(str(record.value["message_id"]) for record in feeds.values()) == Counter(
        sample.message_id for sample in plain_samples()
    )
    for place, entry in zip(places, entries, strict=True):
        assert entry.value["kind"] == "routed"
        assert entry.value["digest"] == sha256(feeds[place].raw).digest()
    assert demo.history.read("rejected", "commands.", "alerts") == []


def test_every_cell_of_the_board_is_what_the_receipts_say(demo: RunningDemo) -> None:
    """The board is the ledger's deliveries and the bureaus' receipts, counted here; and nobody is outstanding."""
    given = {
        (bureau, record.origin): sha256(record.raw).digest()
        for bureau, inbox in _inboxes(demo).items()
        for record in inbox
        if record.subject != "outcome"
    }
    due: dict[tuple[str, str], str] = {}
    messages: Counter[str] = Counter()
    for entry in demo.history.read("ledger."):
        fields = entry.value
        region = entry.topic.removeprefix("ledger.")
        messages[region] += 1
        origin = f"{fields['topic']}/{fields['partition']}/{fields['from_offset']}"
        for bureau in f"{fields['delivered']} {fields['ended']}".split():
            assert (bureau, origin) not in due
            due[bureau, origin] = region
    stages: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in demo.history.read("acks."):
        bureau = record.value["bureau"]
        for receipt in record.value["receipts"]:
            at = (bureau, receipt["origin"])
            assert record.topic == f"acks.{due[at]}"
            assert receipt["digest"] == given[at]
            stages[at].add(receipt["stage"])

    assert given.keys() == due.keys() == stages.keys()
    for row in demo.board["regions"]:
        mine = [stages[at] for at, region in due.items() if region == row["region"]]
        assert row == {
            "region": row["region"],
            "messages": messages[row["region"]],
            "due": len(mine),
            "received": sum(bool(said) for said in mine),
            "accepted": sum("accepted" in said for said in mine),
            "actioned": sum("actioned" in said for said in mine),
            "declined": sum("declined" in said for said in mine),
            "purged": sum("purged" in said for said in mine),
            "outstanding": 0,
        }
    assert {row["region"] for row in demo.board["regions"]} >= messages.keys()
    total = {name: sum(row[name] for row in demo.board["regions"]) for name in demo.board["total"] if name != "region"}
    assert demo.board["total"] == {"region": "total", **total}
