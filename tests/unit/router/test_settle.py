from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

import pytest

from broker.clock import to_epoch_ms
from broker.members.directory import Directory
from broker.model.base import BUREAUS_MAX
from broker.model.command import Command, CommandKind
from broker.model.diffusion import Diffusion
from broker.model.ledger import EntryKind
from broker.model.message import Event
from broker.model.naming import Origin, Region, Shard, feeds
from broker.model.notice import Notice
from broker.model.outcome import Verdict
from broker.model.rejection import RejectReason
from broker.schema.codec import VALUE_BYTES_MAX
from broker.settings import KafkaSettings
from broker.transport.batches import RawRecord, parse
from broker.transport.headers import signed_headers
from broker.transport.inbox import DeliveryKind, InboxDecoder
from broker.transport.kafka import TopicPartition
from broker.trust.signing import RecordKind
from consumers.router.arrival import Arrival, ArrivedRecord, BrokenBatch, NoRecord
from consumers.router.letters import Scribe
from consumers.router.memory import Memory
from consumers.router.settle import DETAIL_CHARS_MAX, Settled, Settler
from tests.support.builders import a_purple_notice, a_red_notice, a_warning_diffusion, bureaus, changed
from tests.support.feeds import INSTALLATION, NOW, Feeds, with_header

NUMBER = "zw-n-2026-000001"


def a_request(**fields: object) -> Notice:
    return a_purple_notice(**{"number": NUMBER, "event": "requested", **fields})


@pytest.fixture
def feeds_of() -> Feeds:
    return Feeds()


def settle(world: Feeds, *arrived: Arrival, memory: Memory | None = None) -> list[Settled]:
    settler = Settler(directory=world.directory, codec=world.codec, installation=INSTALLATION)
    if memory is None:
        memory = Memory(dict.fromkeys([topic for region in Region for topic in feeds(region)], 0))
    return settler.settle_all(arrived, memory)


Row = Callable[[Feeds], ArrivedRecord]

ROWS: dict[str, tuple[RejectReason, Row]] = {
    "part of a transaction": (RejectReason.TRANSACTIONAL, lambda w: w.record(a_request(), is_transactional=True)),
    "no value": (RejectReason.UNDECODABLE, lambda w: w.record(a_request(), value=None)),
    "wrong magic byte": (RejectReason.UNDECODABLE, lambda w: _value(w, lambda value: b"\x01" + value[1:])),
    "unknown schema id": (RejectReason.UNDECODABLE, lambda w: _value(w, lambda value: b"\0\0\0\xff\xff" + value[5:])),
    "truncated Avro": (RejectReason.UNDECODABLE, lambda w: _value(w, lambda value: value[:-7])),
    "something after the Avro": (RejectReason.UNDECODABLE, lambda w: _value(w, lambda value: value + b"\0")),
    "random bytes": (RejectReason.UNDECODABLE, lambda w: _value(w, lambda _: bytes(range(200, 240)))),
    "a header's name is not UTF-8": (
        RejectReason.UNDECODABLE,
        lambda w: with_header(w.record(a_request()), b"\xff\xfe", b"1"),
    ),
    "a header is missing": (RejectReason.UNDECODABLE, lambda w: with_header(w.record(a_request()), "ce_id", None)),
    "no signature": (RejectReason.SIGNATURE, lambda w: with_header(w.record(a_request()), "signature", None)),
    "signature over other bytes": (
        RejectReason.SIGNATURE,
        lambda w: replace(w.record(a_request()), value=w.codec.encode(a_request(operation="spartacus-iii"))),
    ),
    "signed for another installation": (
        RejectReason.SIGNATURE,
        lambda w: w.record(a_request(), installation="a-trial-system"),
    ),
    "signed by somebody else": (RejectReason.SIGNATURE, lambda w: w.record(a_request(), signer="ke")),
    "an unknown key": (RejectReason.SIGNATURE, lambda w: with_header(w.record(a_request()), "key-id", b"zw.0")),
    "a key that had ended": (
        RejectReason.SIGNATURE,
        lambda w: w.record(a_request(), appended_at=NOW + timedelta(days=366)),
    ),
    "breaks a rule of the domain": (
        RejectReason.INVALID,
        lambda w: w.record(changed(a_red_notice(number=NUMBER, event="requested"), "judicial.warrants", [])),
    ),
    "excludes a bureau that is not entered": (
        RejectReason.INVALID,
        lambda w: w.record(a_request(exclusions={"nobody"})),
    ),
    "another region than the owner's": (RejectReason.MISPLACED, lambda w: w.record(a_request(region="europe"))),
    "on another feed": (RejectReason.MISPLACED, lambda w: w.record(a_request(), topic="diffusions.africa")),
    "in another partition": (RejectReason.MISPLACED, lambda w: w.record(a_request(), partition=_other_partition())),
    "under another key": (RejectReason.MISPLACED, lambda w: w.record(a_request(), key=b"zw-n-2026-000002")),
    "a CloudEvents header says otherwise": (
        RejectReason.MISPLACED,
        lambda w: with_header(w.record(a_request()), "ce_subject", b"zw-n-2026-000002"),
    ),
    "a notice that its owner publishes by itself": (
        RejectReason.ISSUER,
        lambda w: w.record(a_request(event="published", issuer="zw", revision=1)),
    ),
    "a request by somebody else": (RejectReason.ISSUER, lambda w: w.record(a_request(issuer="ke"))),
    "published without a request": (RejectReason.NO_BEGINNING, lambda w: w.record(a_request(event="published"))),
}


def _value(world: Feeds, change: Callable[[bytes], bytes]) -> ArrivedRecord:
    record = world.record(a_request())
    return replace(record, value=change(record.value or b""))


def _other_partition() -> int:
    return 1 - a_request().shard.partition


@pytest.mark.parametrize("name", ROWS)
def test_rejects_with_the_first_reason_that_holds(name: str, feeds_of: Feeds) -> None:
    """A record that cannot be routed is set aside whole with its reason, entered, and given to nobody."""
    reason, make = ROWS[name]
    record = make(feeds_of)

    [settled] = settle(feeds_of, record)

    assert settled.rejection is not None
    assert settled.rejection.reason is reason, settled.rejection.detail
    assert (settled.rejection.key, settled.rejection.value) == (record.key, record.value)
    assert [(header.key, header.value) for header in settled.rejection.headers] == [
        (name.encode() if isinstance(name, str) else name, value) for name, value in record.headers
    ]
    assert settled.entry.kind is EntryKind.REJECTED
    assert settled.entry.reason == reason
    assert settled.delivered == settled.ended == frozenset()


def test_what_is_wrong_in_a_thousand_places_is_set_aside_too(feeds_of: Feeds) -> None:
    """The detail is cut, so that the largest record with the most problems still fits on `rejected`."""
    nobodies = {f"nobody-{number:024d}" for number in range(BUREAUS_MAX)}

    [settled] = settle(feeds_of, feeds_of.record(a_request(exclusions=nobodies)))

    assert settled.entry.reason == RejectReason.INVALID
    assert settled.rejection is not None
    assert _set_aside_bytes(feeds_of, settled) < _TAKEN_BYTES_MAX
    assert len(settled.outcomes[0].detail) < DETAIL_CHARS_MAX + 100


@pytest.mark.parametrize("header", [("", b""), ("", None), (b"\xff", b"")])
def test_a_record_of_nothing_but_headers_is_set_aside_whole(
    header: tuple[str | bytes, bytes | None], feeds_of: Feeds
) -> None:
    """Headers take more room in Avro than on the log; too many of them are set aside as the log's own bytes."""
    count = 1_000_000 // (2 + len(header[0]))
    record = replace(feeds_of.record(a_request(), value=b"\0"), headers=(header,) * count)

    [settled] = settle(feeds_of, record)

    assert settled.entry.reason == RejectReason.UNDECODABLE
    assert settled.entry.digest == sha256(b"\0").digest()
    assert settled.rejection is not None
    assert settled.rejection.is_raw_batch
    assert _set_aside_bytes(feeds_of, settled) < _TAKEN_BYTES_MAX
    [batch] = parse(settled.rejection.value or b"", record.origin.offset, place=str(record.origin))
    [whole] = batch.records
    assert (whole.key, whole.value, whole.headers) == (record.key, record.value, record.headers)


_TAKEN_BYTES_MAX = KafkaSettings().record_bytes_max + KafkaSettings().enclosing_bytes_extra


def _set_aside_bytes(world: Feeds, settled: Settled) -> int:
    shard = Shard(Region.AFRICA, settled.arrival.origin.partition)
    scribe = Scribe(shard=shard, codec=world.codec, installation=INSTALLATION, signer=world.signers["broker"])
    return max(record.size_bytes for records in scribe.write([settled]).values() for record in records)


def test_repeats_no_number_that_is_none(feeds_of: Feeds) -> None:
    """Whatever stands where a notice number belongs may be personal data: neither ledger nor outcomes repeat it."""
    message = changed(a_request(), "number", "EXAMPLE Alex, born 1980")
    record = feeds_of.record(message, topic="notices.africa", partition=0)

    [settled] = settle(feeds_of, record)

    assert settled.entry.reason == RejectReason.INVALID
    assert settled.entry.number is None
    assert settled.outcomes == ()
    assert settled.rejection is not None
    assert "EXAMPLE" not in settled.rejection.detail


def test_names_the_mend_of_another_partitioner(feeds_of: Feeds) -> None:
    """A sender with librdkafka's default partitioner is told which setting it lacks."""
    [settled] = settle(feeds_of, feeds_of.record(a_request(), partition=_other_partition()))

    assert settled.rejection is not None
    assert "partitioner=murmur2_random" in settled.rejection.detail
    assert {(outcome.bureau, outcome.verdict) for outcome in settled.outcomes} == {("zw", Verdict.REJECTED)}
    assert "partitioner=murmur2_random" in settled.outcomes[0].detail


def test_tells_the_owner_of_a_forgery_and_not_its_stated_issuer(feeds_of: Feeds) -> None:
    """Where the signature does not hold, only the owner hears of it: the stated issuer may have said nothing."""
    forged = feeds_of.record(a_request(event="published"), signer="ke")

    [settled] = settle(feeds_of, forged)

    assert [outcome.bureau for outcome in settled.outcomes] == ["zw"]


@pytest.mark.parametrize("name", ROWS)
def test_enters_of_a_rejected_record_only_what_its_issuer_signed(name: str, feeds_of: Feeds) -> None:
    """The ledger is kept for ever: number, issuer, id and event that a forger states do not get into it."""
    reason, make = ROWS[name]
    record = make(feeds_of)

    [settled] = settle(feeds_of, record)

    entry = settled.entry
    stated = (entry.number, entry.issuer, entry.message_id, entry.event, entry.revision)
    if reason in {RejectReason.UNDECODABLE, RejectReason.SIGNATURE}:
        assert stated == (None,) * 5
    else:
        assert None not in stated
    assert (entry.origin, entry.digest) == (record.origin, sha256(record.value or b"").digest())


def test_enters_the_same_bytes_again_as_a_repeat(feeds_of: Feeds) -> None:
    """What a producer sends twice is delivered once, and both offsets are entered."""
    first = feeds_of.record(a_request())
    again = replace(first, origin=first.origin._replace(offset=1), next_offset=2)

    once, twice = settle(feeds_of, first, again)

    assert once.delivered == {"ipsg"}
    assert (twice.entry.kind, twice.delivered) == (EntryKind.REPEAT, frozenset())
    assert [outcome.verdict for outcome in twice.outcomes] == [Verdict.REPEAT]


def test_rejects_an_id_that_is_used_for_other_bytes(feeds_of: Feeds) -> None:
    """One issuer's message id names one message of a notice, for ever."""
    first = a_request()
    other = a_request(message_id=first.message_id, operation="spartacus-iii")

    _, settled = settle(feeds_of, feeds_of.record(first), feeds_of.record(other))

    assert settled.entry.reason == RejectReason.ID_REUSED


def test_does_not_remember_the_ids_of_rejected_messages(feeds_of: Feeds) -> None:
    """A message that was rejected can be mended and sent again under its id."""
    too_early = a_request(event="published")
    request = a_request()

    early, _, published = settle(
        feeds_of, feeds_of.record(too_early), feeds_of.record(request), feeds_of.record(too_early)
    )

    assert early.entry.reason == RejectReason.NO_BEGINNING
    assert published.entry.kind is EntryKind.ROUTED


@pytest.mark.parametrize(
    ("event", "revision", "reason"),
    [
        ("revised", 3, RejectReason.NO_BEGINNING),
        ("published", 1, RejectReason.STALE),
        ("reinstated", 1, RejectReason.LIFECYCLE),
        ("requested", 0, RejectReason.STALE),
    ],
)
def test_holds_each_message_against_its_notices_past(
    event: str, revision: int, reason: RejectReason, feeds_of: Feeds
) -> None:
    """What does not continue the notice as it stands is rejected, and the notice stands as before."""
    before = [a_request(), a_request(event="published")]
    wrong = a_request(event=event, revision=revision)
    after = a_request(event="revised", revision=2)

    *_, rejected, revised = settle(feeds_of, *[feeds_of.record(one) for one in (*before, wrong, after)])

    assert rejected.entry.reason == reason
    assert (revised.entry.kind, revised.entry.event) == (EntryKind.ROUTED, Event.REVISED)


def test_accounts_for_offsets_without_a_record(feeds_of: Feeds) -> None:
    """Markers and holes are passed over, and a batch that cannot be parsed is set aside raw; no offset is left out."""
    marker = NoRecord(Origin("notices.africa", 0, 0), 1, NOW)
    broken = BrokenBatch(Origin("notices.africa", 0, 1), 4, NOW, b"raw", "its CRC is wrong")

    passed, rejected = settle(feeds_of, marker, broken)

    assert (passed.entry.kind, passed.entry.from_offset, passed.entry.next_offset) == (EntryKind.PASSED_OVER, 0, 1)
    assert (rejected.entry.kind, rejected.entry.from_offset, rejected.entry.next_offset) == (EntryKind.REJECTED, 1, 4)
    assert rejected.rejection is not None
    assert (rejected.rejection.value, rejected.rejection.is_raw_batch) == (b"raw", True)


def test_outcomes_count_who_was_given_what(feeds_of: Feeds) -> None:
    """The issuer hears to how many its message went, and from how many it was withheld."""
    message = a_warning_diffusion(number="zw-d-2026-000001", circulation=bureaus("ke", "fr"), exclusions={"fr"})

    [settled] = settle(feeds_of, feeds_of.record(message))

    [outcome] = settled.outcomes
    assert (outcome.bureau, outcome.given, outcome.ended, outcome.withheld) == ("zw", 1, 0, 1)
    assert outcome.digest == sha256(settled.arrival.value or b"").digest()  # type: ignore[attr-defined]


def test_an_older_version_of_the_largest_message_is_written(feeds_of: Feeds) -> None:
    """A feed takes more than our own producers write; that a stranger's program used this stops no router."""
    charges = [{"original": "é" * 20_000}] * 24 + [{"original": "é" * 17_000}]
    message = a_warning_diffusion(
        number="zw-d-2026-000001", circulation=bureaus("ke", "fr"), judicial={"charges": charges}
    )
    value = feeds_of.codec.encode(message, bytes_max=None)
    assert len(value) > VALUE_BYTES_MAX
    zw = feeds_of.signers["zw"]
    headers = signed_headers(message, key_id=zw.key_id, signature=zw.sign(RecordKind.MESSAGE, INSTALLATION, value))
    record = replace(feeds_of.record(a_warning_diffusion(number=message.number)), value=value, headers=tuple(headers))
    known = feeds_of.directory
    lagging = [replace(one, reads=1) if one.code == "ke" else one for one in known.bureaus()]
    feeds_of.directory = Directory(lagging, offset=known.offset, installation=known.installation)

    [settled] = settle(feeds_of, record)

    assert settled.delivered == {"ke", "fr"}
    [copy] = settled.copies
    assert (copy.rewritten.version, copy.rewritten.delivered) == (1, "ke")
    assert feeds_of.codec.decode(copy.value, Diffusion) == message


def test_reminds_only_holders(feeds_of: Feeds) -> None:
    """A reminder reaches those of its bureaus that hold the notice; nobody learns of a notice from one."""
    request = feeds_of.record(a_request())
    command = Command(
        command_id=UUID(int=7),
        kind=CommandKind.REMINDER,
        number=NUMBER,
        bureaus=("ipsg", "ke"),
        asked_by="tracker",
        asked_at=NOW,
    )

    _, reminded, again = settle(
        feeds_of,
        request,
        feeds_of.said(command, NUMBER, "commands.africa"),
        feeds_of.said(command, NUMBER, "commands.africa"),
    )

    assert reminded.delivered == {"ipsg"}
    assert (again.entry.kind, again.delivered) == (EntryKind.REPEAT, frozenset())


@pytest.mark.parametrize(
    ("header", "key"), [(None, b"zw-n-2026-000009"), ("ce_subject", NUMBER.encode()), ("ce_time", NUMBER.encode())]
)
def test_refuses_commands_that_no_bureau_could_read(header: str | None, key: bytes, feeds_of: Feeds) -> None:
    """Key and headers travel with the copies, and whoever gets one holds them against the value."""
    command = Command(
        command_id=UUID(int=7),
        kind=CommandKind.REMINDER,
        number=NUMBER,
        bureaus=("ipsg",),
        asked_by="tracker",
        asked_at=NOW,
    )
    record = replace(feeds_of.said(command, NUMBER, "commands.africa"), key=key)
    if header is not None:
        record = with_header(record, header, b"2026-05-01T00:00:00Z")

    _, settled = settle(feeds_of, feeds_of.record(a_request()), record)

    assert settled.entry.reason == RejectReason.MISPLACED


def test_a_copy_of_a_reminder_is_what_its_bureau_can_read(feeds_of: Feeds) -> None:
    """What the router puts into an inbox, the bureau's own decoder takes for the reminder that it is."""
    command = Command(
        command_id=UUID(int=7),
        kind=CommandKind.REMINDER,
        number=NUMBER,
        bureaus=("ipsg",),
        asked_by="tracker",
        asked_at=NOW,
    )
    _, reminded = settle(
        feeds_of, feeds_of.record(a_request()), feeds_of.said(command, NUMBER, "commands.africa", signer="broker")
    )
    scribe = Scribe(
        shard=Shard(Region.AFRICA, reminded.arrival.origin.partition),
        codec=feeds_of.codec,
        installation=INSTALLATION,
        signer=feeds_of.signers["broker"],
    )
    [copy] = scribe.write([reminded])[TopicPartition("inbox.ipsg", 0)]
    record = RawRecord(0, to_epoch_ms(NOW), copy.key, copy.value, copy.headers)

    delivery = InboxDecoder(feeds_of.codec).decode(record, bureau="ipsg", directory=feeds_of.directory)

    assert (delivery.kind, delivery.content) == (DeliveryKind.REMINDER, command)
    assert delivery.origin == reminded.arrival.origin


def test_refuses_commands_that_the_broker_did_not_sign(feeds_of: Feeds) -> None:
    """A bureau cannot command the router."""
    command = Command(
        command_id=UUID(int=7),
        kind=CommandKind.REMINDER,
        number=NUMBER,
        bureaus=("ipsg",),
        asked_by="tracker",
        asked_at=NOW,
    )

    [settled] = settle(feeds_of, feeds_of.said(command, NUMBER, "commands.africa", signer="zw"))

    assert settled.entry.reason == RejectReason.SIGNATURE


def test_a_shards_memory_begins_at_offset_zero() -> None:
    """Every feed of the shard's region is accounted for from its first offset on."""
    assert Memory.empty(Shard(Region.AFRICA, 1)).positions == {
        "notices.africa": 0,
        "diffusions.africa": 0,
        "commands.africa": 0,
    }
