"""A subject's data stay where they belong while spoilt messages pass: through the command, and straight on feeds."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from broker.model.naming import Region, Shard, feeds
from broker.observe.listener import HOST, free_row
from broker.transport.kafka import TopicPartition
from broker.transport.publisher import RecordPlace
from tests.support.builders import a_warning_diffusion, bureaus
from tests.support.eventually import eventually, eventually_async
from tests.support.hostile import Spoiler, bases
from tests.support.kafka import plain_read
from tests.support.mutations import PLANTED, Mutator, planted_person
from tests.support.processes import ServiceProcess, write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SPOILT = 150
SEED = 7
SHARDS = [Shard(Region.AFRICA, partition) for partition in (0, 1)]
KEPT_FOR_EVER = ("ledger.", "acks.", "commands.", "alerts", "directory")


def planted_in(text: bytes | str) -> list[str]:
    """Which of the planted words stand in it, whatever their case."""
    said = (text if isinstance(text, str) else text.decode("utf-8", "replace")).lower()
    return [word for word in PLANTED if word.lower() in said]


@asynccontextmanager
async def running(world: World) -> AsyncIterator[list[tuple[ServiceProcess, str]]]:
    """All services at DEBUG, each with the address of its metrics."""
    first = free_row(3)
    services = []
    for at, service in enumerate(("router", "tracker", "audit")):
        settings = {"NOTICEWIRE_OBSERVE__LOG_LEVEL": "DEBUG", "NOTICEWIRE_OBSERVE__PORT": str(first + at)}
        process = ServiceProcess(service, world.data, service, settings)
        process.start()
        services.append((process, f"http://{HOST}:{first + at}/metrics"))
    try:
        yield services
    finally:
        for process, _ in services:
            await asyncio.to_thread(process.stop)


def fetched(address: str) -> bytes:
    """What stands at an address of ours, once somebody answers there."""

    def answered() -> bytes:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - on this machine
                return bytes(answer.read())
        except OSError:
            return b""

    return eventually(answered, seconds=60, what=f"{address} answers")


def published(world: World, file: Path) -> str:
    """What the command says of a file, at DEBUG, on both of its outputs."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NOTICEWIRE_")}
    ended = subprocess.run(
        [sys.executable, "-m", "broker.cli.main", "publish", file, "--wait", "--data", world.data],
        env=environment | {"NOTICEWIRE_OBSERVE__LOG_LEVEL": "DEBUG"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert "published" in ended.stdout, ended.stderr
    assert "refused" in ended.stdout
    return ended.stdout + ended.stderr


def hostile_file(folder: Path, mutator: Mutator) -> Path:
    """Spoilt entries with planted data, and valid ones between them."""
    originals = [json.dumps(content).encode() for content in bases()]
    lines = []
    for number in range(60):
        valid = a_warning_diffusion(number=f"zw-d-2026-{700_000 + number:06d}", circulation=bureaus("ke", "fr"))
        content = valid.model_dump(mode="json", exclude_defaults=True)
        content["subject"]["person"] = planted_person()
        lines.append(json.dumps(content).encode())
        lines.append(mutator.text(mutator.random.choice(bases()), originals).replace(b"\n", b" "))
    path = folder / "hostile.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


async def entered(world: World) -> bool:
    """Whether every offset of the feeds is in the ledger."""
    places = [TopicPartition(name, shard.partition) for shard in SHARDS for name in feeds(shard.region)]
    ends = await world.link.client.end_offsets(places)
    reached = dict.fromkeys(places, 0)
    for entry in await world.read_ledger(SHARDS):
        reached[TopicPartition(entry.value["topic"], entry.value["partition"])] = entry.value["next_offset"]
    return all(reached[place] == ends[place] for place in places)


async def test_planted_data_show_up_nowhere(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """Names, passport numbers and dates of birth are in no log at DEBUG, metric, header, key, error, or ledger."""
    mutator = Mutator(SEED)
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        write_endpoints(world)
        async with running(world) as services:
            spoiler = Spoiler(
                mutator, signer=world.keys.signer, installation=world.installation, codec=world.link.codec
            )
            sent: list[asyncio.Future[RecordPlace]] = []
            for number in range(SPOILT):
                one = spoiler.next()
                if one.topic in feeds(Region.AFRICA):
                    sent.append(await world.link.publisher.send(one.topic, one.partition, one.outgoing))
                if number % 10 == 0:
                    await world.write("acks.africa", "zw-n-2026-000001", one.value)
            await asyncio.gather(*sent)
            said = await asyncio.to_thread(published, world, hostile_file(tmp_path, mutator))
            await eventually_async(lambda: entered(world), seconds=60, what="everything on the feeds is entered")
            metrics = {process.name: await asyncio.to_thread(fetched, address) for process, address in services}

        assert planted_in(said) == []
        for name, shown in metrics.items():
            assert b"noticewire_" in shown
            assert planted_in(shown) == [], name
        for service in ("router", "tracker", "audit"):
            log = (world.data / "logs" / f"{service}.log").read_bytes()
            assert planted_in(log) == [], service
        await _check_topics(world)


async def _check_topics(world: World) -> None:
    names = ["ledger.africa", "rejected", "directory", "inbox.zw", "inbox.ke", "inbox.fr", "alerts"]
    rejected_values = 0
    for name in names:
        for record in await plain_read(world.kafka, name):
            where = f"{name}/{record.partition}/{record.offset}"
            headers = b"\n".join(part for key, value in record.headers for part in (key.encode(), value or b""))
            assert planted_in(record.key or b"") == [], where
            assert planted_in(headers) == [], where
            if name.startswith(KEPT_FOR_EVER):
                assert planted_in(record.value or b"") == [], where
            rejected_values += name == "rejected" and bool(planted_in(record.value or b""))
    assert rejected_values > 0  # they were there to be leaked: set aside whole
