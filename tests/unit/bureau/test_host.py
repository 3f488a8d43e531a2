"""Many bureaus in one process: what becomes of a poll whose handler fails."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from broker.clock import ManualClock
from broker.errors import UnavailableError
from broker.members.directory import Directory
from broker.model.naming import inbox
from broker.model.receipt import Receipts
from broker.schema.codec import Codec
from broker.transport.inbox import Delivery, InboxDecoder
from broker.transport.kafka import TopicPartition
from broker.transport.reader import RawBatch
from consumers.bureau import host as hosting
from consumers.bureau.desk import Desk
from consumers.bureau.host import BureauHost, Decision, Handler, accept_or_purge
from consumers.bureau.state import BureauState
from tests.support.inbox_world import INSTALLATION, NOW, InboxWorld, a_batch, a_notice

CODEC = Codec.load()
BUREAUS = ("fr", "gh")


class _Cluster:
    """Inboxes by hand: a reader, a follower and a publisher at once."""

    def __init__(self, world: InboxWorld) -> None:
        self.world = world
        self.positions: dict[TopicPartition, int] = {TopicPartition(inbox(bureau), 0): 0 for bureau in BUREAUS}
        self.failures: deque[Exception] = deque()
        self.receipts: list[tuple[str, str, str]] = []
        records = [world.record(a_notice(number=f"zw-n-2026-{serial:06d}"), offset=serial) for serial in range(3)]
        self.log = [a_batch(record) for record in records]

    async def poll(self) -> list[tuple[TopicPartition, list[RawBatch]]]:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.popleft()
        left = {partition: self.log[at:] for partition, at in self.positions.items()}
        return [(partition, batches) for partition, batches in left.items() if batches]

    def advance(self, partition: TopicPartition, next_offset: int) -> None:
        self.positions[partition] = next_offset

    assign = advance

    async def at_its_end(self) -> Directory:
        return self.world.directory

    async def publish(self, _topic: str, *, value: bytes, **_: Any) -> None:
        given = CODEC.decode(value, Receipts)
        self.receipts += [(given.bureau, receipt.number, receipt.stage) for receipt in given.receipts]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> _Cluster:
    cluster = _Cluster(InboxWorld(CODEC))
    monkeypatch.setattr(hosting, "RawReader", lambda *_, **__: cluster)
    return cluster


MakeHost = Callable[[Handler], BureauHost]


@pytest.fixture
def make_host(cluster: _Cluster, tmp_path: Path) -> Iterator[MakeHost]:
    states: list[BureauState] = []

    def make(handler: Handler) -> BureauHost:
        desks = []
        for bureau in BUREAUS:
            state = BureauState.open(tmp_path / f"{bureau}.db", bureau=bureau, installation=INSTALLATION)
            states.append(state)
            desks.append(
                Desk(
                    state=state,
                    decoder=InboxDecoder(CODEC),
                    codec=CODEC,
                    signer=cluster.world.signers[bureau],
                    installation=INSTALLATION,
                    clock=ManualClock(NOW),
                )
            )
        anything: Any = cluster
        return BureauHost(desks=desks, client=anything, follower=anything, publisher=anything, handler=handler)

    yield make
    for state in states:
        state.close()


class _Handler:
    """Fails once, at the last delivery of a poll."""

    def __init__(self, error: BaseException) -> None:
        self.error: BaseException | None = error
        self.handled: list[tuple[str, str]] = []

    async def __call__(self, delivery: Delivery) -> Sequence[Decision]:
        if self.error is not None and (delivery.bureau, delivery.offset) == ("gh", 2):
            error, self.error = self.error, None
            raise error
        self.handled.append((delivery.bureau, delivery.number))
        return await accept_or_purge(delivery)


NUMBERS = [f"zw-n-2026-{serial:06d}" for serial in range(3)]
EVERYTHING = sorted((bureau, number) for bureau in BUREAUS for number in NUMBERS)
RECEIPTS = sorted((*what, stage) for what in EVERYTHING for stage in ("received", "accepted"))


@pytest.mark.parametrize("again", ["the same host", "a restarted one"])
@pytest.mark.parametrize("error", [UnavailableError("its database is away"), ValueError("a bug")])
async def test_a_handler_that_fails_is_handed_the_whole_poll_again(
    make_host: MakeHost, cluster: _Cluster, error: Exception, again: str
) -> None:
    """Its error ends `run`, nothing of that poll was told to anybody, and all of it comes again, and counts once."""
    handler = _Handler(error)
    host = make_host(handler)
    with pytest.raises(type(error), match=str(error)):
        await asyncio.wait_for(host.run(asyncio.Event()), timeout=90)
    assert (cluster.receipts, host.handled) == ([], 0)

    handler.handled.clear()
    if again == "a restarted one":
        host = make_host(handler)
    assert await host.poll() == len(EVERYTHING)

    assert sorted(handler.handled) == EVERYTHING
    assert sorted(cluster.receipts) == RECEIPTS
    assert await host.poll() == 0


async def test_kafka_that_is_away_ends_nothing(
    make_host: MakeHost, cluster: _Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`run` goes on once the inboxes can be read again."""
    monkeypatch.setattr(hosting, "_PAUSE_SECONDS", 0.001)
    cluster.failures.append(UnavailableError("no broker"))
    stop = asyncio.Event()

    async def handler(delivery: Delivery) -> Sequence[Decision]:
        if (delivery.bureau, delivery.offset) == ("gh", 2):
            stop.set()
        return await accept_or_purge(delivery)

    host = make_host(handler)
    await asyncio.wait_for(host.run(stop), timeout=90)

    assert sorted(cluster.receipts) == RECEIPTS
