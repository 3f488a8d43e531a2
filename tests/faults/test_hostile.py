"""Hostile input, in numbers: what is spoilt is refused or rejected with a reason, and nothing stands in its way.

`NOTICEWIRE_HOSTILE_INPUTS` says how many (3,000 unless it is set); `make fuzz` takes 100,000. `NOTICEWIRE_HOSTILE_SEED`
repeats a run.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from time import monotonic

import pytest
import yaml
from aiokafka.errors import KafkaError
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import RefusedError
from broker.model.diffusion import Diffusion
from broker.model.ledger import EntryKind
from broker.model.message import Message
from broker.model.naming import REJECTED, Origin, Region, Shard, feeds, ledger, partition_of
from broker.schema.codec import Codec
from broker.settings import KafkaSettings
from broker.transport.batches import parse
from broker.transport.fanout import BatchTemplate, CopiedBatch
from broker.transport.kafka import TopicPartition
from consumers.router.arrival import Arrival, ArrivedRecord, arrivals
from consumers.router.letters import Scribe
from consumers.router.memory import Memory
from consumers.router.settle import Settled, Settler
from producers.door import refuse_if_wrong
from producers.files import Entry, read
from producers.preparation import prepare
from tests.support.builders import a_warning_diffusion, bureaus
from tests.support.feeds import INSTALLATION, NOW, Feeds
from tests.support.hostile import Spoiler, bases
from tests.support.mutations import PLANTED, Mutator
from tests.support.plain import read as plain_read
from tests.support.shared_kafka import SharedKafka
from tests.support.strangers import Stranger
from tests.support.world import a_world

INPUTS = int(os.environ.get("NOTICEWIRE_HOSTILE_INPUTS", "3000"))
SEED = int(os.environ.get("NOTICEWIRE_HOSTILE_SEED", "20260501"))

FILES, RECORDS = int(INPUTS * 0.4), int(INPUTS * 0.5)
ON_FEEDS = INPUTS - FILES - RECORDS

STALLS_SECONDS = 10.0
"""What no single input may take, on the slowest machine that runs this: a 100,000th of it is usual."""

pytestmark = [pytest.mark.timeout(180 + INPUTS // 10), pytest.mark.xdist_group("faults")]

_SHARD = Shard(Region.AFRICA, 0)


def numbers() -> Iterator[str]:
    """Numbers of diffusions in shard africa/0, none of them twice."""
    for serial in count(500_000):
        number = f"zw-d-2026-{serial:06d}"
        if partition_of(number.encode()) == _SHARD.partition:
            yield number


def a_valid(number: str) -> Diffusion:
    """What is to get through: sent by zw to two bureaus."""
    message = a_warning_diffusion(number=number, circulation=bureaus("ke", "fr"))
    assert isinstance(message, Diffusion)
    return message


def assert_nothing_planted(text: str | bytes | None, where: object) -> None:
    """No planted name, passport number or date of birth stands in it."""
    said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text or ""
    assert not [word for word in PLANTED if word in said], f"{where}: {said[:500]}"


# ---------------------------------------------------------------------------------------------------- files


class Door:
    """What the producer does with an entry, up to the bytes that it would send."""

    def __init__(self) -> None:
        self._directory, self._codec = Feeds().directory, Codec.load()
        self.verdicts: Counter[str] = Counter()

    def take(self, entry: Entry) -> Message | None:
        """Return the message that would be published; None if it is refused, which says why and quotes nothing."""
        try:
            message = prepare(entry, directory=self._directory, now=NOW)
            refuse_if_wrong(message, directory=self._directory, signs_as=message.issuer, today=NOW.date())
            self._codec.encode(message)
        except RefusedError as error:
            refusal = error
        else:
            self.verdicts["taken"] += 1
            return message
        assert str(refusal), entry.place
        assert_nothing_planted(f"{refusal} {refusal.log_fields()}", entry.place)
        self.verdicts["refused"] += 1
        return None


@pytest.mark.parametrize("suffix", ["jsonl", "json", "yaml"])
def test_hostile_files_are_refused_entry_by_entry(suffix: str, tmp_path: Path) -> None:
    """No file stops the reader: what is spoilt is refused with a reason, what is valid around it is taken."""
    mutator, door, serials = Mutator(SEED), Door(), numbers()
    inputs = FILES // 12 * {"jsonl": 6, "json": 5, "yaml": 1}[suffix]  # YAML's parser takes twenty times as long
    originals = [json.dumps(content).encode() for content in bases()]
    together = 1 if suffix == "json" else 20  # a list that is no JSON any more ends there
    for number in range(0, inputs, together):
        path = tmp_path / f"hostile.{suffix}"
        valid = [a_valid(next(serials)) for _ in range(together + 1)]
        spoilt = [mutator.text(mutator.random.choice(bases()), originals) for _ in range(together)]
        path.write_bytes(_file(suffix, [one.model_dump_json(exclude_defaults=True).encode() for one in valid], spoilt))

        since = monotonic()
        taken = [door.take(entry) for entry in read(path)]

        assert monotonic() - since < STALLS_SECONDS, f"seed {SEED}, {suffix} after {number}"
        ids = Counter(one.message_id for one in taken if one is not None)
        expected = valid if suffix != "json" else valid[:1] if _is_text(spoilt[0]) else []
        assert [one.number for one in expected if ids[one.message_id] != 1] == [], f"seed {SEED}, after {number}"
    assert door.verdicts["refused"] > inputs * 0.6


def _is_text(data: bytes) -> bool:
    """Whether it is UTF-8, without which a JSON file is refused as a whole."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _file(suffix: str, valid: list[bytes], spoilt: list[bytes]) -> bytes:
    """A file in which a valid entry stands before and after each spoilt one."""
    if suffix == "json":
        return b"[" + valid[0] + b",\n" + spoilt[0] + b",\n" + valid[1] + b"]"
    if suffix == "yaml":
        between = [b"\n---\n" + one for one in spoilt]
        return valid[0] + b"".join(one + b"\n---\n" + after for one, after in zip(between, valid[1:], strict=True))
    lines = [one.replace(b"\n", b" ").replace(b"\r", b" ") for one in spoilt]
    return valid[0] + b"".join(b"\n" + one + b"\n" + after for one, after in zip(lines, valid[1:], strict=True))


_anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=max(100, INPUTS // 30), deadline=None)
@given(content=_anything, format_=st.sampled_from(["json", "yaml", "jsonl"]), tail=st.binary(max_size=30))
def test_any_data_at_all_is_refused(
    content: object, format_: str, tail: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever JSON or YAML can say, and any bytes after it, is refused entry by entry with a reason; none is taken."""
    path = tmp_path_factory.getbasetemp() / f"any.{format_}"
    text = yaml.safe_dump(content) if format_ == "yaml" else json.dumps(content)
    path.write_bytes(text.encode("utf-8", "surrogatepass") + tail)

    taken = [_DOOR.take(entry) for entry in read(path)]

    assert not any(taken)
    if not tail:  # which may be further lines or documents
        assert len(taken) <= max(1, len(content) if isinstance(content, list) else 0)


_DOOR = Door()


def test_names_beyond_number_are_read_in_linear_time(tmp_path: Path) -> None:
    """An entry of 70,000 names, the last of which stands there twice, is refused at once: no search name by name."""
    names = b",".join(b'"a%d":1' % at for at in range(70_000))
    path = tmp_path / "names.jsonl"
    path.write_bytes(b"{" + names + b',"a69999":2}\n')

    since = monotonic()
    [entry] = read(path)

    assert isinstance(entry.content, RefusedError)
    assert "twice" in str(entry.content)
    assert monotonic() - since < STALLS_SECONDS


# ---------------------------------------------------------------------------------------------------- records


class Shelf:
    """Shard africa/0 without Kafka: arrivals in feed order, settled poll by poll, as its router would."""

    def __init__(self) -> None:
        self.feeds = Feeds()
        self.memory = Memory.empty(_SHARD)
        self.next = dict.fromkeys(feeds(_SHARD.region), 0)
        self.arrived: list[Arrival] = []
        self.valid: dict[Origin, Diffusion] = {}
        self.verdicts: Counter[str] = Counter()
        self._settler = Settler(directory=self.feeds.directory, codec=self.feeds.codec, installation=INSTALLATION)
        self._scribe = Scribe(
            shard=_SHARD, codec=self.feeds.codec, installation=INSTALLATION, signer=self.feeds.signers["broker"]
        )

    def append(self, topic: str, record: ArrivedRecord) -> None:
        """Append a record to a feed of the shard."""
        self.arrived.append(record)
        self.next[topic] = record.next_offset

    def append_valid(self, message: Diffusion) -> None:
        """Append a valid record."""
        topic = "diffusions.africa"
        origin = Origin(topic, 0, self.next[topic])
        self.valid[origin] = message
        self.append(topic, self.feeds.record(message, origin=origin, next_offset=origin.offset + 1))

    def append_batch(self, topic: str, data: bytes) -> None:
        """Append a record batch, its offsets moved to the feed's end as the broker does."""
        base = self.next[topic]
        for batch in parse(base.to_bytes(8, "big") + data[8:], base, place=topic):
            self.arrived.extend(arrivals(TopicPartition(topic, 0), [batch], base))
            self.next[topic] = batch.next_offset

    def settle(self) -> list[Settled]:
        """Settle what has arrived, and write what would be written."""
        draft = self.memory.draft()
        settled = self._settler.settle_all(self.arrived, draft)
        writes = self._scribe.write(settled)
        self.memory.merge(draft)
        self.arrived = []
        limit = KafkaSettings().record_bytes_max + KafkaSettings().enclosing_bytes_extra
        for target, records in writes.items():
            for record in records:
                assert record.size_bytes <= limit, target
                assert_nothing_planted(record.key, target)
                for name, content in record.headers:
                    assert_nothing_planted(name, target)
                    assert_nothing_planted(content, target)
                if target.topic == ledger(_SHARD.region):
                    assert_nothing_planted(record.value, target)
        return settled

    def check(self, settled: list[Settled]) -> None:
        """Each valid one is given to its two bureaus; each other one is taken or set aside with a reason."""
        for one in settled:
            self.verdicts[one.entry.kind if one.entry.reason is None else one.entry.reason] += 1
            if one.arrival.origin in self.valid:
                assert one.entry.kind is EntryKind.ROUTED, one.rejection
                assert one.delivered == {"ke", "fr"}
            elif one.entry.kind is EntryKind.REJECTED:
                assert one.rejection is not None
                assert one.rejection.detail
                assert_nothing_planted(one.rejection.detail, one.arrival.origin)
                for outcome in one.outcomes:
                    assert_nothing_planted(outcome.model_dump_json(), one.arrival.origin)
        assert all(settled[at].arrival.origin in self.valid for at in (0, -1))


def test_hostile_records_are_rejected_and_valid_ones_between_them_routed() -> None:
    """In volume, without Kafka: every offset is entered, every rejection says why and can be written, none quotes."""
    shelf, serials, mutator = Shelf(), numbers(), Mutator(SEED)
    spoiler = Spoiler(
        mutator, signer=shelf.feeds.signers.__getitem__, installation=INSTALLATION, codec=shelf.feeds.codec
    )
    done = 0
    while done < RECORDS:
        since = monotonic()
        for _ in range(25):
            shelf.append_valid(a_valid(next(serials)))
            if mutator.random.random() < 0.06:
                data, taken = spoiler.batch(bomb=mutator.random.random() < 0.04)
                shelf.append_batch(mutator.random.choice(feeds(_SHARD.region)[:2]), data)
                done += taken
                continue
            hostile = spoiler.next()
            offset = shelf.next.get(hostile.topic, 0)
            if hostile.topic not in shelf.next:
                continue
            origin = Origin(hostile.topic, 0, offset)
            record = ArrivedRecord(
                origin, offset + 1, NOW, hostile.key, hostile.value, _with_bytes(mutator, hostile.headers), False
            )
            shelf.append(hostile.topic, record)
            done += 1
        shelf.append_valid(a_valid(next(serials)))
        shelf.check(shelf.settle())
        assert monotonic() - since < STALLS_SECONDS * 3, f"seed {SEED}, after {done}"
    assert shelf.verdicts[EntryKind.ROUTED] >= len(shelf.valid)
    assert {"undecodable", "signature", "invalid", "misplaced"} <= set(shelf.verdicts), shelf.verdicts


def _with_bytes(
    mutator: Mutator, headers: tuple[tuple[str, bytes | None], ...]
) -> tuple[tuple[str | bytes, bytes | None], ...]:
    """Sometimes one more header, whose name no text has."""
    return (*headers, (b"\xff\xfe", b"1")) if mutator.random.random() < 0.02 else headers


# ---------------------------------------------------------------------------------------------------- real feeds


async def test_hostile_records_on_real_feeds(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """On Kafka: the broker refuses what is no batch, the router rejects the rest, each valid one arrives once."""
    mutator, serials, valid, refused = Mutator(SEED + 1), numbers(), list[Diffusion](), 0
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        spoiler = Spoiler(mutator, signer=world.keys.signer, installation=world.installation, codec=world.link.codec)
        stranger = await Stranger.arrive(world.kafka)
        for number in range(ON_FEEDS):
            if number % 10 == 0:
                valid.append(a_valid(next(serials)))
                await world.publish(valid[-1])
            if number % 20 == 7:
                topic = mutator.random.choice(("notices.africa", "diffusions.africa"))
                refused += await _refused_batch(stranger, topic, *spoiler.batch(bomb=number % 100 == 47))
                continue
            hostile = spoiler.next()
            if hostile.topic in feeds(_SHARD.region):
                await (await world.link.publisher.send(hostile.topic, hostile.partition, hostile.outgoing))
        await stranger.leave()
        shards = [Shard(Region.AFRICA, partition) for partition in (0, 1)]

        await world.route(*shards)

        for bureau in ("ke", "fr"):
            arrived = Counter(await world.messages_in(bureau))
            assert [one.number for one in valid if arrived[str(one.message_id)] != 1] == [], bureau
        entries = await world.read_ledger(shards)
        places = [TopicPartition(name, shard.partition) for shard in shards for name in feeds(shard.region)]
        ends = await world.link.client.end_offsets(places)
        covered = Counter[TopicPartition]()
        for entry in entries:
            place = TopicPartition(entry.value["topic"], entry.value["partition"])
            assert entry.value["from_offset"] == covered[place]
            covered[place] = entry.value["next_offset"]
            assert_nothing_planted(entry.raw, entry.value)
        assert {place: covered[place] for place in places} == {place: ends[place] for place in places}
        rejections = await plain_read(world.kafka, REJECTED)
        assert len(rejections) == sum(entry.value["kind"] == "rejected" for entry in entries) > ON_FEEDS // 3
        assert all(one.value["reason"] != "unknown" and one.value["detail"] for one in rejections)
        assert refused > 0


async def _refused_batch(stranger: Stranger, topic: str, data: bytes, count_: int) -> int:
    """Send a spoilt batch; return 1 if the broker refuses it."""
    try:
        await stranger.send_batch(topic, 0, CopiedBatch(BatchTemplate(data, count_)))
    except KafkaError:
        return 1
    return 0
