from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from broker.clock import SystemClock
from broker.errors import RefusedError
from broker.members.directory import Directory
from broker.members.fold import NoEffect
from broker.members.seed import Seed, seeds, seeds_of
from broker.model.change import DirectoryChange, Subscription
from broker.model.message import Status
from broker.model.naming import DIRECTORY, Region
from broker.schema.codec import Codec
from broker.settings import KafkaSettings
from broker.transport.changes import IneffectiveChangeError, put, submit
from broker.transport.directory import DirectoryFollower
from broker.transport.founding import found
from broker.transport.headers import signed_headers
from broker.transport.kafka import RawClient
from broker.transport.publisher import Publisher
from broker.trust.keys import KeyRing, generate
from broker.trust.signing import RecordKind
from tests.support.directories import a_change
from tests.support.eventually import eventually_async
from tests.support.kafka import create_topics, plain_read, plain_write
from tests.support.shared_kafka import SharedKafka

CODEC = Codec.load()
EUROPE = Subscription(regions=(Region.EUROPE,), statuses=(Status.ACTUAL,))


@dataclass
class World:
    """An empty topic `directory`, and what a founder needs."""

    kafka: KafkaSettings
    client: RawClient
    publisher: Publisher
    keyring: KeyRing

    def follower(self, root_public: bytes | None = None) -> DirectoryFollower:
        """Somebody who has read nothing yet."""
        return DirectoryFollower(self.client, CODEC, root_public=root_public)

    async def found(self, *codes: str, follower: DirectoryFollower | None = None) -> str:
        """Found the installation with these bureaus, or go on with that."""
        chosen: tuple[Seed, ...] = seeds_of(codes)
        return await found(
            chosen,
            keyring=self.keyring,
            publisher=self.publisher,
            codec=CODEC,
            follower=follower or self.follower(),
            clock=SystemClock(),
        )


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)
    await create_topics(settings, {DIRECTORY: 1})
    client = RawClient(settings, client_id="test")
    publisher = Publisher(settings, client_id="test")
    await client.start()
    await publisher.start()
    yield World(settings, client, publisher, KeyRing(tmp_path / "keys"))
    await publisher.stop()
    await client.stop()


async def test_founding_is_read_back_by_another_follower(world: World) -> None:
    """Whoever reads the topic from its beginning comes to the same installation, bureaus and keys."""
    installation = await world.found("zw", "fr", "iom")

    directory = await world.follower().at_its_end()

    assert directory.installation == installation
    assert [bureau.code for bureau in directory.bureaus()] == ["audit", "broker", "fr", "iom", "ipsg", "zw"]
    for bureau in directory.bureaus():
        signer = world.keyring.signer(bureau.code)
        assert directory.key(signer.key_id) == (bureau.code, bureau.keys[0])
        assert bureau.keys[0].public == signer.public
    assert directory.recipients() == ("fr", "iom", "ipsg", "zw")


async def test_founding_again_writes_nothing_and_goes_on_where_it_stopped(world: World) -> None:
    """Founding is idempotent; with more bureaus it enters those that are missing, under the same installation."""
    first = await world.found("zw")
    written = len(await plain_read(world.kafka, DIRECTORY))

    assert await world.found("zw") == first
    assert len(await plain_read(world.kafka, DIRECTORY)) == written == 4
    assert await world.found("zw", "fr") == first
    assert len(await plain_read(world.kafka, DIRECTORY)) == 5


async def test_another_secretariat_cannot_go_on(world: World, tmp_path: Path) -> None:
    """With another key of `ipsg`, nothing can be entered into an installation that exists."""
    await world.found("zw")
    world.keyring = KeyRing(tmp_path / "others")
    world.keyring.make(["ipsg"])

    with pytest.raises(RefusedError, match="founded with another key"):
        await world.found("zw", "fr")


async def test_a_strangers_founding_is_not_believed_where_the_key_is_pinned(world: World, tmp_path: Path) -> None:
    """A stranger who founds first is passed over by everybody who pins the real key."""
    real = world.keyring
    real.make(["ipsg"])
    root = real.signer("ipsg").public
    world.keyring = KeyRing(tmp_path / "strangers")
    strangers = await world.found("zw")

    world.keyring = real
    installation = await world.found("zw", follower=world.follower(root))

    follower = world.follower(root)
    assert (await follower.at_its_end()).installation == installation != strangers
    assert [one.no_effect for one in follower.log()][:2] == [NoEffect.NOT_THE_ROOT, NoEffect.SIGNATURE]


async def test_garbage_is_without_effect(world: World) -> None:
    """Whatever strangers write between two changes stops nothing, changes nothing, and is on the log as such."""
    installation = await world.found("zw")
    stranger = generate("zw")
    change = a_change("subscriptions_set", "zw", author="zw", base=1, subscriptions=(EUROPE,))
    value = CODEC.encode(change)
    good = signed_headers(change, key_id=stranger.key_id, signature=bytes(64))
    forged = signed_headers(
        change,
        key_id=world.keyring.signer("zw").key_id,
        signature=stranger.sign(RecordKind.DIRECTORY, installation, value),
    )
    other_kind = signed_headers(
        change,
        key_id=world.keyring.signer("zw").key_id,
        signature=world.keyring.signer("zw").sign(RecordKind.MESSAGE, installation, value),
    )
    follower = world.follower()
    before = await follower.at_its_end()

    await plain_write(world.kafka, DIRECTORY, b"", None, b"\x00\x00\x00\x00\x01", b"\xff" * 100, value)
    await plain_write(world.kafka, DIRECTORY, value, headers=tuple(good))
    await plain_write(world.kafka, DIRECTORY, value, headers=tuple(forged))
    await plain_write(world.kafka, DIRECTORY, value, headers=tuple(other_kind))
    await plain_write(world.kafka, DIRECTORY, value[:-1], headers=tuple(forged))
    await plain_write(world.kafka, DIRECTORY, value, headers=(*forged, ("x", b"\xff")))
    after = await follower.at_its_end()

    assert list(after.bureaus()) == list(before.bureaus())
    assert after.offset == before.offset + 10
    assert [one.no_effect for one in follower.log()[4:]] == [NoEffect.UNREADABLE] * 5 + [NoEffect.SIGNATURE] * 3 + [
        NoEffect.UNREADABLE
    ] * 2

    logged = await _submit(world, follower, "zw", change)
    assert logged == after.offset
    assert (await world.follower().at_its_end()).get("zw") == (await follower.at_its_end()).get("zw")


async def test_what_is_part_of_a_transaction_is_without_effect(world: World) -> None:
    """A stranger's open transaction holds nobody up, and a change in one has no effect, signed or not."""
    installation = await world.found("zw")
    signer = world.keyring.signer("zw")
    change = a_change("subscriptions_set", "zw", author="zw", base=1, subscriptions=(EUROPE,))
    value = CODEC.encode(change)
    headers = signed_headers(
        change, key_id=signer.key_id, signature=signer.sign(RecordKind.DIRECTORY, installation, value)
    )
    follower = world.follower()
    producer = AIOKafkaProducer(
        bootstrap_servers=world.kafka.bootstrap_servers, transactional_id=f"{world.kafka.prefix}stranger"
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        await producer.send_and_wait(world.kafka.prefix + DIRECTORY, value, partition=0, headers=list(headers))

        await follower.at_its_end()  # while it is open
        assert follower.log()[-1].no_effect is NoEffect.UNREADABLE

        await producer.commit_transaction()
    finally:
        await producer.stop()
    # Four changes, the record, and the marker that ends its transaction (written after the commit was answered).
    directory = await eventually_async(lambda: _when_at(follower, 6), seconds=10, what="the marker was passed over")
    assert directory is not None
    assert [bureau.version for bureau in directory.bureaus()] == [1] * 4


async def test_a_change_takes_effect_once_and_says_why_not_the_second_time(world: World) -> None:
    """A bureau's change is in everybody's directory when `submit` returns; a stale one raises with its place."""
    await world.found("zw")
    follower = world.follower()
    change = a_change("subscriptions_set", "zw", author="zw", base=1, subscriptions=(EUROPE,))

    offset = await _submit(world, follower, "zw", change)

    bureau = (await world.follower().at_its_end()).get("zw")
    assert bureau is not None
    assert (bureau.subscriptions, bureau.version) == ((EUROPE,), 2)
    stale = a_change("subscriptions_set", "zw", author="zw", base=1)
    with pytest.raises(IneffectiveChangeError, match=rf"directory/0/{offset + 1} has no effect: stale"):
        await _submit(world, follower, "zw", stale)


async def test_any_version_can_be_looked_at(world: World) -> None:
    """As of an offset, the directory is what it was when that record came."""
    await world.found("zw", "fr")
    follower = world.follower()
    await _submit(world, follower, "zw", a_change("subscriptions_set", "zw", author="zw", base=1))
    now = await follower.at_its_end()

    assert follower.as_of(0).installation is None
    assert [bureau.code for bureau in follower.as_of(1).bureaus()] == ["ipsg"]
    before, after = follower.as_of(5).get("zw"), follower.as_of(6).get("zw")
    assert before is not None
    assert before.version == 1
    assert after == now.get("zw")
    assert follower.as_of(6).offset == now.offset == 6


async def test_a_suspension_counts_at_once(world: World) -> None:
    """Asked after a change was acknowledged, a follower that was at the end before includes it."""
    installation = await world.found("zw")
    follower = world.follower()
    await follower.at_its_end()
    change = a_change("status_set", "zw", base=1, status="suspended")

    await (
        await put(
            change,
            installation=installation,
            signer=world.keyring.signer("ipsg"),
            publisher=world.publisher,
            codec=CODEC,
        )
    )

    bureau = (await follower.at_its_end()).get("zw")
    assert bureau is not None
    assert bureau.status.value == "suspended"


async def test_the_whole_directory_is_founded_and_read(world: World) -> None:
    """All 228, with their keys, are entered, and a newcomer reads them."""
    await found(
        seeds(),
        keyring=world.keyring,
        publisher=world.publisher,
        codec=CODEC,
        follower=world.follower(),
        clock=SystemClock(),
    )

    assert len(await world.follower().at_its_end()) == 228


async def _when_at(follower: DirectoryFollower, offset: int) -> Directory | None:
    directory = await follower.at_its_end()
    return directory if directory.offset == offset else None


async def _submit(world: World, follower: DirectoryFollower, author: str, change: DirectoryChange) -> int:
    logged = await submit(
        change, signer=world.keyring.signer(author), publisher=world.publisher, codec=CODEC, follower=follower
    )
    return logged.offset
