"""The machine's clock jumps by an hour, both ways, while messages pass: it is told of, and nothing else changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import delete, insert

from broker.cli.audit import verify_history
from broker.cli.context import load_context
from broker.cli.services import audit, observing, router, tracker
from broker.clock import Clock, ManualClock, SystemClock
from broker.errors import UnavailableError
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from consumers.bureau.host import BureauHost
from producers.client import Producer
from producers.outbox import OutboxLease
from producers.relay import LEASE, Relay, Relayed, outbox_engine
from tests.support.accounts import all_acknowledged, check_inboxes, check_ledger, covered, feed_ends
from tests.support.alerting import Scrapes
from tests.support.clocks import SetClock
from tests.support.eventually import eventually_async
from tests.support.processes import write_endpoints
from tests.support.serving import serving
from tests.support.shared_kafka import SharedKafka
from tests.support.tracking import folded, tracked
from tests.support.traffic import OWNERS, Sent, story
from tests.support.world import EIGHT, World, a_world

HOUR = timedelta(hours=1)
JUMPS = (HOUR, -2 * HOUR, HOUR)
"""An hour ahead, an hour behind, and right again."""


@pytest.mark.timeout(300)
@pytest.mark.xdist_group("faults")
async def test_a_clock_that_jumps(
    kafka: SharedKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever way it jumps in the midst of messages: alerts, each message once, a history that verifies."""
    monkeypatch.setattr(observing, "SAMPLE", timedelta(milliseconds=200))
    clock = SetClock(monkeypatch)
    sent, ahead = Sent(), timedelta(0)
    stories = [story(owner, 1) for owner in OWNERS]
    steps = [one for step in zip(*stories, strict=True) for one in step]
    share = len(steps) // (len(JUMPS) + 1)
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        write_endpoints(world)
        async with (
            serving(world, router) as routing,
            serving(world, tracker) as tracking,
            serving(world, audit) as archiving,
            _bureaus(world),
            Producer.connect(data=world.data, outcomes=False, journal=tmp_path / "journal.db") as producer,
        ):
            addresses = {"router": routing.address, "tracker": tracking.address, "audit": archiving.address}

            async def publish(some: list[tuple[Notice | Diffusion, set[str]]]) -> None:
                for message, to in some:
                    dated = message.model_copy(update={"issued_at": clock.now()})  # as an issuer on this machine would
                    await producer.accept(dated)
                    sent.note(dated, to=to)

            async def calm() -> None:
                assert await producer.drain(within=timedelta(seconds=120))
                await eventually_async(lambda: _entered(world), seconds=60, what="every feed offset is entered")
                await all_acknowledged(world, world.data / "tracker.db")

            await publish(steps[:share])
            await calm()
            for at, jump in enumerate(JUMPS, start=1):
                scrapes = Scrapes()
                await asyncio.to_thread(scrapes.scrape, time.monotonic(), **addresses)
                part = steps[at * share :] if at == len(JUMPS) else steps[at * share : (at + 1) * share]
                await publish(part[: share // 2])
                clock.jump(jump)
                ahead += jump
                await publish(part[share // 2 :])
                await calm()
                await _fires(scrapes, addresses, skewed=bool(ahead))
                await _verified(world)
                assert _waited(scrapes) < HOUR.total_seconds() / 2  # no jump of the clock counts as a message's wait

        await check_inboxes(world, sent)
        kinds = await check_ledger(world)
        assert (kinds["routed"], kinds["rejected"]) == (len(steps), 0)
        assert await tracked(world.data / "tracker.db") == await folded(world.kafka, [*EIGHT, "ipsg"])


@contextlib.asynccontextmanager
async def _bureaus(world: World) -> AsyncIterator[None]:
    stop = asyncio.Event()
    root_public = world.keys.signer("ipsg").public
    async with BureauHost.connect(data=world.data, kafka=world.kafka, root_public=root_public) as host:
        hosting = asyncio.create_task(host.run(stop))
        try:
            yield
        finally:
            stop.set()
            await hosting


async def _entered(world: World) -> bool:
    reached, ends = await covered(world), await feed_ends(world)
    return all(reached.get(feed, 0) == end for feed, end in ends.items())


async def _fires(scrapes: Scrapes, addresses: dict[str, str], *, skewed: bool) -> None:
    """Wait until each service tells of the jump; and the router of the skew, for as long as there is one."""

    async def fires() -> bool:
        await asyncio.to_thread(scrapes.scrape, time.monotonic(), **addresses)
        firing = scrapes.firing()
        jumped = {one["instance"] for one in firing.get("NoticewireClockJumped", ())}
        return jumped == {*addresses} and ("NoticewireClockSkewed" in firing) is skewed

    await eventually_async(fires, seconds=30, what=f"the jump is told of, and the clock is skewed: {skewed}")


def _waited(scrapes: Scrapes) -> float:
    return sum(scrapes.taken[-1][1]["noticewire_publish_to_inbox_seconds_sum"].values())


async def _verified(world: World) -> None:
    """Verify the history as `audit verify` does, with the clock as it is now."""
    context, public = load_context(world.data), world.keys.signer("audit").public

    async def whole() -> bool:
        report = await verify_history(context, public=public)
        return report.holds and not report.behind and not report.unsettled

    await eventually_async(whole, seconds=30, what="all of it is archived, and verifies")


async def test_a_lease_from_an_hour_ahead(tmp_path: Path) -> None:
    """A relay that died while the clock was an hour ahead keeps nobody waiting for that hour; one that lives does."""
    path = tmp_path / "cases.db"
    path.touch()
    nobody = cast("Producer", None)  # nothing waits to be published
    async with outbox_engine(f"sqlite:///{path}") as engine:

        async def taken(clock: Clock) -> None:
            async with engine.begin() as connection:
                await connection.execute(delete(OutboxLease))
                until = clock.now() + LEASE
                await connection.execute(insert(OutboxLease).values(name="relay", holder="another", until=until))

        await taken(SystemClock())
        with pytest.raises(UnavailableError, match="another relay works"):
            await Relay(engine=engine, producer=nobody).once()
        await taken(ManualClock(SystemClock().now() + HOUR))
        assert await Relay(engine=engine, producer=nobody).once() == Relayed()
