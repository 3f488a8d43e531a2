"""`noticewire import public-notices`, as a person runs it, on a real Kafka and without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import typer
from structlog.testing import capture_logs
from typer.testing import CliRunner

from broker.cli import importing
from broker.errors import MisuseError
from broker.model.naming import Region, shard_of
from broker.transport.publisher import Publisher, RecordPlace
from tests.support.builders import a_warning_diffusion, bureaus
from tests.support.plain import PlainRecord
from tests.support.processes import write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

RED = {
    "entity_id": "2021/12345",
    "name": "EXAMPLE &amp; SONS",
    "date_of_birth": "1980",
    "eyes_colors_id": ["QQQ"],
    "arrest_warrants": [{"charge": "Theft", "issuing_country_id": "XB", "charge_translation": None}],
    "_links": {"self": {"href": "https://example.org/red/2021-12345"}},
}
NUMBER = "zw-d-2021-012345"
SHARD = shard_of(NUMBER, Region.AFRICA)


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        await asyncio.to_thread(write_endpoints, world)
        yield world


def run(data: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and standard output of the command."""
    app = typer.Typer(pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    importing.register(app)
    with capture_logs():
        result = CliRunner().invoke(app, ["import", "public-notices", *arguments, "--data", str(data)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def written(folder: Path, *notices: Any) -> str:
    path = folder / "red.json"
    listed = {"total": len(notices) + 1, "query": {}, "_embedded": {"notices": list(notices)}}
    path.write_text(json.dumps(listed), encoding="utf-8")
    return str(path)


async def diffusions(world: World, bureau: str) -> list[PlainRecord]:
    return [record for record in await world.read_inbox(bureau) if record.subject == "diffusion"]


async def test_extracts_are_delivered_once_and_their_changes_as_revisions(world: World, tmp_path: Path) -> None:
    """Imported twice is a repeat; a changed extract is the next revision; a bad one stops nothing and is named."""
    options = ("--as", "zw", "--to", "africa,europe", "--exclude", "fr")

    code, out = await asyncio.to_thread(run, world.data, written(tmp_path, RED, {"name": "X"}, RED), *options)
    assert code == 1
    assert out.splitlines()[0].endswith("red.json[entry 1]: a page: it holds 3 of 4 notices")
    assert f"red 2021/12345 is {NUMBER} sent (revision 1): published at diffusions.africa/{SHARD.partition}/0" in out
    assert "; without eyes_colors_id[0]" in out
    assert "notices[1]: refused: entity_id: is missing." in out
    assert "1 refused, 1 duplicate, 1 published" in out
    assert "left out: eyes_colors_id (is not a known code of a colour): 1" in out

    for _ in range(2):
        code, out = await asyncio.to_thread(run, world.data, written(tmp_path, RED), *options)
        assert (code, "1 published again" in out) == (0, True)
    changed = RED | {"date_of_birth": "1980/01/31"}
    code, out = await asyncio.to_thread(run, world.data, written(tmp_path, changed), *options, "--json")
    assert json.loads(out)["notices"][0]["event"] == "revised"
    await world.route(SHARD)

    entries = [one.value["kind"] for one in await world.read_ledger([SHARD])]
    assert entries == ["routed", "repeat", "repeat", "routed"]
    given = await diffusions(world, "ke")
    assert [(one.value["event"], one.value["revision"]) for one in given] == [("sent", 1), ("revised", 2)]
    assert given[0].value["subject"]["person"]["name"]["family"] == "EXAMPLE & SONS"
    assert given[0].value["attachments"][0]["media_type"] == "application/vnd.noticewire.extract+json"
    assert given[0].value["attachments"][0]["uri"] == "https://example.org/red/2021-12345"
    assert await diffusions(world, "fr") == []


@pytest.mark.parametrize("written_down", [False, True], ids=["never-sent", "answer-lost"])
async def test_an_import_that_was_killed_is_gone_on_with(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, written_down: bool
) -> None:
    """What Kafka never had is begun anew, as changed meanwhile; what it has is continued, though it never said so."""
    options = ("--as", "zw", "--to", "africa")
    publish = Publisher.publish

    class KilledError(Exception):
        pass

    async def killed(self: Publisher, topic: str, **record: Any) -> RecordPlace:
        if written_down:
            await publish(self, topic, **record)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Publisher, "publish", killed)
        with pytest.raises(KilledError):
            await asyncio.to_thread(run, world.data, written(tmp_path, RED), *options)
    changed = RED | {"date_of_birth": "1980/01/31"}
    for place in ("", " again"):
        code, out = await asyncio.to_thread(run, world.data, written(tmp_path, changed), *options)
        assert (code, f"1 published{place}" in out) == (0, True), out
    await world.route(SHARD)

    assert [one.value["kind"] for one in await world.read_ledger([SHARD])] == ["routed"] * (1 + written_down) + [
        "repeat"
    ]
    given = [(one.value["event"], one.value["revision"]) for one in await diffusions(world, "ke")]
    assert given == [("sent", 1), ("revised", 2)][: 1 + written_down]


async def test_the_router_s_word_is_waited_for(world: World, tmp_path: Path) -> None:
    """A number that the importer has used for a diffusion of its own is rejected, and the command says so."""
    own = a_warning_diffusion(number=NUMBER, owner="zw", circulation=bureaus("ke"))
    await world.publish(own)
    command = ("--as", "zw", "--to", "ke", "--wait")
    other = RED | {"entity_id": "2021/12347"}  # the same shard
    assert shard_of("zw-d-2021-012347", Region.AFRICA) == SHARD

    running = asyncio.create_task(asyncio.to_thread(run, world.data, written(tmp_path, RED, other), *command))
    while not running.done():
        await world.route(SHARD)
        await asyncio.wait([running], timeout=0.1)
    code, out = running.result()

    assert code == 1
    assert f"{NUMBER}: rejected: stale: " in out
    assert "2 published, 1 rejected, 1 routed" in out


def test_a_dry_run_needs_no_cluster_and_leaves_nothing(tmp_path: Path) -> None:
    """It shows each message whole and what is left out, and writes nothing into the data folder."""
    code, out = run(tmp_path / "data", written(tmp_path, RED), "--as", "zw", "--dry-run", "--json")
    shown = json.loads(out)

    assert code == 0
    (notice,) = shown["notices"]
    assert (notice["number"], notice["message"]["kind"]) == (NUMBER, "information")
    assert notice["left"] == [{"path": "eyes_colors_id[0]", "why": "is not a known code of a colour"}]
    assert shown["summary"] == {"would be published": 1}
    assert not (tmp_path / "data").exists()


def test_a_dry_run_holds_the_rules_of_the_door(tmp_path: Path) -> None:
    """Who would be refused at publishing is refused, with the field."""
    code, out = run(tmp_path, written(tmp_path, RED), "--as", "zw", "--to", "zq", "--dry-run")

    assert code == 1
    assert "refused: circulation.bureaus" in out


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 100_000, '{"a": 1, "a": 2}', "[NaN]", '{"_embedded": {"notices": {}}}', "\x00", '"x"', "[[]]", "7"],
)
def test_hostile_files_are_refused(tmp_path: Path, text: str) -> None:
    """The readers are those of `publish`: bounded, and a refusal for whatever is no notice."""
    (tmp_path / "bad.json").write_text(text)
    code, out = run(tmp_path, str(tmp_path / "bad.json"), "--dry-run")

    assert code == 1
    assert "refused" in out


@pytest.mark.parametrize(
    "options", [("--to", "all,africa"), ("--to", "africa,zw"), ("--to", ""), ("--as", "../zw"), ("--wait", "--dry-run")]
)
def test_what_makes_no_sense_is_a_misuse(tmp_path: Path, options: tuple[str, ...]) -> None:
    """Named before a file is read."""
    with pytest.raises(MisuseError):
        run(tmp_path, "red.json", "--dry-run", *options)
