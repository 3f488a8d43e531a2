from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker.cli import directory as directory_command
from broker.cli import topics as topics_command
from broker.clock import SystemClock
from broker.members.seed import seeds_of
from broker.schema.codec import Codec
from broker.settings import KafkaSettings
from broker.topics.apply import TopicAdmin
from broker.topics.plan import plan
from broker.transport.founding import found
from broker.transport.link import linked
from broker.trust.keys import KeyRing
from tests.support.shared_kafka import SharedKafka


@pytest.fixture
def data(kafka: SharedKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a founded installation with Zimbabwe and France."""
    monkeypatch.chdir(tmp_path)
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)
    keyring = KeyRing(tmp_path / "keys")
    keyring.make(["ipsg"])
    root = keyring.signer("ipsg").public

    async def start() -> None:
        await TopicAdmin(settings).apply(plan(["zw", "fr", "ipsg"], kafka=settings))
        async with linked(settings, codec=Codec.load(), client_id="test", root_public=root) as link:
            await found(
                seeds_of(["zw", "fr"]),
                keyring=keyring,
                publisher=link.publisher,
                codec=Codec.load(),
                follower=link.follower,
                clock=SystemClock(),
            )

    asyncio.run(start())
    endpoints = {"kafka": {"bootstrap_servers": kafka.bootstrap_servers, "prefix": prefix}, "root_key": root.hex()}
    (tmp_path / "endpoints.json").write_text(json.dumps(endpoints))
    return tmp_path


def _run(app: Any, *arguments: str) -> str:
    answer = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_list_show_and_log(data: Path) -> None:
    """The directory is shown as it is, as it was, and as its log, for people and for programs."""
    app = directory_command.app
    where = ("--data", str(data))

    now = json.loads(_run(app, "list", *where, "--json"))
    then = json.loads(_run(app, "list", *where, "--json", "--as-of", "1"))
    log = json.loads(_run(app, "log", *where, "--json"))
    shown = _run(app, "show", "zw", *where)

    assert [one["code"] for one in now["bureaus"]] == ["audit", "broker", "fr", "ipsg", "zw"]
    assert [one["code"] for one in then["bureaus"]] == ["ipsg"]
    assert [(one["kind"], one["took_effect"]) for one in log] == [("founded", True)] + [("entered", True)] * 4
    assert "Zimbabwe" in shown
    assert "statuses ACTUAL" in shown
    assert "Zimbabwe" in _run(app, "list", *where)
    assert "took effect" in _run(app, "log", *where)


def test_topics_without_drift(data: Path) -> None:
    """Who has an inbox is read from the directory; where everything is as planned, `plan` says so and exits with 0."""
    answer = json.loads(_run(topics_command.app, "plan", "--data", str(data), "--json"))

    assert answer == {"planned": 38, "drift": []}
    assert "0 differences" in _run(topics_command.app, "apply", "--data", str(data))
