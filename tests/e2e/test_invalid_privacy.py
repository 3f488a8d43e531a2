"""A subject's data stay where they belong while spoilt messages pass: through the command, and straight on feeds."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from broker.model.naming import Region, Shard, feeds
from broker.model.parsing import parse_message
from broker.observe.listener import HOST, free_row
from broker.transport.kafka import TopicPartition
from broker.transport.publisher import RecordPlace
from noticewire import outbox
from tests.support.builders import a_warning_diffusion, bureaus
from tests.support.eventually import eventually, eventually_async
from tests.support.hostile import Spoiler, bases
from tests.support.kafka import plain_read
from tests.support.mutations import BORN, PASSPORT, PLANTED, SURNAME, Mutator, planted_person
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
        assert await _check_topics(world) > 0  # they were there to be leaked: set aside whole


# ------------------------------------------------------------------------------------- what stands around the services

TAKE = """import json, os, sys
taken = json.loads(sys.stdin.readline())
book = sys.argv[1]
before = os.path.exists(book)
open(book, 'a').write(taken['kind'] + '\\n')
sys.exit(0 if before else 3)
"""
"""A bureau's own program; it does not take the first delivery that it is given, the first time."""


def at_work(world: World, name: str, *words: str, **settings: str) -> ServiceProcess:
    """A command that runs on, at DEBUG; what it logs and prints is in one file."""
    program = ("-m", "broker.cli.main", *words, "--data", str(world.data))
    process = ServiceProcess(
        name, world.data, name, {"NOTICEWIRE_OBSERVE__LOG_LEVEL": "DEBUG", **settings}, None, program
    )
    process.start()
    return process


def ran(world: World, *words: str) -> str:
    """What a command says at DEBUG, on both of its outputs; it has refused something."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NOTICEWIRE_")}
    ended = subprocess.run(
        [sys.executable, "-m", "broker.cli.main", *words, "--data", str(world.data)],
        env=environment | {"NOTICEWIRE_OBSERVE__LOG_LEVEL": "DEBUG"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr


def extracts(folder: Path) -> Path:
    """Public notices with planted data: one that is good, and others that are spoilt where the data are."""
    good = {"entity_id": "2021/12345", "name": SURNAME, "forename": "Alex", "date_of_birth": "1957/11/23"}
    spoilt: list[dict[str, Any]] = [
        {"date_of_birth": BORN},
        {"date_of_birth": f"{BORN}T{PASSPORT}"},
        {"name": [SURNAME]},
        {"sex_id": PASSPORT},
        {"nationalities": [SURNAME]},
        {"arrest_warrants": [{"charge": {SURNAME: PASSPORT}, "issuing_country_id": SURNAME}]},
        {SURNAME: PASSPORT},
        {"entity_id": f"{SURNAME}/{PASSPORT}"},
    ]
    notices = [good, *({**good, "entity_id": f"2021/{at}", **parts} for at, parts in enumerate(spoilt, 20_000))]
    path = folder / "extracts.json"
    path.write_text(json.dumps({"total": len(notices), "query": {}, "_embedded": {"notices": notices}}))
    return path


def fill_outbox(url: str, mutator: Mutator) -> None:
    """Messages with planted data: good ones, one for a bureau that there is not, and rows that somebody has spoilt."""
    engine = create_engine(url)
    outbox.create(engine)
    with Session(engine) as session, session.begin():
        for at in range(12):
            named = a_warning_diffusion(
                number=f"zw-d-2026-{800_000 + at:06d}", circulation=bureaus("xx" if at == 1 else "ke", "fr")
            )
            planted = named.model_dump(mode="json", exclude_defaults=True)
            planted["subject"]["person"] = planted_person()
            planted["texts"][0]["title"] = f"{SURNAME}, {BORN}"
            outbox.add(session, parse_message(planted))
        for row in session.scalars(select(outbox.OutboxMessage).where(outbox.OutboxMessage.id > 6)):
            row.value = mutator.spoil(row.value, [row.value])
    engine.dispose()


def asked(address: str) -> list[str]:
    """Ask the gateway for what a person would not, with planted data wherever a request has room for them."""
    schema = json.dumps({"schema": json.dumps({"type": "record", "name": SURNAME, "fields": [{"name": PASSPORT}]})})
    requests = [
        urllib.request.Request(f"{address}{path}", data, {"content-type": "application/json", "x-of": PASSPORT})  # noqa: S310
        for path, data in (
            (f"/subjects/{SURNAME}/versions/1?of={BORN}", None),
            (f"/schemas/ids/{PASSPORT}?of={BORN}", None),
            (f"/{SURNAME}/{BORN}", None),
            (f"/subjects/notice?of={SURNAME}", schema.encode()),
            ("/compatibility/subjects/notice/versions/latest?verbose=true", schema.encode()),
            ("/subjects/notice/versions", json.dumps({"schema": SURNAME}).encode()),
            ("/subjects/notice/versions", f'{{"{SURNAME}'.encode()),
            ("/subjects/notice/versions", b"\xff" + PASSPORT.encode()),
        )
    ]
    heads, failed = [], 0
    for request in requests:
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - on this machine
                heads.append(str(answer.headers))
        except urllib.error.HTTPError as error:
            heads.append(str(error.headers))
            failed += error.code >= HTTPStatus.INTERNAL_SERVER_ERROR
            error.close()
    assert failed == 0
    return heads


async def test_planted_data_show_up_in_no_command_that_carries_them(
    kafka: SharedKafka, prefix: str, tmp_path: Path
) -> None:
    """Importer, relay, a bureau's system and gateway print, log and count without them, of good and of spoilt input."""
    (tmp_path / "take.py").write_text(TAKE)
    url, folder, book = f"sqlite:///{tmp_path / 'cases.db'}", tmp_path / "system", tmp_path / "book"
    shown, answers = free_row(2), free_row(1)
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        write_endpoints(world)
        (folder / "receipts").mkdir(parents=True)
        (folder / "receipts" / "1.json").write_text(json.dumps({"number": PASSPORT, SURNAME: BORN, "stage": SURNAME}))
        processes = [
            at_work(world, "router", "serve", "router"),
            at_work(world, "gateway", "serve", "gateway", "--observe-port", str(shown), "--port", str(answers)),
            at_work(
                world, "exec", "bureau", "ke", "listen", "--exec", f"{sys.executable} {tmp_path / 'take.py'} {book}"
            ),
            at_work(world, "folder", "bureau", "fr", "listen", "--to-folder", str(folder)),
        ]
        try:
            said = await asyncio.to_thread(
                ran, world, "import", "public-notices", str(extracts(tmp_path)), "--as", "zw", "--to", "ke,fr", "--wait"
            )
            assert "published" in said
            assert "refused" in said
            await asyncio.to_thread(fill_outbox, url, Mutator(SEED))
            relayed = await asyncio.to_thread(ran, world, "relay", "--database", url, "--once")
            assert "xx is not in the directory" in relayed, relayed
            await asyncio.to_thread(fetched, f"http://{HOST}:{shown}/metrics")
            heads = await asyncio.to_thread(asked, f"http://{HOST}:{answers}")
            counted = await asyncio.to_thread(fetched, f"http://{HOST}:{shown}/metrics")

            async def handed_over() -> bool:
                to_ke, to_fr = [
                    len([one for one in await world.read_inbox(bureau) if one.subject == "diffusion"])
                    for bureau in ("ke", "fr")
                ]
                taken = len(book.read_text().splitlines()) - 1 if book.exists() else 0  # the first one twice
                return taken >= to_ke > 0 and len(list(folder.glob("*.json"))) >= to_fr > 0

            await eventually_async(handed_over, seconds=90, what="both bureaus' systems have all of it")
        finally:
            for process in processes:
                await asyncio.to_thread(process.end)

        assert planted_in(said) == []
        assert planted_in(relayed) == []
        assert planted_in(counted) == []
        assert [planted_in(head) for head in heads] == [[]] * len(heads)
        for process in processes:
            log = process.log.read_text(encoding="utf-8", errors="replace")
            assert "Traceback" not in log, log
            assert planted_in(log) == [], process.name
        assert any(planted_in(path.read_bytes()) for path in folder.glob("*.json"))  # they were there to be leaked
        await _check_topics(world)


# ------------------------------------------------------------------------------------------------------ what is written


async def _check_topics(world: World) -> int:
    """Look at every record; return how many set aside have planted data, as they may."""
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
    return rejected_values
