"""The bureau's client against inbox records that were written by hand, on a real Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from broker.clock import SystemClock
from broker.errors import FencedError
from broker.model.naming import inbox
from broker.model.receipt import ActorKind, Stage
from broker.transport.fanout import Outgoing
from broker.transport.inbox import Delivery, DeliveryKind, InboxDecoder
from broker.transport.kafka import TopicPartition
from broker.transport.reader import RawReader
from consumers.bureau.by_hand import acknowledge_by_hand
from consumers.bureau.client import Inbox
from consumers.bureau.desk import Desk
from consumers.bureau.host import BureauHost, Decision, Handler, accept_or_purge
from consumers.bureau.state import BureauState
from tests.support.builders import a_red_notice
from tests.support.eventually import eventually_async
from tests.support.inboxes import put, receipts
from tests.support.plain import read
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

NUMBERS = [f"zw-n-2026-{serial:06d}" for serial in range(1, 7)]


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        yield world


@asynccontextmanager
async def an_inbox(world: World, bureau: str, *, follow: bool = False) -> AsyncIterator[Inbox]:
    """A client that has just been started."""
    state = BureauState.open(world.data / "bureaus" / f"{bureau}.db", bureau=bureau, installation=world.installation)
    partition = TopicPartition(inbox(bureau), 0)
    reader = RawReader(
        world.link.client,
        {partition: state.position},
        committed=True,
        lane=f"test-{id(state):x}",
        max_wait=timedelta(milliseconds=100),
    )
    client = Inbox(
        desk=a_desk(world, bureau, state),
        reader=reader,
        follower=world.link.follower,
        publisher=world.link.publisher,
        follow=follow,
    )
    try:
        async with client:
            yield client
    finally:
        state.close()


def a_desk(world: World, bureau: str, state: BureauState) -> Desk:
    return Desk(
        state=state,
        decoder=InboxDecoder(world.link.codec),
        codec=world.link.codec,
        signer=world.keys.signer(bureau),
        installation=world.installation,
        clock=SystemClock(),
    )


async def test_a_bureau_reads_acknowledges_restarts_and_goes_on(world: World) -> None:
    """Everything is handed out once and acknowledged once, across a clean stop and one in the middle of a message."""
    for number in NUMBERS:
        await put(world, "ke", a_red_notice(number=number))

    seen: list[str] = []
    async with an_inbox(world, "ke") as client:
        async for delivery in client:
            seen.append(delivery.number)
            await client.acknowledge(delivery, Stage.ACCEPTED, actor="duty-7", actor_kind=ActorKind.OFFICER)
            await client.finish(delivery)
            if len(seen) == 2:
                break
    with pytest.raises(RuntimeError, match="the program fell over"):
        async with an_inbox(world, "ke") as client:
            await _fall_over(client, seen)
    async with an_inbox(world, "ke") as client:
        async for delivery in client:
            seen.append(delivery.number)
            assert delivery.message is not None
            assert delivery.kind is DeliveryKind.MESSAGE

    assert seen == [*NUMBERS[:4], *NUMBERS[3:]]  # the fourth was open when the program fell over
    expected = [("ke", number, "received") for number in NUMBERS] + [("ke", n, "accepted") for n in NUMBERS[:2]]
    assert sorted(await receipts(world)) == sorted(expected)
    state = BureauState.look(world.data / "bureaus" / "ke.db")
    assert state is not None
    assert state.position == 6
    assert [holding.number for holding in state.holdings()] == NUMBERS
    state.close()


async def _fall_over(client: Inbox, seen: list[str]) -> None:
    async for delivery in client:
        seen.append(delivery.number)
        if delivery.number == NUMBERS[3]:
            await client.flush()
            msg = "the program fell over"
            raise RuntimeError(msg)


async def test_a_forged_record_is_parked_and_stops_nothing(world: World) -> None:
    """What its issuer did not sign is never handed out and never acknowledged; what follows comes."""
    await put(world, "ke", a_red_notice(number=NUMBERS[0]), signer="fr")
    landing = await world.link.publisher.send(inbox("ke"), 0, Outgoing(b"k", b"random bytes", ()))
    await landing
    await put(world, "ke", a_red_notice(number=NUMBERS[1]))

    async with an_inbox(world, "ke") as client:
        seen = [delivery.number async for delivery in client]
        parked = [(one.offset, one.reason) for one in client.parked()]

    assert seen == [NUMBERS[1]]
    assert parked == [(0, "signature"), (1, "undecodable")]
    assert await receipts(world) == [("ke", NUMBERS[1], "received")]


async def test_receipts_go_out_while_a_handler_works(world: World) -> None:
    """A handler that takes its time does not hold back the receipt that says that the message came."""
    await put(world, "ke", a_red_notice(number=NUMBERS[0]))

    async def received() -> bool:
        return await receipts(world) == [("ke", NUMBERS[0], "received")]

    async with an_inbox(world, "ke") as client:
        async for _ in client:
            await eventually_async(received, seconds=20, what="the receipt is there")
            break


async def test_a_second_client_takes_the_bureau_over(world: World) -> None:
    """The earlier client stops with an error at its next write, and moves nothing."""
    await put(world, "ke", a_red_notice(number=NUMBERS[0]))

    with pytest.raises(FencedError):
        await _be_taken_over(world)
    assert set(await receipts(world)) == {("ke", NUMBERS[0], "received")}


async def _be_taken_over(world: World) -> None:
    async with an_inbox(world, "ke") as earlier:
        async for delivery in earlier:
            async with an_inbox(world, "ke") as later:
                assert [one.number async for one in later] == [delivery.number]
            await earlier.finish(delivery)
            await earlier.flush()


async def test_an_acknowledgement_by_hand_goes_beside_the_client(world: World) -> None:
    """A person acknowledges the latest message of a notice while nothing is taken from the client that runs."""
    await put(world, "ke", a_red_notice(number=NUMBERS[0]))
    async with an_inbox(world, "ke") as client:
        async for delivery in client:
            await client.finish(delivery)
            await client.flush()
            break
        state = BureauState.look(world.data / "bureaus" / "ke.db")
        assert state is not None
        await acknowledge_by_hand(
            state,
            NUMBERS[0],
            Stage.ACTIONED,
            reason=None,
            actor="duty-7",
            actor_kind=ActorKind.OFFICER,
            signer=world.keys.signer("ke"),
            installation=world.installation,
            codec=world.link.codec,
            publisher=world.link.publisher,
            clock=SystemClock(),
        )
        state.close()

    assert await receipts(world) == [("ke", NUMBERS[0], "received"), ("ke", NUMBERS[0], "actioned")]
    (message,) = await world.read_inbox("ke")
    given = await read(world.kafka, "acks.africa")
    assert [one.headers["traceparent"] for one in given] == [message.headers["traceparent"]] * 2


async def test_many_bureaus_share_a_process(world: World) -> None:
    """Each bureau of a host receives, handles and acknowledges its own, an end is purged, and a second run goes on."""
    published = a_red_notice(number=NUMBERS[0])
    cancelled = a_red_notice(number=NUMBERS[0], event="cancelled")
    for bureau in ("zw", "ke", "fr"):
        await put(world, bureau, published)
    await put(world, "fr", cancelled)
    handled: list[tuple[str, str]] = []

    async def handler(delivery: Delivery) -> Sequence[Decision]:
        handled.append((delivery.bureau, delivery.event))
        return await accept_or_purge(delivery)

    await _run_until(world, handler, lambda: len(handled) == 4)
    await put(world, "ke", a_red_notice(number=NUMBERS[1]))
    await _run_until(world, handler, lambda: len(handled) == 5)

    assert sorted(handled) == [
        ("fr", "cancelled"),
        ("fr", "published"),
        ("ke", "published"),
        ("ke", "published"),
        ("zw", "published"),
    ]
    given = sorted(await receipts(world))
    assert given == sorted(
        [(bureau, NUMBERS[0], stage) for bureau in ("zw", "ke", "fr") for stage in ("received", "accepted")]
        + [("fr", NUMBERS[0], stage) for stage in ("received", "purged")]
        + [("ke", NUMBERS[1], stage) for stage in ("received", "accepted")]
    )


async def _run_until(world: World, handler: Handler, done: Callable[[], bool]) -> None:
    stop = asyncio.Event()

    async def is_done() -> bool:
        assert not running.done()
        return done()

    async with BureauHost.connect(
        ("zw", "ke", "fr"),
        handler=handler,
        data=world.data,
        kafka=world.kafka,
        root_public=world.keys.signer("ipsg").public,
    ) as host:
        running = asyncio.create_task(host.run(stop))
        await eventually_async(is_done, seconds=20, what="every delivery is handled")
        stop.set()
        await running
