"""`noticewire publish` and `noticewire bureau`, as a person runs them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner

from broker.cli import bureau, publish
from broker.cli.context import Endpoints, KafkaEndpoint
from broker.errors import InvalidFieldError
from broker.model.naming import inbox
from broker.transport.fanout import Outgoing
from tests.support.builders import a_red_notice, bureaus
from tests.support.eventually import eventually_async
from tests.support.plain import read
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        endpoint = KafkaEndpoint(bootstrap_servers=world.kafka.bootstrap_servers, prefix=world.kafka.prefix)
        await asyncio.to_thread(Endpoints(kafka=endpoint).write, world.data)
        yield world


async def run(world: World, *arguments: str) -> tuple[int, str]:
    """Exit code and standard output of a command; it has a loop of its own, so it runs in a thread."""
    app = typer.Typer(pretty_exceptions_enable=False)
    publish.register(app)
    bureau.register(app)
    with capture_logs():  # the program writes them to standard error, and errors only
        result = await asyncio.to_thread(CliRunner().invoke, app, [*arguments, "--data", str(world.data)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


async def test_files_are_published_received_and_acted_on(world: World, tmp_path: Path) -> None:
    """Refusals name place, field and rule and stop nothing; a bureau then listens, acts, lists, shows, subscribes."""
    good = a_red_notice(number="zw-n-2026-000001", event="requested")
    bad = a_red_notice(number="zw-n-2026-000002", event="requested", circulation=bureaus("xx"))
    lines = [good.model_dump_json(), "{", bad.model_dump_json()]
    (tmp_path / "cases.jsonl").write_text("\n".join(lines), encoding="utf-8")

    code, out = await run(world, "publish", str(tmp_path / "cases.jsonl"))
    assert code == 1
    assert "cases.jsonl:1: zw-n-2026-000001 requested by zw: published at notices.africa/" in out
    assert "cases.jsonl:2: refused: entry: is not JSON at line 2" in out
    assert "cases.jsonl:3: refused: circulation.bureaus[0]: xx is not in the directory. Rule: " in out
    assert out.splitlines()[-1] == "1 published, 2 refused"

    (tmp_path / "empty.jsonl").touch()
    code, out = await run(world, "publish", str(tmp_path / "empty.jsonl"))
    assert (code, out) == (0, f"{tmp_path / 'empty.jsonl'}: nothing in it\nnothing to publish\n")
    (tmp_path / "again.json").write_text(good.model_dump_json(), encoding="utf-8")
    code, out = await run(world, "publish", str(tmp_path / "again.json"), "--json")
    assert code == 0
    assert json.loads(out)["summary"] == {"published": 1}
    assert len(await read(world.kafka, "notices.africa")) == 2

    await world.route(good.shard)
    code, out = await run(world, "bureau", "ipsg", "listen", "--accept", "--count", "1")
    assert code == 0
    assert "zw-n-2026-000001 red notice requested (revision 0) by zw" in out
    code, out = await run(world, "bureau", "ipsg", "ack", "zw-n-2026-000001", "--stage", "actioned", "--officer", "d-7")
    assert code == 0
    stages = [r["stage"] for one in await read(world.kafka, "acks.africa") for r in one.value["receipts"]]
    assert stages == ["received", "accepted", "actioned"]
    with pytest.raises(InvalidFieldError, match="in force, and its copy is held"):
        await run(world, "bureau", "ipsg", "ack", "zw-n-2026-000001", "--stage", "purged")
    given = [r["stage"] for one in await read(world.kafka, "acks.africa") for r in one.value["receipts"]]
    assert given == stages
    code, out = await run(world, "bureau", "ipsg", "list", "--json")
    assert [(one["number"], one["held"]) for one in json.loads(out)] == [("zw-n-2026-000001", True)]
    code, out = await run(world, "bureau", "ipsg", "show", "zw-n-2026-000001")
    assert json.loads(out)["message"]["number"] == "zw-n-2026-000001"

    code, out = await run(world, "bureau", "zw", "subscribe", "--region", "africa", "--type", "red,yellow")
    assert code == 0
    assert out.startswith("zw: in effect, version 2")
    subscription = (await world.link.follower.at_its_end()).get("zw")
    assert subscription is not None
    assert subscription.subscriptions[0].types == ("red", "yellow")


async def test_publish_waits_for_the_routers_word(world: World, tmp_path: Path) -> None:
    """`--wait` tells what came of each message, and fails if one was rejected; `--json` has the whole outcome."""
    good = a_red_notice(number="zw-n-2026-000001", event="requested")
    early = a_red_notice(number="zw-n-2026-000002", event="suspended")
    (tmp_path / "cases.jsonl").write_text(f"{good.model_dump_json()}\n{early.model_dump_json()}\n", encoding="utf-8")

    waiting = asyncio.create_task(run(world, "publish", str(tmp_path / "cases.jsonl"), "--wait", "--json"))

    async def lie_on_the_feed() -> bool:
        assert not waiting.done(), waiting.result()
        return len(await read(world.kafka, "notices.africa")) == 2

    await eventually_async(lie_on_the_feed, seconds=60, what="both lie on the feed")
    await world.route(good.shard, early.shard)
    code, out = await waiting

    said = json.loads(out)
    assert code == 1
    assert said["summary"] == {"published": 2, "routed": 1, "rejected": 1}
    outcomes = {one["number"]: one["outcome"] for one in said["messages"]}
    assert (outcomes[good.number]["verdict"], outcomes[good.number]["given"]) == ("routed", 1)
    assert (outcomes[early.number]["verdict"], outcomes[early.number]["reason"]) == ("rejected", "no_beginning")


async def test_what_was_parked_is_listed(world: World) -> None:
    """A record of the inbox that is none of ours is not shown by `listen`, and named by `parked` with the reason."""
    await (await world.link.publisher.send(inbox("ipsg"), 0, Outgoing(b"k", b"random bytes", ())))
    notice = a_red_notice(number="zw-n-2026-000001", event="requested")
    await world.publish(notice)
    await world.route(notice.shard)

    code, out = await run(world, "bureau", "ipsg", "listen", "--count", "1")
    assert (code, notice.number in out) == (0, True)
    code, out = await run(world, "bureau", "ipsg", "parked")
    first, last = out.splitlines()
    assert first.startswith("inbox.ipsg/0/0 of ")
    assert "undecodable" in first
    assert (code, last) == (0, "1 parked")
    code, out = await run(world, "bureau", "ipsg", "parked", "--json")
    assert [(one["offset"], one["reason"], one["size_bytes"]) for one in json.loads(out)] == [(0, "undecodable", 12)]
