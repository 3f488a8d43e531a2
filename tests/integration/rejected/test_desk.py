"""`noticewire rejected`, as a person runs it: list, show, mend, send again; the ledger knows what mended what."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid5

import pytest
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner

from broker.cli import rejected
from broker.errors import MisuseError, RefusedError
from broker.model.naming import Origin
from broker.model.notice import Notice
from broker.transport.fanout import Outgoing
from tests.support.builders import a_person, a_red_notice, changed, regions
from tests.support.plain import PlainRecord, read
from tests.support.processes import write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

PLANTED = "PLANTEDNAME"
NUMBER = "zw-n-2026-000001"

# Written here once more, so that a stranger's program could find the link in the same way.
NAMESPACE = UUID("6f0c3b0e-7a0e-5d4e-9a52-0f1f6d1f7a11")


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "fr")) as world:
        await asyncio.to_thread(write_endpoints, world)
        yield world


async def run(world: World, *arguments: str) -> tuple[int, str]:
    """Exit code and standard output of a command; it has a loop of its own, so it runs in a thread."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    rejected.register(app)
    words = ["rejected", *arguments, "--data", str(world.data)]
    with capture_logs():
        result = await asyncio.to_thread(CliRunner().invoke, app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def a_request() -> Notice:
    """A request that a planted person is wanted in."""
    subject = a_person("wanted", name={"family": PLANTED, "forename": "Alex"})
    return a_red_notice(number=NUMBER, event="requested", circulation=regions("europe"), subject=subject)


async def reject_one(world: World) -> Origin:
    """Have a request without a warrant rejected, which the door would have refused."""
    [origin] = await world.publish(changed(a_request(), "judicial.warrants", []))
    await world.route(a_request().shard)
    return origin


async def ledger_of(world: World, origin: str) -> PlainRecord:
    for one in await world.read_ledger([a_request().shard]):
        if f"{one.value['topic']}/{one.value['partition']}/{one.value['from_offset']}" == origin:
            return one
    raise AssertionError(origin)


async def test_a_rejected_message_is_mended_and_the_link_is_kept(world: World, tmp_path: Path) -> None:
    """Listed, shown, mended from a file and routed; id, header, ledger and list all name what was mended."""
    origin = str(await reject_one(world))

    code, out = await run(world, "list", "--json")
    [row] = json.loads(out)["rejected"]
    assert code == 0
    assert (row["origin"], row["reason"], row["number"], row["issuer"]) == (origin, "invalid", NUMBER, "zw")
    assert row["mended_by"] == []
    assert "judicial.warrants" in row["detail"]

    code, out = await run(world, "show", origin, "--with-value", "--message")
    content = json.loads(out)
    assert content["subject"]["person"]["name"]["family"] == PLANTED
    content["judicial"]["warrants"] = json.loads(a_request().model_dump_json())["judicial"]["warrants"]
    (tmp_path / "mended.json").write_text(json.dumps(content), encoding="utf-8")

    code, out = await run(world, "resubmit", origin, str(tmp_path / "mended.json"), "--json")
    assert code == 0
    sent = json.loads(out)
    assert sent["mends"] == origin
    assert UUID(sent["message_id"]) == uuid5(NAMESPACE, f"mends {origin} zw")
    await world.route(a_request().shard)

    [record] = [one for one in await world.read_inbox("ipsg") if one.subject == "notice"]
    assert str(record.value["message_id"]) == sent["message_id"]
    assert record.headers["mends"].decode() == origin
    entry = await ledger_of(world, sent["origin"])
    assert (entry.value["kind"], str(entry.value["message_id"])) == ("routed", sent["message_id"])
    code, out = await run(world, "list", "--json")
    [row] = json.loads(out)["rejected"]
    assert row["mended_by"] == [{"origin": sent["origin"], "number": NUMBER, "issuer": "zw", "routed": True}]
    assert json.loads((await run(world, "list", "--open", "--json"))[1])["rejected"] == []
    assert f"mended by {sent['origin']}: {NUMBER} by zw" in (await run(world, "show", origin))[1]

    with pytest.raises(RefusedError, match=f"was mended already by {NUMBER}"):
        await run(world, "resubmit", origin, str(tmp_path / "mended.json"))
    content["urgency"] = "urgent"
    (tmp_path / "other.json").write_text(json.dumps(content), encoding="utf-8")
    code, out = await run(world, "resubmit", origin, str(tmp_path / "other.json"), "--again", "--json")
    await world.route(a_request().shard)
    entry = await ledger_of(world, json.loads(out)["origin"])
    assert (entry.value["kind"], entry.value["reason"]) == ("rejected", "id_reused")
    assert len(await world.messages_in("ipsg")) == 1


async def test_a_message_is_mended_in_an_editor(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--edit` hands the message to the editor in a private file that is gone later; unchanged, nothing is sent."""
    origin = str(await reject_one(world))
    warrants = json.loads(a_request().model_dump_json())["judicial"]["warrants"]
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import json, os, pathlib, sys\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "assert path.parent.stat().st_mode & 0o777 == 0o700\n"
        "content = json.loads(path.read_text())\n"
        f"content['judicial']['warrants'] = json.loads({json.dumps(json.dumps(warrants))})\n"
        "path.write_text(json.dumps(content))\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("VISUAL", "true")
    with pytest.raises(MisuseError, match="nothing was changed"):
        await run(world, "resubmit", origin, "--edit")
    monkeypatch.setenv("VISUAL", shlex.join([sys.executable, str(editor)]))
    code, out = await run(world, "resubmit", origin, "--edit")

    assert code == 0
    assert out.startswith(f"{origin}: mended by {NUMBER} requested by zw: published at notices.africa/")
    assert not await asyncio.to_thread(lambda: list(world.data.glob(".mending-*")))
    await world.route(a_request().shard)
    assert len(await world.messages_in("ipsg")) == 1


async def test_personal_data_is_shown_only_on_request(world: World) -> None:
    """A planted name in value, key or headers shows up in `show --with-value`, and in nothing else."""
    await reject_one(world)
    shard = a_request().shard
    headers = (
        ("ce_subject", PLANTED.encode()),
        ("ce_type", f"noticewire.notice.{PLANTED}".encode()),
        (PLANTED, b"1"),
        ("ce_id", b"\xff" + PLANTED.encode()),
        ("ce_source", b"/bureaus/zw"),
    )
    record = Outgoing(PLANTED.encode(), PLANTED.encode(), headers)
    await (await world.link.publisher.send("notices.africa", shard.partition, record))
    many = Outgoing(b"k", b"v", tuple((PLANTED, b"") for _ in range(20_001)))
    await (await world.link.publisher.send("notices.africa", shard.partition, many))
    await world.route(shard)

    code, out = await run(world, "list", "--json")
    rows = json.loads(out)["rejected"]
    assert [row["reason"] for row in rows] == ["invalid", "undecodable", "undecodable"]
    assert (rows[1]["number"], rows[1]["issuer"]) == (None, "zw")
    shown = [out, (await run(world, "list"))[1]]
    for row in rows:
        shown += [(await run(world, "show", row["origin"]))[1], (await run(world, "show", row["origin"], "--json"))[1]]
    assert not [text for text in shown if PLANTED in text or PLANTED.encode().hex() in text]
    for row in rows:
        code, out = await run(world, "show", row["origin"], "--with-value")
        assert code == 0
        assert PLANTED in out
    with pytest.raises(MisuseError, match="say --with-value too"):
        await run(world, "show", rows[0]["origin"], "--message")


async def test_the_desk_filters_and_names_what_is_not_there(world: World, tmp_path: Path) -> None:
    """By reason and by region; an origin of which nothing was set aside, and files that cannot mend, are refused."""
    origin = await reject_one(world)

    async def listed(*words: str) -> list[str]:
        return [row["origin"] for row in json.loads((await run(world, "list", "--json", *words))[1])["rejected"]]

    assert await listed("--reason", "invalid") == [str(origin)]
    assert await listed("--reason", "stale", "--reason", "invalid") == [str(origin)]
    assert await listed("--reason", "stale") == []
    assert await listed("--region", "africa") == [str(origin)]
    assert await listed("--region", "europe") == []
    with pytest.raises(RefusedError, match=r"nothing was set aside from notices\.africa/0/99999"):
        await run(world, "show", "notices.africa/0/99999")
    for words in ([str(origin)], [str(origin), str(tmp_path / "missing.json")]):
        with pytest.raises(MisuseError):
            await run(world, "resubmit", *words)
    (tmp_path / "two.jsonl").write_text(f"{a_request().model_dump_json()}\n" * 2, encoding="utf-8")
    with pytest.raises(MisuseError, match="holds 2 messages"):
        await run(world, "resubmit", str(origin), str(tmp_path / "two.jsonl"))
    (tmp_path / "bad.json").write_text(changed(a_request(), "judicial.warrants", []).model_dump_json())
    with pytest.raises(RefusedError, match=r"judicial\.warrants"):
        await run(world, "resubmit", str(origin), str(tmp_path / "bad.json"))


async def test_what_the_broker_did_not_sign_is_no_rejection(world: World) -> None:
    """A record that a stranger put on the topic is counted and passed over."""
    origin = await reject_one(world)
    [real] = await read(world.kafka, "rejected")
    signed = tuple((name, content) for name, content in real.headers.items() if name != "signature")
    await world.link.publisher.publish("rejected", key=b"x", value=real.raw, headers=signed, partition=0)
    await world.link.publisher.publish("rejected", key=b"x", value=b"garbage", partition=0)

    code, out = await run(world, "list", "--json")
    assert code == 0
    assert [row["origin"] for row in json.loads(out)["rejected"]] == [str(origin)]
    assert json.loads(out)["not_the_brokers"] == 2
