"""A bureau's desk and its file: what is handed out, what is acknowledged, and when the position moves."""

from __future__ import annotations

import sqlite3
import stat
from base64 import b64decode
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.clock import ManualClock, to_epoch_ms
from broker.errors import CorruptHistoryError, FencedError, InvalidFieldError
from broker.model.message import Event
from broker.model.naming import Origin
from broker.model.receipt import DeclineReason, Receipts, Stage
from broker.schema.codec import Codec
from broker.transport.batches import RawBatch, RawRecord
from broker.transport.inbox import Delivery, DeliveryKind, InboxDecoder
from broker.trust.signing import RecordKind, verify
from consumers.bureau.desk import Desk
from consumers.bureau.state import BureauState
from consumers.bureau.tables import Owed
from tests.support.inbox_world import (
    INSTALLATION,
    NOW,
    InboxWorld,
    a_batch,
    a_notice,
    another_signature,
    origin_of,
    with_header,
)

OTHER = "zw-n-2026-000002"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load()


@pytest.fixture
def world(codec: Codec) -> InboxWorld:
    return InboxWorld(codec)


class Office:
    """Opens desks on the same file, one after the other, as a restarted client does."""

    def __init__(self, path: Path, world: InboxWorld) -> None:
        self.path = path
        self.world = world
        self.states: list[BureauState] = []

    def desk(self) -> Desk:
        """A client that has just been started."""
        state = BureauState.open(self.path, bureau="gh", installation=INSTALLATION)
        self.states.append(state)
        return Desk(
            state=state,
            decoder=InboxDecoder(self.world.codec),
            codec=self.world.codec,
            signer=self.world.signers["gh"],
            installation=INSTALLATION,
            clock=ManualClock(NOW),
        )

    def take(self, desk: Desk, *records: RawRecord) -> list[Delivery]:
        """What the desk hands out of one batch."""
        return desk.take([a_batch(*records)], self.world.directory)

    def stages(self, owed: list[Owed]) -> list[tuple[str, str]]:
        """Number and stage of each receipt in these records, in order."""
        given = [self.world.codec.decode(one.value, Receipts) for one in owed]
        return [(receipt.number, receipt.stage) for batch in given for receipt in batch.receipts]


@pytest.fixture
def office(tmp_path: Path, world: InboxWorld) -> Iterator[Office]:
    office = Office(tmp_path / "bureaus" / "gh.db", world)
    yield office
    for state in office.states:
        state.close()


def test_the_position_moves_only_over_what_is_finished_and_acknowledged(office: Office, world: InboxWorld) -> None:
    """Not when it is read, nor handled, nor finished, nor sealed: only once Kafka has its receipts."""
    desk = office.desk()
    first, second = office.take(desk, world.record(a_notice()), world.record(a_notice(number="zw-n-2026-000002")))
    desk.finish(second)  # out of order: what lies before is still open
    desk.settle(desk.seal())
    assert desk.state.position == 0

    desk.acknowledge(first, Stage.ACCEPTED)
    desk.finish(first)
    owed = desk.seal()
    assert desk.state.position == 0

    desk.settle(owed)
    assert desk.state.position == 2
    assert desk.state.owed() == []


def test_a_crash_in_the_handler_hands_the_message_out_again(office: Office, world: InboxWorld) -> None:
    """Nothing was sealed, so nothing is known of it, and it is acknowledged once in all."""
    record = world.record(a_notice())
    office.take(office.desk(), record)

    desk = office.desk()
    (delivery,) = office.take(desk, record)
    desk.finish(delivery)

    assert office.stages(desk.seal()) == [("zw-n-2026-000001", "received")]


def test_a_crash_after_received_was_sealed_does_not_acknowledge_twice(office: Office, world: InboxWorld) -> None:
    """A handler that takes long is redelivered after a crash; `received` stays the one that was given."""
    record = world.record(a_notice())
    desk = office.desk()
    office.take(desk, record)
    desk.settle(desk.seal())

    restarted = office.desk()
    (delivery,) = office.take(restarted, record)
    restarted.acknowledge(delivery, Stage.ACCEPTED, actor="duty-7")
    restarted.finish(delivery)

    assert office.stages(restarted.seal()) == [("zw-n-2026-000001", "accepted")]


def test_a_stage_given_before_a_crash_is_not_given_again(office: Office, world: InboxWorld) -> None:
    """The handler says the same once more after a redelivery: nothing is sent, and a step back is refused."""
    record = world.record(a_notice())
    desk = office.desk()
    (delivery,) = office.take(desk, record)
    desk.acknowledge(delivery, Stage.ACTIONED)
    desk.settle(desk.seal())

    restarted = office.desk()
    (delivery,) = office.take(restarted, record)
    restarted.acknowledge(delivery, Stage.ACTIONED)
    with pytest.raises(InvalidFieldError, match="accepted does not follow actioned"):
        restarted.acknowledge(delivery, Stage.ACCEPTED)
    restarted.finish(delivery)

    assert restarted.seal() == []
    assert restarted.state.position == 1


def test_a_crash_between_sealing_and_sending_sends_the_same_bytes(office: Office, world: InboxWorld) -> None:
    """What was finished is not handed out again, and the receipts that were owed are the same record, byte for byte."""
    record = world.record(a_notice())
    desk = office.desk()
    (delivery,) = office.take(desk, record)
    desk.finish(delivery)
    owed = desk.seal()

    restarted = office.desk()
    assert office.take(restarted, record) == []
    again = restarted.seal()
    restarted.settle(again)

    assert [(one.shard, one.value, one.headers) for one in again] == [
        (one.shard, one.value, one.headers) for one in owed
    ]
    assert restarted.state.position == 1
    assert restarted.seal() == []


def test_a_receipt_proves_what_was_received(office: Office, world: InboxWorld, codec: Codec) -> None:
    """It carries origin, digest and actor, lies in the notice's shard, and is signed by the bureau as receipts."""
    message = a_notice()
    desk = office.desk()
    (delivery,) = office.take(desk, world.record(message, at=7))
    desk.acknowledge(delivery, Stage.DECLINED, reason=DeclineReason.NATIONAL_LAW, actor="duty-7")
    desk.finish(delivery)
    (owed,) = desk.seal()
    receipts = codec.decode(owed.value, Receipts)

    assert owed.shard == message.shard
    assert receipts.bureau == "gh"
    assert [receipt.stage for receipt in receipts.receipts] == [Stage.RECEIVED, Stage.DECLINED]
    assert {receipt.origin for receipt in receipts.receipts} == {f"notices.africa/{message.shard.partition}/7"}
    assert receipts.receipts[1].digest == delivery.digest
    assert receipts.receipts[1].actor == "duty-7"
    signature = b64decode(dict(owed.headers)["signature"])
    assert verify(world.signers["gh"].public, signature, RecordKind.RECEIPTS, INSTALLATION, owed.value)


def test_many_receipts_share_a_record(office: Office, world: InboxWorld) -> None:
    """One signed record for each shard, however many messages were handled."""
    records = [world.record(a_notice(number=f"zw-n-2026-{serial:06d}")) for serial in range(20)]
    desk = office.desk()
    for delivery in office.take(desk, *records):
        desk.acknowledge(delivery, Stage.ACCEPTED)
        desk.finish(delivery)
    owed = desk.seal()

    assert len(owed) == len({one.shard for one in owed}) == 2
    assert len(office.stages(owed)) == 40


@pytest.mark.parametrize(
    ("stage", "reason", "field"),
    [
        (Stage.RECEIVED, DeclineReason.DUPLICATE, "reason"),
        (Stage.DECLINED, None, "reason"),
        (Stage.UNKNOWN, None, "stage"),
    ],
)
def test_a_stage_that_may_not_come_is_refused(
    office: Office, world: InboxWorld, stage: Stage, reason: DeclineReason | None, field: str
) -> None:
    """The stages follow their table, and only who declines gives a reason."""
    desk = office.desk()
    (delivery,) = office.take(desk, world.record(a_notice()))

    with pytest.raises(InvalidFieldError) as caught:
        desk.acknowledge(delivery, stage, reason=reason)
    assert caught.value.field == field


def test_nothing_follows_purged(office: Office, world: InboxWorld) -> None:
    """A purged copy cannot be acted on."""
    desk = office.desk()
    (delivery,) = office.take(desk, world.record(a_notice()))
    desk.acknowledge(delivery, Stage.PURGED)

    with pytest.raises(InvalidFieldError, match="after purged comes nothing"):
        desk.acknowledge(delivery, Stage.ACTIONED)


def test_an_outcome_is_handed_out_and_not_acknowledged(office: Office, world: InboxWorld) -> None:
    """The router's word needs no receipt, and the position moves without one."""
    desk = office.desk()
    (delivery,) = office.take(desk, world.record(world.outcome_of(a_notice(), bureau="gh")))
    assert delivery.kind is DeliveryKind.OUTCOME
    with pytest.raises(InvalidFieldError):
        desk.acknowledge(delivery, Stage.ACCEPTED)
    desk.finish(delivery)

    assert desk.seal() == []
    assert desk.state.position == 1


def test_a_reminder_is_handed_out_and_not_acknowledged(office: Office, world: InboxWorld) -> None:
    """The broker's reminder comes as what it is, needs no receipt, and what the bureau holds stays as it is."""
    message = a_notice()
    desk = office.desk()
    finished(office, desk, world.record(message))
    (delivery,) = office.take(desk, world.record(world.reminder_of(message, bureaus=("fr", "gh")), at=7))

    assert (delivery.kind, delivery.signer, delivery.number) == (DeliveryKind.REMINDER, "broker", message.number)
    assert delivery.origin == Origin("commands.africa", message.shard.partition, 7)
    assert delivery.reminder is not None
    assert delivery.reminder.origin == str(origin_of(message, 42))
    with pytest.raises(InvalidFieldError, match="no receipt is for a reminder"):
        desk.acknowledge(delivery, Stage.ACCEPTED)
    desk.finish(delivery)
    assert desk.seal() == []
    assert desk.state.position == 2
    holding = desk.state.holding(message.number)
    assert holding is not None
    assert (holding.event, holding.value) == (Event.PUBLISHED, world.codec.encode(message))


def test_a_repeat_is_handed_out_once(office: Office, world: InboxWorld) -> None:
    """The same message twice in an inbox, in one poll or in two: the second copy is passed over."""
    message = a_notice()
    desk = office.desk()
    (delivery,) = office.take(desk, world.record(message), world.record(message))
    desk.finish(delivery)
    desk.settle(desk.seal())

    assert office.take(desk, world.record(message)) == []
    desk.seal()
    assert desk.state.position == 3


def test_the_same_message_id_of_two_issuers_is_two_messages(office: Office, world: InboxWorld) -> None:
    """Ids are unique for one issuer and notice; a stranger cannot suppress a message by reusing its id."""
    first = a_notice()
    second = a_notice(number="fr-n-2026-000001", owner="fr", issuer="fr", region="europe", message_id=first.message_id)
    assert len(office.take(office.desk(), world.record(first), world.record(second))) == 2


def forgeries(world: InboxWorld) -> dict[str, tuple[RawRecord, str]]:
    message = a_notice()
    good = world.record(message, offset=0)
    ended = RawRecord(0, to_epoch_ms(NOW - timedelta(days=2)), good.key, good.value, good.headers)
    return {
        "signature of zeros": (another_signature(good), "signature"),
        "no signature": (with_header(good, "signature", None), "signature"),
        "signed by another bureau": (world.record(message, signer="zw", offset=0), "signature"),
        "unknown key": (with_header(good, "key-id", b"ipsg.0000000000000000"), "signature"),
        "appended before the key counted": (ended, "signature"),
        "outcome by a bureau": (
            world.record(world.outcome_of(message, bureau="gh"), signer="ipsg", offset=0),
            "signature",
        ),
        "reminder by a bureau": (
            world.record(world.reminder_of(message, bureaus=("gh",)), signer="ipsg", offset=0),
            "signature",
        ),
        "reminder of another bureau": (
            world.record(world.reminder_of(message, bureaus=("fr",)), offset=0),
            "misplaced",
        ),
        "reminder that lies among notices": (
            with_header(
                world.record(world.reminder_of(message, bureaus=("gh",)), offset=0),
                "origin",
                str(origin_of(message, 42)).encode(),
            ),
            "misplaced",
        ),
        "another command": (
            world.record(world.reminder_of(message, bureaus=("gh",), kind="back_fill"), offset=0),
            "misplaced",
        ),
        "outcome of another bureau": (world.record(world.outcome_of(message, bureau="fr"), offset=0), "misplaced"),
        "another key": (RawRecord(0, good.timestamp_ms, b"zw-n-2026-000009", good.value, good.headers), "misplaced"),
        "another origin": (with_header(good, "origin", b"notices.europe/0/1"), "misplaced"),
        "no origin": (with_header(good, "origin", None), "misplaced"),
        "another subject header": (with_header(good, "ce_subject", b"zw-n-2026-000009"), "misplaced"),
        "changed byte": (
            RawRecord(0, good.timestamp_ms, good.key, _flipped(good.value), good.headers),
            "signature",
        ),
        "random bytes": (
            RawRecord(0, good.timestamp_ms, good.key, b"\x00\x00\x00\x00\x01junk", good.headers),
            "undecodable",
        ),
        "no value": (RawRecord(0, good.timestamp_ms, good.key, None, good.headers), "undecodable"),
        "header that is not UTF-8": (
            RawRecord(0, good.timestamp_ms, good.key, good.value, (*good.headers, (b"\xff", b""))),
            "undecodable",
        ),
    }


def _flipped(value: bytes | None) -> bytes:
    assert value is not None
    return value.replace(b"sewn into coats", b"sewn into boats")


@pytest.mark.parametrize("name", list(forgeries(InboxWorld(Codec.load()))))
def test_a_forged_record_is_parked(office: Office, world: InboxWorld, name: str) -> None:
    """It is never handed out and never acknowledged; it is kept whole with its reason, and what follows goes on."""
    record, reason = forgeries(world)[name]
    good = world.record(a_notice(number="zw-n-2026-000005"), offset=1)
    desk = office.desk()

    (delivery,) = office.take(desk, record, good)
    assert delivery.offset == 1
    desk.finish(delivery)
    owed = desk.seal()
    desk.settle(owed)

    assert office.stages(owed) == [("zw-n-2026-000005", "received")]
    (parked,) = desk.state.parked()
    assert (parked.offset, parked.reason, parked.key, parked.value) == (0, reason, record.key, record.value)
    assert desk.state.position == 2


def test_other_bytes_under_a_known_id_are_parked(office: Office, world: InboxWorld) -> None:
    """Whoever says something else under the same id is not believed, whether the first is finished or not."""
    first = a_notice()
    other = a_notice(message_id=first.message_id, urgency="urgent")
    desk = office.desk()
    (delivery,) = office.take(desk, world.record(first), world.record(other))
    desk.finish(delivery)
    desk.settle(desk.seal())
    assert office.take(desk, world.record(other)) == []
    desk.seal()

    assert [(parked.offset, parked.reason) for parked in desk.state.parked()] == [(1, "id_reused"), (2, "id_reused")]


def test_an_unreadable_batch_is_parked_and_passed(office: Office, world: InboxWorld) -> None:
    """A batch that no parser can read stops nothing."""
    desk = office.desk()
    batch = RawBatch(base_offset=0, next_offset=3, error="checksum", raw=b"raw", max_timestamp_ms=to_epoch_ms(NOW))

    assert desk.take([batch], world.directory) == []
    desk.seal()
    assert desk.state.position == 3
    assert [parked.value for parked in desk.state.parked()] == [b"raw"]


def finished(office: Office, desk: Desk, *records: RawRecord) -> None:
    for delivery in office.take(desk, *records):
        desk.finish(delivery)
    desk.settle(desk.seal())


@pytest.mark.parametrize(
    ("steps", "expected"),
    [  # event, revision, as message or as notice of end -> last event, revision, whether the copy is there
        ([("published", 1, "message")], ("published", 1, True)),
        ([("published", 1, "message"), ("revised", 2, "message")], ("revised", 2, True)),
        ([("published", 1, "message"), ("suspended", 1, "message")], ("suspended", 1, True)),
        ([("published", 1, "message"), ("suspended", 1, "end")], ("suspended", 1, False)),
        ([("published", 1, "message"), ("suspended", 1, "end"), ("reinstated", 1, "message")], ("reinstated", 1, True)),
        ([("published", 1, "message"), ("revised", 2, "end")], ("revised", 2, False)),
        ([("published", 1, "message"), ("revised", 2, "end"), ("revised", 3, "message")], ("revised", 3, True)),
        ([("published", 1, "message"), ("cancelled", 1, "message")], ("cancelled", 1, False)),
        ([("published", 1, "message"), ("withdrawn", 1, "end")], ("withdrawn", 1, False)),
        ([("revised", 3, "message"), ("revised", 2, "message")], ("revised", 3, True)),
        ([("published", 1, "message"), ("expired", 1, "message"), ("revised", 2, "message")], ("expired", 1, False)),
    ],
)
def test_holdings_are_the_latest_revision_with_ends_applied(
    office: Office, world: InboxWorld, steps: list[tuple[str, int, str]], expected: tuple[str, int, bool]
) -> None:
    """An end or a notice of end removes the copy, a later revision brings it back, and nothing follows an end."""
    desk = office.desk()
    for event, revision, how in steps:
        message = a_notice(event=event, revision=revision)
        finished(office, desk, world.record(message if how == "message" else world.end_of(message, bureau="gh")))
    holding = desk.state.holding("zw-n-2026-000001")

    assert holding is not None
    assert (holding.event, holding.revision, holding.value is not None) == (Event(expected[0]), *expected[1:])


def test_an_end_leaves_no_trace_of_the_data(office: Office, world: InboxWorld) -> None:
    """After an end and a close, the file holds no byte of what was held: deleted content is overwritten."""
    desk = office.desk()
    finished(office, desk, world.record(a_notice()))
    finished(office, desk, world.record(world.end_of(a_notice(event="cancelled"), bureau="gh")))
    desk.state.close()
    office.states.clear()

    assert b"sewn into" not in b"".join(path.read_bytes() for path in office.path.parent.iterdir())


def folder_bytes(office: Office) -> bytes:
    return b"".join(path.read_bytes() for path in office.path.parent.iterdir())


def test_an_end_leaves_no_trace_while_the_client_runs(office: Office, world: InboxWorld) -> None:
    """Neither the database nor SQLite's log, which keeps what pages held before, has a byte of it after the end."""
    desk = office.desk()
    finished(office, desk, world.record(a_notice()))
    assert b"sewn into" in folder_bytes(office)

    finished(office, desk, world.record(world.end_of(a_notice(event="cancelled"), bureau="gh")))

    assert b"sewn into" not in folder_bytes(office)


def test_an_end_leaves_no_trace_though_somebody_reads(office: Office, world: InboxWorld) -> None:
    """Whoever looks into the file at that moment holds the log up, and nothing else: the next write empties it."""
    desk = office.desk()
    finished(office, desk, world.record(a_notice()))
    with closing(sqlite3.connect(office.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM holding").fetchone()
        finished(office, desk, world.record(world.end_of(a_notice(event="cancelled"), bureau="gh")))
        assert desk.state.position == 2
    finished(office, desk, world.record(a_notice(number="zw-n-2026-000002", texts=[])))

    assert b"Hidden papers" not in folder_bytes(office)


def test_a_crash_before_the_log_was_emptied_leaves_no_trace(office: Office, world: InboxWorld) -> None:
    """The next client's first write empties what the last one left behind."""
    desk = office.desk()
    finished(office, desk, world.record(a_notice()))
    with closing(sqlite3.connect(office.path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM holding").fetchone()
        finished(office, desk, world.record(world.end_of(a_notice(event="cancelled"), bureau="gh")))
        restarted = office.desk()
    assert b"Hidden papers" in folder_bytes(office)

    finished(office, restarted, world.record(a_notice(number="zw-n-2026-000002", texts=[])))

    assert b"Hidden papers" not in folder_bytes(office)


@pytest.mark.parametrize("order", ["parked, then ended", "ended, then parked"])
def test_an_end_removes_what_was_parked_under_its_number(office: Office, world: InboxWorld, order: str) -> None:
    """An unproven copy names the same person; that it was set aside, where and why, stays known."""
    parked, other = another_signature(world.record(a_notice())), another_signature(world.record(a_notice(number=OTHER)))
    end = world.record(world.end_of(a_notice(event="cancelled"), bureau="gh"), offset=2)
    if order == "ended, then parked":
        parked = replace(parked, offset=3)
    desk = office.desk()
    for record in sorted((parked, other, end), key=lambda record: record.offset):
        finished(office, desk, record)

    values = {one.offset: one.value for one in desk.state.parked()}
    assert values == {parked.offset: None, other.offset: other.value}
    assert {one.reason for one in desk.state.parked()} == {"signature"}


def test_what_a_person_acknowledged_by_hand_is_not_undone(office: Office, world: InboxWorld) -> None:
    """The client, which holds an older stage, never writes it over the newer one: not by finishing, not by its own."""
    finishes, acknowledges = world.record(a_notice()), world.record(a_notice(number=OTHER))
    desk = office.desk()
    first, second = office.take(desk, finishes, acknowledges)
    desk.acknowledge(first, Stage.ACCEPTED)
    desk.settle(desk.seal())
    beside = BureauState.look(office.path)
    assert beside is not None
    office.states.append(beside)
    for delivery, stage in ((first, Stage.DECLINED), (second, Stage.PURGED)):
        (known,) = beside.deliveries(delivery.number)
        beside.note_stage(known, stage)

    desk.finish(first)
    desk.acknowledge(second, Stage.ACCEPTED)
    desk.finish(second)
    desk.settle(desk.seal())

    stages = {known.number: known.stage for one in (first, second) for known in desk.state.deliveries(one.number)}
    assert stages == {first.number: Stage.DECLINED, second.number: Stage.PURGED}


def test_the_file_is_its_owners_alone(office: Office) -> None:
    """It holds personal data: nobody else may read the file or the folder."""
    office.desk()

    assert {stat.S_IMODE(path.stat().st_mode) for path in office.path.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(office.path.parent.stat().st_mode) == 0o700


def test_a_second_client_takes_over(office: Office, world: InboxWorld) -> None:
    """Two clients of one bureau never move the position together: the earlier one is fenced at its next write."""
    earlier = office.desk()
    (delivery,) = office.take(earlier, world.record(a_notice()))
    earlier.finish(delivery)
    office.desk()

    with pytest.raises(FencedError):
        earlier.seal()


def test_a_file_of_another_installation_is_refused(office: Office) -> None:
    """Its position would mean other records."""
    office.desk()

    with pytest.raises(CorruptHistoryError):
        BureauState.open(office.path, bureau="gh", installation="another")


def test_a_file_of_version_1_is_brought_up_to_date(tmp_path: Path) -> None:
    """What came before traces were written down has none; everything else is as it was."""
    path = tmp_path / "bureaus" / "ke.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database:
        database.executescript(
            "CREATE TABLE delivery (signer TEXT NOT NULL, number TEXT NOT NULL, id TEXT NOT NULL, kind TEXT NOT NULL,"
            ' origin TEXT NOT NULL, digest BLOB NOT NULL, "offset" INTEGER NOT NULL, stage TEXT,'
            " finished INTEGER NOT NULL, PRIMARY KEY (number, signer, id)) STRICT, WITHOUT ROWID;"
            "INSERT INTO delivery VALUES ('ipsg', 'zw-n-2026-000001', '0197a3c2-7b1e-7c3a-9d55-0242ac120001',"
            " 'message', 'notices.africa/0/0', x'00', 3, 'received', 1); PRAGMA user_version = 1;"
        )
    beside = BureauState.look(path)
    assert beside is not None
    (known,) = beside.deliveries("zw-n-2026-000001")
    assert (known.offset, known.stage, known.traceparent) == (3, Stage.RECEIVED, None)
    beside.close()

    state = BureauState.open(path, bureau="ke", installation="here")
    (known,) = state.deliveries("zw-n-2026-000001")
    assert (known.offset, known.stage, known.traceparent) == (3, Stage.RECEIVED, None)
    state.close()
