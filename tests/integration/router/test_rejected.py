"""Whatever cannot be routed is set aside whole with its reason and entered, its issuer is told; the rest goes on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from broker.model.message import Message
from broker.model.naming import REJECTED, Origin, Region, Shard, feed, partition_of
from broker.model.rejection import RejectReason
from broker.transport.fanout import Outgoing
from broker.transport.headers import signed_headers
from broker.trust.signing import RecordKind
from tests.support.builders import a_purple_notice, a_red_notice, a_warning_diffusion, bureaus, changed
from tests.support.plain import PlainRecord, read
from tests.support.shared_kafka import SharedKafka
from tests.support.strangers import NOT_UTF8, Stranger
from tests.support.world import World, a_world

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A record as it is put on a feed."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: Headers

    def with_header(self, name: str, content: bytes | None) -> Written:
        """The same with another content of a header; without it where that is None."""
        headers = tuple(one for one in self.headers if one[0] != name)
        return replace(self, headers=headers if content is None else (*headers, (name, content)))


@dataclass(slots=True, kw_only=True)
class Scribe:
    """Signs as anybody, and says what each bureau is to be given of what was good."""

    world: World
    expected: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _serials: Iterator[int] = field(default_factory=lambda: count(1))

    def number(self, letter: str = "n") -> str:
        """A number that was not used yet, of the shard africa/0."""
        for serial in self._serials:
            number = f"zw-{letter}-2026-{serial:06d}"
            if partition_of(number.encode()) == 0:
                return number
        raise AssertionError

    def written(self, message: Message, *, signer: str | None = None, installation: str | None = None) -> Written:
        """A message as its issuer would write it, or somebody in its name."""
        who = self.world.keys.signer(signer or message.issuer)
        value = self.world.link.codec.encode(message)
        signature = who.sign(RecordKind.MESSAGE, installation or self.world.installation, value)
        return Written(
            topic=feed(message.parsed_number.message_class, message.region),
            partition=partition_of(message.number.encode()),
            key=message.number.encode(),
            value=value,
            headers=tuple(signed_headers(message, key_id=who.key_id, signature=signature)),
        )

    async def say(self, message: Message, *, to: str) -> None:
        """Publish something good."""
        await self.world.publish(message)
        for bureau in to.split():
            self.expected[bureau].append(str(message.message_id))

    async def request(self, number: str) -> Message:
        """Request a notice, which `ipsg` is given."""
        request = a_purple_notice(number=number, event="requested")
        await self.say(request, to="ipsg")
        return request

    async def publish(self, number: str) -> None:
        """Request and publish a notice."""
        await self.request(number)
        await self.say(a_purple_notice(number=number, event="published"), to="zw ke fr")


Make = Callable[[Scribe], Written]


def _request(scribe: Scribe, **changes: object) -> Written:
    return scribe.written(a_purple_notice(number=scribe.number(), event="requested", **changes))


def _published(scribe: Scribe, **changes: object) -> Written:
    return scribe.written(a_purple_notice(number=scribe.number(), event="published", **changes))


def _valued(change: Callable[[bytes], bytes | None]) -> Make:
    """A request whose headers are in order, and whose value is garbage."""

    def make(scribe: Scribe) -> Written:
        written = _request(scribe)
        return replace(written, value=change(written.value or b""))

    return make


def _without_warrant(scribe: Scribe) -> Written:
    red = a_red_notice(number=scribe.number(), event="published")
    return scribe.written(changed(red, "judicial.warrants", []))


UNDECODABLE: dict[str, Make] = {
    "unknown schema id": _valued(lambda value: b"\0\0\0\xff\xff" + value[5:]),
    "truncated Avro": _valued(lambda value: value[:-7]),
    "wrong magic byte": _valued(lambda value: b"\x01" + value[1:]),
    "random bytes": _valued(lambda _: bytes(range(40, 200, 3))),
    "empty": _valued(lambda _: b""),
    "nothing": _valued(lambda _: None),
    "something after the Avro": _valued(lambda value: value + b"\0"),
    "a header that is not UTF-8": lambda scribe: _request(scribe).with_header("ce_subject", b"\xff\xfe"),
    "a header is missing": lambda scribe: _request(scribe).with_header("ce_id", None),
}
"""Nobody is told of these: what cannot be read names nobody."""

WITHOUT_PAST: dict[str, tuple[RejectReason, str, Make]] = {
    # "signature (missing, wrong, unknown key, ...)"; told is the owner alone, whoever is said to have signed
    "not signed": (
        RejectReason.SIGNATURE,
        "zw",
        lambda scribe: _published(scribe).with_header("signature", None),
    ),
    "signed by somebody else": (
        RejectReason.SIGNATURE,
        "zw",
        lambda scribe: scribe.written(a_purple_notice(number=scribe.number(), event="published"), signer="ke"),
    ),
    "signed for another installation": (
        RejectReason.SIGNATURE,
        "zw",
        lambda scribe: scribe.written(
            a_purple_notice(number=scribe.number(), event="published"), installation="a trial system"
        ),
    ),
    "an unknown key": (
        RejectReason.SIGNATURE,
        "zw",
        lambda scribe: _published(scribe).with_header("key-id", b"ipsg.0"),
    ),
    # "The issuer, where the signature holds, and the owner get the outcome"
    "breaks a rule of the domain": (RejectReason.INVALID, "ipsg zw", _without_warrant),
    "names a bureau that is not entered": (
        RejectReason.INVALID,
        "zw",
        lambda scribe: _request(scribe, circulation=bureaus("ke", "br")),
    ),
    "in another partition": (RejectReason.MISPLACED, "zw", lambda scribe: replace(_request(scribe), partition=1)),
    "under another key": (RejectReason.MISPLACED, "zw", lambda scribe: replace(_request(scribe), key=b"another")),
    "on another feed": (
        RejectReason.MISPLACED,
        "ipsg zw",
        lambda scribe: replace(_published(scribe), topic="diffusions.africa"),
    ),
    "a case region that is not the owner's": (
        RejectReason.MISPLACED,
        "zw",
        lambda scribe: replace(_request(scribe, region="europe"), topic="notices.africa"),
    ),
    "a header says otherwise": (
        RejectReason.MISPLACED,
        "zw",
        lambda scribe: _request(scribe).with_header("ce_subject", b"zw-n-2026-999999"),
    ),
    "an owner publishes by itself": (
        RejectReason.ISSUER,
        "zw",
        lambda scribe: _published(scribe, issuer="zw"),
    ),
    "a request by somebody else": (RejectReason.ISSUER, "ke zw", lambda scribe: _request(scribe, issuer="ke")),
    "published without a request": (RejectReason.NO_BEGINNING, "ipsg zw", _published),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """Something that was written and is to be rejected."""

    name: str
    reason: RejectReason
    told: str
    origin: Origin
    key: bytes
    value: bytes | None
    headers: tuple[tuple[bytes, bytes], ...]


@dataclass(slots=True, kw_only=True)
class Vandal:
    """Writes what cannot be routed, and something good after each."""

    scribe: Scribe
    stranger: Stranger
    done: list[Bad] = field(default_factory=list)

    async def write(self, name: str, reason: RejectReason, told: str, written: Written) -> None:
        """Write a bad record as any producer can."""
        publisher = self.scribe.world.link.publisher
        outgoing = Outgoing(written.key, written.value, written.headers)
        place = await (await publisher.send(written.topic, written.partition, outgoing))
        await self._note(name, reason, told, written, place.offset)

    async def write_unreadable_header(self, written: Written) -> None:
        """Write a good record with one more header, whose name is not UTF-8."""
        offset = await self.stranger.litter_header(
            written.topic, written.partition, key=written.key, value=written.value or b"", headers=written.headers
        )
        name = "a header's name that is not UTF-8"
        await self._note(name, RejectReason.UNDECODABLE, "", written, offset, more=((NOT_UTF8, b"1"),))

    async def write_in_transaction(self, written: Written, *, commits: bool) -> None:
        """Write a good record in a transaction; whether that is committed makes no difference."""
        kafka = self.scribe.world.kafka
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap_servers, transactional_id=f"{kafka.prefix}vandal-{commits}"
        )
        await producer.start()
        await producer.begin_transaction()
        place = await producer.send_and_wait(
            kafka.prefix + written.topic,
            written.value,
            key=written.key,
            partition=written.partition,
            headers=list(written.headers),
        )
        await (producer.commit_transaction() if commits else producer.abort_transaction())
        await producer.stop()
        name = f"in a transaction, committed: {commits}"
        await self._note(name, RejectReason.TRANSACTIONAL, "zw", written, place.offset)

    async def _note(
        self,
        name: str,
        reason: RejectReason,
        told: str,
        written: Written,
        offset: int,
        *,
        more: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        self.done.append(
            Bad(
                name=name,
                reason=reason,
                told=told,
                origin=Origin(written.topic, written.partition, offset),
                key=written.key,
                value=written.value,
                headers=(*((key.encode(), value) for key, value in written.headers), *more),
            )
        )
        scribe = self.scribe
        await scribe.request(scribe.number())
        diffusion = a_warning_diffusion(number=scribe.number("d"), circulation=bureaus("ke", "fr"))
        await scribe.say(diffusion, to="ke fr")


@pytest.fixture
async def vandal(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[Vandal]:
    """A small world, and somebody who spoils its feeds."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        stranger = await Stranger.arrive(world.kafka)
        yield Vandal(scribe=Scribe(world=world), stranger=stranger)
        await stranger.leave()


async def test_what_cannot_be_routed_is_set_aside_whole_and_everything_else_goes_on(vandal: Vandal) -> None:
    """Each reason and each kind of garbage: on `rejected` whole, entered once, told to whom it may concern."""
    scribe, world = vandal.scribe, vandal.scribe.world
    for name, make in UNDECODABLE.items():
        await vandal.write(name, RejectReason.UNDECODABLE, "", make(scribe))
    await vandal.write_unreadable_header(_request(scribe))
    await vandal.write_in_transaction(_request(scribe), commits=True)
    await vandal.write_in_transaction(_request(scribe), commits=False)
    for name, (reason, told, make) in WITHOUT_PAST.items():
        await vandal.write(name, reason, told, make(scribe))
    await _write_with_past(vandal)

    await world.route(Shard(Region.AFRICA, 0), Shard(Region.AFRICA, 1))

    assert {bad.reason for bad in vandal.done} == set(RejectReason) - {RejectReason.UNKNOWN}
    await _check_set_aside(vandal)
    await _check_entered(vandal)
    await _check_told(vandal)
    for bureau in ("zw", "ke", "fr", "ipsg"):
        assert sorted(await world.messages_in(bureau)) == sorted(scribe.expected[bureau]), bureau


async def _write_with_past(vandal: Vandal) -> None:
    """What only the notice's past rejects: `id_reused`, `stale`, `lifecycle`, and a gap in the revisions."""
    scribe = vandal.scribe
    number = scribe.number()
    first = await scribe.request(number)
    again = a_purple_notice(number=number, event="requested", message_id=first.message_id, operation="spartacus")
    await vandal.write("an id for other bytes", RejectReason.ID_REUSED, "zw", scribe.written(again))

    await scribe.publish(number := scribe.number())
    other = a_purple_notice(number=number, event="published")
    await vandal.write("published twice", RejectReason.STALE, "ipsg zw", scribe.written(other))
    gap = a_purple_notice(number=number, event="revised", revision=3)
    await vandal.write("a revision is missing", RejectReason.NO_BEGINNING, "ipsg zw", scribe.written(gap))
    doubt = a_purple_notice(number=number, event="reinstated", revision=1)
    await vandal.write("reinstated in force", RejectReason.LIFECYCLE, "ipsg zw", scribe.written(doubt))
    # None of them has touched the notice.
    revised = a_purple_notice(number=number, event="revised", revision=2)
    await scribe.say(revised, to="zw ke fr")

    await scribe.request(number := scribe.number())
    await scribe.say(a_purple_notice(number=number, event="refused"), to="zw")
    late = a_purple_notice(number=number, event="published")
    await vandal.write("published after a refusal", RejectReason.LIFECYCLE, "ipsg zw", scribe.written(late))


async def _check_set_aside(vandal: Vandal) -> None:
    """Each is on `rejected` once, whole, under its origin."""
    records = await read(vandal.scribe.world.kafka, REJECTED)
    assert [record.key for record in records] == [record.origin.encode() for record in records]
    found = {record.origin: record.value for record in records}
    assert len(records) == len(found) == len(vandal.done)
    for bad in vandal.done:
        rejection = found[str(bad.origin)]
        assert rejection["reason"] == bad.reason, (bad.name, rejection["detail"])
        assert (rejection["key"], rejection["value"]) == (bad.key, bad.value), bad.name
        assert [(one["key"], one["value"]) for one in rejection["headers"]] == list(bad.headers), bad.name
        assert not rejection["is_raw_batch"]


async def _check_entered(vandal: Vandal) -> None:
    """Each is entered once with its reason, and no offset of a feed is left out."""
    entries = await vandal.scribe.world.read_ledger([Shard(Region.AFRICA, 0), Shard(Region.AFRICA, 1)])
    covered: dict[tuple[str, int], int] = defaultdict(int)
    rejected: dict[str, PlainRecord] = {}
    for entry in entries:
        value = entry.value
        place = (value["topic"], value["partition"])
        assert value["from_offset"] == covered[place]
        covered[place] = value["next_offset"]
        if value["kind"] == "rejected":
            rejected[f"{value['topic']}/{value['partition']}/{value['from_offset']}"] = entry
    assert set(rejected) == {str(bad.origin) for bad in vandal.done}
    for bad in vandal.done:
        value = rejected[str(bad.origin)].value
        assert value["reason"] == bad.reason, bad.name
        assert value["next_offset"] == bad.origin.offset + 1
        assert value["digest"] == sha256(bad.value or b"").digest(), bad.name
        assert (value["delivered"], value["ended"]) == ("", "")
        if bad.reason in {RejectReason.UNDECODABLE, RejectReason.SIGNATURE}:  # anybody could have made it up
            assert (value["number"], value["issuer"], value["message_id"], value["event"]) == (None,) * 4, bad.name


async def _check_told(vandal: Vandal) -> None:
    """The outcome is in the inboxes of owner and issuer, once, and in nobody else's."""
    told: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for bureau in ("zw", "ke", "fr", "ipsg"):
        for record in await vandal.scribe.world.read_inbox(bureau):
            if record.subject == "outcome" and record.value["verdict"] == "rejected":
                assert record.value["bureau"] == bureau
                told[record.value["origin"]].append((bureau, record.value["reason"]))
    assert {bad.name: told.pop(str(bad.origin), []) for bad in vandal.done} == {
        bad.name: [(bureau, bad.reason) for bureau in ("zw", "ke", "fr", "ipsg") if bureau in bad.told.split()]
        for bad in vandal.done
    }
    assert not told
