from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from broker.clock import from_epoch_ms
from broker.model.command import Command, CommandKind
from broker.model.ledger import EntryKind, Rewritten
from broker.model.message import Event
from broker.model.naming import Origin
from broker.model.notice import Notice
from broker.model.outcome import NoticeOfEnd, Outcome, Verdict, id_for
from consumers.audit.report import Report
from tests.support.archives import CODEC, T0_MS, VALUES, Log, a_batch, a_marker, a_record, an_archive, an_entry, check
from tests.support.builders import a_red_notice

ORIGIN = Origin("notices.africa", 0, 0)


def a_story(*, entries: list[bytes], inboxes: dict[str, list[tuple[bytes, str]]], feed: int = 1) -> Log:
    """A feed of so many messages, what the ledger says of it, and inboxes of (value, origin)."""
    log: Log = [("notices.africa", 0, a_batch([a_record(n, VALUES[n])])) for n in range(feed)]
    log += [("ledger.africa", 0, a_batch([a_record(n, entry)])) for n, entry in enumerate(entries)]
    for bureau, records in inboxes.items():
        for n, (value, origin) in enumerate(records):
            log.append((f"inbox.{bureau}", 0, a_batch([a_record(n, value, origin=origin.encode())])))
    return log


def an_end(bureau: str, value: bytes = VALUES[0]) -> bytes:
    """A notice of end about the feed's first record."""
    return CODEC.encode(
        NoticeOfEnd(
            notice_id=id_for("end", str(ORIGIN), bureau),
            bureau=bureau,
            number="zw-n-2026-000001",
            event=Event.CANCELLED,
            revision=1,
            origin=str(ORIGIN),
            digest=sha256(value).digest(),
            made_at=from_epoch_ms(T0_MS),
        )
    )


def an_outcome(bureau: str, value: bytes = VALUES[0]) -> bytes:
    """An outcome about the feed's first record."""
    return CODEC.encode(
        Outcome(
            outcome_id=id_for("outcome", str(ORIGIN), bureau),
            bureau=bureau,
            number="zw-n-2026-000001",
            message_id=id_for("message", "", ""),
            origin=str(ORIGIN),
            digest=sha256(value).digest(),
            verdict=Verdict.ROUTED,
            decided_at=from_epoch_ms(T0_MS),
        )
    )


def in_version_1(value: bytes, bureaus: str) -> Rewritten:
    """What an entry says of a copy that was written for some bureaus."""
    return Rewritten(version=1, digest=sha256(value).digest(), delivered=bureaus)


ZERO = str(ORIGIN)
WELL = a_story(
    entries=[an_entry(0, VALUES[0], "zw", ended="ng")],
    inboxes={"zw": [(VALUES[0], ZERO), (an_outcome("zw"), ZERO)], "ng": [(an_end("ng"), ZERO)]},
)


def test_what_the_ledger_says_and_the_inboxes_hold_agrees(tmp_path: Path) -> None:
    """Copies, notices of end and outcomes that fit their entry are no findings; a marker is passed over."""
    log = [*WELL, ("notices.africa", 0, a_marker(1))]
    passed = an_entry(1, b"", "", kind=EntryKind.PASSED_OVER, digest=None)
    log.append(("ledger.africa", 0, a_batch([a_record(1, passed)])))
    report = check(an_archive(tmp_path, log))
    assert (report.findings, report.unsettled, report.counts.deliveries) == ([], 0, 3)


def test_a_copy_in_an_older_version_is_accounted_for(tmp_path: Path) -> None:
    """Who reads an older version holds the bytes that the entry names for them; everybody else holds the issuer's."""
    log = a_story(
        entries=[an_entry(0, VALUES[0], "ng zw", rewritten=(in_version_1(VALUES[1], "zw"),))],
        inboxes={"zw": [(VALUES[1], ZERO)], "ng": [(VALUES[0], ZERO)]},
    )
    assert check(an_archive(tmp_path, log)).findings == []


def test_a_copy_that_says_something_else_is_found(tmp_path: Path) -> None:
    """The router vouches for a copy in an older version; that it says what the issuer signed is not taken on trust."""
    message = a_red_notice()
    issuers = CODEC.encode(message)

    def found(said: Notice) -> list[str]:
        copy = CODEC.encode(said, version=1)
        entry = an_entry(0, issuers, "ng zw", rewritten=(in_version_1(copy, "zw"),))
        log: Log = [
            ("notices.africa", 0, a_batch([a_record(0, issuers)])),
            ("ledger.africa", 0, a_batch([a_record(0, entry)])),
            ("inbox.zw", 0, a_batch([a_record(0, copy, origin=ZERO.encode())])),
            ("inbox.ng", 0, a_batch([a_record(0, issuers, origin=ZERO.encode())])),
        ]
        folder = tmp_path / sha256(copy).hexdigest()
        return [f"{one.place} {one.problem}" for one in check(an_archive(folder, log)).findings]

    assert found(message) == []
    other = a_red_notice(message_id=message.message_id, warnings=["infectious"])
    assert found(other) == ["inbox.zw/0/0 does not say what its origin notices.africa/0/0 says"]


def reminders(*inboxes: str) -> Log:
    """A reminder of zw, as the router enters it; copies of it in these inboxes."""
    reminder = CODEC.encode(
        Command(
            command_id=id_for("reminder", ZERO, ""),
            kind=CommandKind.REMINDER,
            number="zw-n-2026-000001",
            bureaus=("zw",),
            origin=ZERO,
            asked_by="tracker",
            asked_at=from_epoch_ms(T0_MS),
        )
    )
    at = b"commands.africa/0/0"
    return [
        ("commands.africa", 0, a_batch([a_record(0, reminder)])),
        ("ledger.africa", 0, a_batch([a_record(0, an_entry(0, reminder, "zw", topic="commands.africa"))])),
        *((f"inbox.{bureau}", 0, a_batch([a_record(0, reminder, origin=at)])) for bureau in inboxes),
    ]


@pytest.mark.parametrize(
    ("inboxes", "problems"),
    [
        (("zw",), []),
        ((), ["inbox.zw holds no copy"]),
        (("zw", "ng"), ["comes from commands.africa/0/0, whose ledger entry does not name ng"]),
    ],
)
def test_reminders_are_accounted_for(tmp_path: Path, inboxes: tuple[str, ...], problems: list[str]) -> None:
    """A reminder is in the inbox of everybody whom its entry names, and of nobody else."""
    found = check(an_archive(tmp_path, reminders(*inboxes))).findings
    assert len(found) == len(problems)
    assert all(problem in one.problem for one, problem in zip(found, problems, strict=True)), found


CASES: list[tuple[str, Log, str, str]] = [
    (
        "a feed offset without an entry, in the middle",
        a_story(feed=3, entries=[an_entry(0, VALUES[0], ""), an_entry(2, VALUES[2], "")], inboxes={}),
        "notices.africa/0/1",
        "offsets 1 to 1 have no ledger entry before ledger.africa/0/1",
    ),
    (
        "a feed offset without an entry, at the end",
        a_story(feed=2, entries=[an_entry(0, VALUES[0], "")], inboxes={}),
        "notices.africa/0/1",
        "offsets 1 to 1 have no ledger entry",
    ),
    (
        "an offset entered twice",
        a_story(entries=[an_entry(0, VALUES[0], ""), an_entry(0, VALUES[0], "")], inboxes={}),
        "notices.africa/0/0",
        "is entered again at ledger.africa/0/1",
    ),
    (
        "an entry about another value",
        a_story(entries=[an_entry(0, VALUES[1], "")], inboxes={}),
        "notices.africa/0/0",
        "is not the one that ledger.africa/0/0 states",
    ),
    (
        "an entry of another shard",
        a_story(feed=0, entries=[an_entry(0, VALUES[0], "", topic="notices.europe")], inboxes={}),
        "ledger.africa/0/0",
        "not of its shard",
    ),
    (
        "a ledger record that is none",
        a_story(feed=0, entries=[b"who knows"], inboxes={}),
        "ledger.africa/0/0",
        "is no ledger entry",
    ),
    (
        "a delivery that is missing",
        a_story(entries=[an_entry(0, VALUES[0], "ng zw")], inboxes={"zw": [(VALUES[0], ZERO)]}),
        "notices.africa/0/0",
        "inbox.ng holds no copy",
    ),
    (
        "a notice of end that is missing",
        a_story(entries=[an_entry(0, VALUES[0], "", ended="ng")], inboxes={}),
        "notices.africa/0/0",
        "inbox.ng holds no notice of end",
    ),
    (
        "a delivery that was made twice",
        a_story(entries=[an_entry(0, VALUES[0], "zw")], inboxes={"zw": [(VALUES[0], ZERO)] * 2}),
        "notices.africa/0/0",
        "is in inbox.zw 2 times",
    ),
    (
        "a delivery to somebody whom the entry does not name",
        a_story(entries=[an_entry(0, VALUES[0], "zw")], inboxes={b: [(VALUES[0], ZERO)] for b in ("zw", "fr")}),
        "inbox.fr/0/0",
        "does not name fr",
    ),
    (
        "a delivery of what was rejected",
        a_story(entries=[an_entry(0, VALUES[0], "zw", kind=EntryKind.REJECTED)], inboxes={"zw": [(VALUES[0], ZERO)]}),
        "inbox.zw/0/0",
        "does not name zw",
    ),
    (
        "a delivery of other bytes",
        a_story(entries=[an_entry(0, VALUES[0], "zw")], inboxes={"zw": [(VALUES[1], ZERO)]}),
        "inbox.zw/0/0",
        "holds other bytes than its origin notices.africa/0/0",
    ),
    (
        "a copy in an older version, of other bytes",
        a_story(
            entries=[an_entry(0, VALUES[0], "ng zw", rewritten=(in_version_1(VALUES[1], "zw"),))],
            inboxes={"zw": [(VALUES[2], ZERO)], "ng": [(VALUES[0], ZERO)]},
        ),
        "inbox.zw/0/0",
        "holds other bytes than ledger.africa/0/0 says were written for its reader",
    ),
    (
        "a copy in an older version, for somebody else",
        a_story(
            entries=[an_entry(0, VALUES[0], "ng zw", rewritten=(in_version_1(VALUES[1], "zw"),))],
            inboxes={"zw": [(VALUES[1], ZERO)], "ng": [(VALUES[1], ZERO)]},
        ),
        "inbox.ng/0/0",
        "holds other bytes than its origin notices.africa/0/0",
    ),
    (
        "a delivery from nowhere",
        a_story(entries=[an_entry(0, VALUES[0], "")], inboxes={"zw": [(VALUES[0], "notices.africa/0/7")]}),
        "inbox.zw/0/0",
        "comes from notices.africa/0/7, which no ledger entry accounts for",
    ),
    (
        "a delivery that names no origin",
        a_story(entries=[an_entry(0, VALUES[0], "")], inboxes={"zw": [(VALUES[0], "?")]}),
        "inbox.zw/0/0",
        "names no origin",
    ),
    (
        "an outcome about another value",
        a_story(entries=[an_entry(0, VALUES[0], "")], inboxes={"zw": [(an_outcome("zw", VALUES[1]), ZERO)]}),
        "inbox.zw/0/0",
        "states another digest of its origin",
    ),
    (
        "a notice of end made for somebody else",
        a_story(entries=[an_entry(0, VALUES[0], "", ended="zw")], inboxes={"zw": [(an_end("ng"), ZERO)]}),
        "inbox.zw/0/0",
        "is made for another bureau",
    ),
]


@pytest.mark.parametrize(("log", "place", "problem"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_does_not_agree_is_named(tmp_path: Path, log: Log, place: str, problem: str) -> None:
    """Each way in which feeds, ledger and inboxes can contradict each other is found, by the record."""
    found = check(an_archive(tmp_path, log)).findings
    assert any(one.place == place and problem in one.problem for one in found), found
    assert len(found) == 1, found


@pytest.mark.parametrize("log", [case[1] for case in CASES if "missing" in case[0] or "at the end" in case[0]])
def test_what_is_still_under_way_is_only_counted(tmp_path: Path, log: Log) -> None:
    """A record that is younger than the moment up to which all must be settled is not missed yet."""
    report: Report = check(an_archive(tmp_path, log), settled_ms=T0_MS)
    assert (report.findings, report.unsettled) == ([], 1)


@pytest.mark.parametrize("order", [list, lambda log: list(reversed(log))])
def test_the_order_between_partitions_does_not_matter(tmp_path: Path, order: Callable[[Log], Log]) -> None:
    """Inboxes may be archived before the feed that they come from."""
    log = a_story(entries=[an_entry(0, VALUES[0], "zw")], inboxes={"zw": [(VALUES[0], ZERO)]})
    assert check(an_archive(tmp_path, order(log))).findings == []
