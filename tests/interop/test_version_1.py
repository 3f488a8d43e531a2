"""Programs of before: one that was written against version 1 works on while producers write version 2."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from broker.cli.services import tracker
from broker.model.change import ChangeKind
from broker.model.naming import Region, Shard
from consumers.bureau.client import Inbox
from producers.client import Producer
from tests.support.builders import a_silver_diffusion, an_information_diffusion, bureaus
from tests.support.eventually import eventually_async
from tests.support.everybody import check_archive
from tests.support.plain import PlainRecord, read
from tests.support.processes import write_endpoints
from tests.support.programs import noticewire, run_to_end
from tests.support.serving import serving
from tests.support.shared_kafka import SharedKafka
from tests.support.tracking import tracked
from tests.support.world import World, a_world

PROGRAM = Path(__file__).parent / "version_1" / "program.py"
SHARDS = [Shard(Region.AFRICA, partition) for partition in (0, 1)]
TO_BOTH = bureaus("ke", "fr")
FIRST = an_information_diffusion(number="zw-d-2026-000001", circulation=TO_BOTH)
SILVER = a_silver_diffusion(number="zw-d-2026-000002", circulation=TO_BOTH)
LAST = an_information_diffusion(number="zw-d-2026-000003", circulation=TO_BOTH)


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        await asyncio.to_thread(write_endpoints, world)
        await world.change("ke", ChangeKind.READS_SET, author="ke", reads=1)
        yield world


async def run_program(world: World, count: int) -> list[dict[str, str]]:
    """Let the program of before handle so many messages; return what it wrote."""
    directory = await world.link.follower.at_its_end()
    keys = {key.key_id: key.public.hex() for one in directory.bureaus() for key in one.keys}
    listed = world.data / "public_keys.json"
    listed.write_text(json.dumps(keys), encoding="utf-8")
    private = world.data / "keys" / "ke.pem"
    argv = [world.kafka.bootstrap_servers, world.kafka.prefix, "ke", private, listed, world.installation, count]
    code, out, errors = await run_to_end(sys.executable, "-I", PROGRAM, *map(str, argv))
    assert code == 0, errors.decode()
    return [json.loads(line) for line in out.decode().splitlines()]


async def delivered(world: World, bureau: str) -> dict[str, PlainRecord]:
    records = await world.read_inbox(bureau)
    return {one.value["number"]: one for one in records if one.subject in {"notice", "diffusion"}}


async def test_a_program_of_version_1_handles_and_acknowledges(world: World) -> None:
    """It gets what version 1 can say, written for it and vouched for by the broker, and its receipts count."""
    await world.publish(FIRST, SILVER, LAST)
    await world.route(*SHARDS)

    handled = await run_program(world, count=2)

    assert {one["number"] for one in handled} == {FIRST.number, LAST.number}
    assert {one["signer"] for one in handled} == {"broker"}
    async with serving(world, tracker):

        async def accepted() -> bool:
            state = await tracked(world.data / "tracker.db")
            return [row["stage"] for (_, bureau), row in state.items() if bureau == "ke"] == ["accepted"] * 2

        await eventually_async(accepted, seconds=30, what="both receipts count")


async def test_who_reads_version_2_gets_what_the_issuer_signed(world: World) -> None:
    """One bureau gets the issuer's bytes, the other the same in version 1; ledger and archive account for both."""
    await world.publish(FIRST, SILVER)
    await world.route(*SHARDS)

    new, old = await delivered(world, "fr"), await delivered(world, "ke")
    assert set(new) == {FIRST.number, SILVER.number}
    assert set(old) == {FIRST.number}
    issuers, ours = new[FIRST.number], old[FIRST.number]
    assert (issuers.raw[:5].hex(), ours.raw[:5].hex()) == ("00000003f4", "00000003ea")
    assert ours.headers["issuer-digest"].decode() == sha256(issuers.raw).hexdigest()
    assert "issuer-digest" not in issuers.headers
    assert {name: ours.value[name] for name in ("number", "message_id", "texts", "subject")} == {
        name: issuers.value[name] if name != "subject" else without_assets(issuers.value[name])
        for name in ("number", "message_id", "texts", "subject")
    }

    entries = {one.value["number"]: one.value for one in await world.read_ledger(SHARDS)}
    assert entries[FIRST.number]["delivered"] == "fr ke"
    assert entries[FIRST.number]["rewritten"] == [
        {"version": 1, "digest": sha256(ours.raw).digest(), "delivered": "ke"}
    ]
    assert (entries[SILVER.number]["delivered"], entries[SILVER.number]["withheld"]) == ("fr", {"unreadable": "ke"})
    assert entries[SILVER.number]["rewritten"] == []
    await check_archive(world)


def without_assets(subject: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in subject.items() if name != "assets"}


@pytest.mark.parametrize("told", ["by its caller", "by a setting"])
async def test_what_was_written_in_version_1_is_passed_on_as_it_is(
    world: World, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A producer that is told to write version 1 has its own bytes delivered to everybody, and their signature."""
    if told == "by a setting":
        monkeypatch.setenv("NOTICEWIRE_FORMAT_VERSION", "1")
    asked = 1 if told == "by its caller" else None
    async with Producer.connect(data=world.data, outcomes=False, format_version=asked) as producer:
        assert await producer.unreadable_by(SILVER) == {"ke"}
        assert await producer.unreadable_by(FIRST) == frozenset()
        await producer.publish(FIRST)
    await world.route(*SHARDS)

    new, old = await delivered(world, "fr"), await delivered(world, "ke")
    assert old[FIRST.number].raw == new[FIRST.number].raw
    assert old[FIRST.number].headers == new[FIRST.number].headers
    assert old[FIRST.number].raw[:5].hex() == "00000003ea"


async def test_our_own_client_takes_both(world: World) -> None:
    """The bureau client of today proves a copy in version 1 by the broker's key, and acknowledges the bytes it got."""
    await world.publish(FIRST)
    await world.route(*SHARDS)
    async with asyncio.timeout(90), Inbox.connect("ke", data=world.data) as inbox:
        async for delivery in inbox:
            assert delivery.message is not None
            assert delivery.message.number == FIRST.number
            assert delivery.message.texts == FIRST.texts
            break


async def test_the_command_line_says_who_could_not_read_it(world: World) -> None:
    """`publish` names them before it sends; `bureau reads` ends that; what an older version cannot say is refused."""
    file = world.data / "silver.json"
    file.write_text(SILVER.model_dump_json(), encoding="utf-8")

    ended = await noticewire(world.data, "publish", str(file), "--format-version", "1")
    out = ended.out.decode()
    assert ended.code == 1
    assert f"{file}[entry 1]: refused: subject.kind: cannot be said in version 1" in out
    assert await delivered_to_feed(world) == 0

    ended = await noticewire(world.data, "publish", str(file))
    lines = ended.out.decode().splitlines()
    assert ended.code == 0
    assert lines[0] == f"{file}[entry 1]: {SILVER.number}: needs version 2 of the format; not read by: ke"
    assert ": published at diffusions.africa/" in lines[1]

    assert (await noticewire(world.data, "bureau", "ke", "reads", "2")).code == 0
    ended = await noticewire(world.data, "publish", str(file))
    assert ended.code == 0
    assert b"needs version" not in ended.out


async def test_who_resubmits_is_told_as_well(world: World) -> None:
    """What stands in for a rejected record may need more than some recipient reads: said before it is sent."""
    place = await world.write("diffusions.africa", SILVER.number, b"no Avro")
    await world.route(*SHARDS)
    file = world.data / "silver.json"
    file.write_text(SILVER.model_dump_json(), encoding="utf-8")

    ended = await noticewire(
        world.data, "rejected", "resubmit", f"diffusions.africa/{place.partition}/{place.offset}", str(file)
    )

    assert ended.code == 0, ended.errors.decode()
    assert f"{SILVER.number}: needs version 2 of the format; not read by: ke" in ended.errors.decode()


async def delivered_to_feed(world: World) -> int:
    return len(await read(world.kafka, "diffusions.africa"))
