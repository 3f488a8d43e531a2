"""A simulation at full speed on a real Kafka: routed, answered as planned, and the same again by its seed."""

from __future__ import annotations

import asyncio
import contextlib
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.cli.context import load_context
from broker.cli.simulating import Options, SimulationRun
from broker.errors import MisuseError
from broker.model.message import Event
from broker.model.naming import SHARDS, Region, acks, feed
from broker.model.naming import MessageClass as Class
from broker.model.receipt import Stage
from broker.trust.signing import RecordKind, verify
from producers.simulator.answers import Answers
from producers.simulator.arrivals import Rate
from tests.support.plain import read
from tests.support.processes import write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.simulations import START
from tests.support.world import World, a_world

COUNT = 200
SEED = 7
OPTIONS = Options(seed=SEED, start=START, rate=Rate(None), count=COUNT)

Given = tuple[str, str, str, str, str | None]
"""Bureau, number, message id, stage, reason."""


@contextlib.asynccontextmanager
async def routing(world: World) -> AsyncIterator[None]:
    """Route whatever comes, for as long as the block lasts."""

    async def route() -> None:
        while True:
            await world.route(*SHARDS)

    task = asyncio.create_task(route())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def simulated(world: World) -> SimulationRun:
    """Run a simulation to its end."""
    write_endpoints(world)
    run = SimulationRun(load_context(world.data), OPTIONS)
    async with asyncio.timeout(120), routing(world):
        await run.run(asyncio.Event())
    return run


async def receipts(world: World) -> Counter[Given]:
    """Every receipt on Kafka, signatures held, read by a plain consumer."""
    given: Counter[Given] = Counter()
    for record in await read(world.kafka, *map(acks, Region)):
        bureau = record.value["bureau"]
        signature = b64decode(record.headers["signature"])
        public = world.keys.signer(bureau).public
        assert verify(public, signature, RecordKind.RECEIPTS, world.installation, record.raw)
        for one in record.value["receipts"]:
            given[bureau, one["number"], str(one["message_id"]), one["stage"], one["reason"]] += 1
    return given


async def expected(world: World) -> Counter[Given]:
    """What the plan says that each bureau answers to what the ledger says that it was given."""
    answers = Answers(seed=SEED, is_hasty=True)
    due: Counter[Given] = Counter()
    for record in await world.read_ledger(SHARDS):
        entry = record.value
        assert entry["kind"] == "routed", entry
        delivered, ended = entry["delivered"].split(), entry["ended"].split()
        for bureau in [*delivered, *ended]:
            is_end = bureau not in delivered
            # A notice of end has an id of its own; it is compared by what it is about.
            message_id = "end" if is_end else str(entry["message_id"])
            due[bureau, entry["number"], message_id, Stage.RECEIVED, None] += 1
            replies = answers.replies(
                bureau, entry["number"], Event(entry["event"]), entry["revision"], is_notice_of_end=is_end
            )
            for reply in replies:
                if reply.stage is not None:
                    due[bureau, entry["number"], message_id, reply.stage, reply.reason] += 1
    return due


async def feed_values(world: World) -> dict[str, list[bytes]]:
    """The values on all feeds, in order for each notice."""
    values: dict[str, list[bytes]] = {}
    for record in await read(world.kafka, *(feed(one, region) for one in Class for region in Region)):
        values.setdefault(record.value["number"], []).append(record.raw)
    return values


def blurred(given: Counter[Given], known: set[str]) -> Counter[Given]:
    """Receipts, with the ids of what is no message of an issuer blurred."""
    blurry: Counter[Given] = Counter()
    for (bureau, number, message_id, stage, reason), count in given.items():
        blurry[bureau, number, message_id if message_id in known else "end", stage, reason] += count
    return blurry


async def test_everything_is_answered_as_planned_and_the_same_again(
    kafka: SharedKafka, prefix: str, tmp_path: Path
) -> None:
    """200 messages at full speed: none is rejected, each bureau acknowledges or declines as planned; twice the same."""
    came = []
    for name in ("first", "second"):
        async with a_world(kafka.bootstrap_servers, f"{prefix}{name}-", tmp_path / name) as world:
            run = await simulated(world)
            values = await feed_values(world)
            ids = {key[2] for key in await expected(world)}
            given = blurred(await receipts(world), ids)

            assert given == await expected(world)
            assert run.published.total() == sum(map(len, values.values())) == COUNT
            assert run.outcomes == {"routed": COUNT}
            assert not run.failed
            summary = run.summary()
            assert summary["without_outcome"] == summary["open"] == 0
            assert summary["declined"]
            assert {stage for _, _, _, stage, _ in given} == {
                "received",
                "accepted",
                "actioned",
                "declined",
                "purged",
            }
            came.append((values, given, {key: summary[key] for key in ("events", "answers", "declined", "failures")}))

    assert came[0] == came[1]


async def test_the_same_run_again_is_repeats_and_another_begins_after_it(
    kafka: SharedKafka, prefix: str, tmp_path: Path
) -> None:
    """The same seed and start on the same folder publish the same bytes: repeats, given to nobody a second time."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "fr")) as world:
        write_endpoints(world)
        outcomes = []
        for start in (START, START, START.replace(hour=13)):
            options = Options(seed=SEED, start=start, rate=Rate(None), count=20)
            run = SimulationRun(load_context(world.data), options)
            async with asyncio.timeout(120), routing(world):
                await run.run(asyncio.Event())
            outcomes.append(dict(run.outcomes))

        assert outcomes == [{"routed": 20}, {"repeat": 20}, {"routed": 20}]


async def test_a_missing_key_is_said_before_anything_is_published(
    kafka: SharedKafka, prefix: str, tmp_path: Path
) -> None:
    """Without everybody's keys it refuses, names whose is missing and where, and has written nothing."""
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "fr")) as world:
        write_endpoints(world)
        (world.data / "keys" / "fr.pem").unlink()

        with pytest.raises(MisuseError, match=r"no private key of fr in .*keys: a simulator signs as everybody"):
            await SimulationRun(load_context(world.data), OPTIONS).run(asyncio.Event())
        assert await feed_values(world) == {}
