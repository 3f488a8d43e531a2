"""One run of the demo for every test that looks at it."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from broker.settings import KafkaSettings
from tests.support.demo import History, RunningDemo, a_demo, noticewire
from tests.support.kafka import plain_read


@pytest.fixture(scope="session")
def demo() -> Iterator[RunningDemo]:
    """`noticewire demo --keep`, once everybody has acknowledged and the history is verified.

    At the end Ctrl-C: it exits with 0, and leaves no process and no port.
    """
    with tempfile.TemporaryDirectory(prefix="noticewire-e2e-") as folder, a_demo(Path(folder) / "demo", "--keep") as it:
        it.await_line("Running until Ctrl-C")
        address = json.loads((it.data / "endpoints.json").read_text(encoding="utf-8"))["kafka"]["bootstrap_servers"]
        kafka = KafkaSettings(bootstrap_servers=address)
        topics = [
            name
            for name in AdminClient({"bootstrap.servers": address}).list_topics(timeout=30).topics
            if name[0] != "_"
        ]
        yield RunningDemo(
            demo=it,
            kafka=kafka,
            history=History(records=asyncio.run(plain_read(kafka, *topics))),
            board=noticewire("status", "--json", "--data", it.data).expect(0).json,
            archive=shutil.copytree(it.data / "archive", Path(folder) / "archive"),
        )
        it.interrupt()
        assert it.ended() == 0, it.printed()[-4000:]
        it.assert_nothing_is_left()
