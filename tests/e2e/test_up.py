"""`noticewire up` on a folder that lasts: alone on it, through its Kafka's death, and through a stop and a start."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from broker.embedded import leash
from broker.settings import KafkaSettings
from tests.support.demo import COMMAND, environment, noticewire
from tests.support.eventually import eventually
from tests.support.kafka import plain_read
from tests.support.plain import plain

MESSAGE = """
kind: warning
number: zw-d-2026-00980{serial}
event: sent
circulation: {{scope: bureaus, bureaus: [ke]}}
subject: {{kind: person, role: suspect, person: {{name: {{family: EXAMPLE}}, born: "1980"}}}}
texts: [{{language: en, title: Forged passports, body: A fictitious case.}}]
assessment: {{grounds: Was seen with a forged passport.}}
retained_until: 2030-12-31
"""


class Up:
    """A `noticewire up` that runs, and what it prints."""

    def __init__(self, data: Path, process: leash.Leashed, log: Path) -> None:
        self.data = data
        self.process = process
        self._log = log

    def printed(self) -> str:
        """What it has printed so far."""
        return self._log.read_text(encoding="utf-8")

    def await_words(self, words: str, *, times: int = 1) -> None:
        """Wait until it has printed some words so many times."""

        def said() -> bool:
            assert self.process.poll() is None, self.printed()
            return self.printed().count(words) >= times

        eventually(said, seconds=120, what=f"up says {words!r}")

    @property
    def endpoints(self) -> dict[str, Any]:
        """Where everything listens."""
        return dict(json.loads((self.data / "endpoints.json").read_bytes()))

    @property
    def kafka(self) -> str:
        """The address of its Kafka."""
        return str(self.endpoints["kafka"]["bootstrap_servers"])

    def kafka_process(self) -> psutil.Process:
        """The JVM."""
        below = psutil.Process(self.process.pid).children(recursive=True)
        return next(one for one in below if one.name() == "java")

    def publish(self, serial: int) -> None:
        """Publish a message for Kenya, and wait until it is in its inbox."""
        file = self.data.with_name(f"{serial}.yaml")
        file.write_text(MESSAGE.format(serial=serial), encoding="utf-8")
        said = noticewire("publish", file, "--wait", "--data", self.data).expect(0).out
        assert "given to 1," in said

    def inbox(self) -> list[str]:
        """The numbers of what Kenya was given, as a plain consumer reads them."""
        records = asyncio.run(plain_read(KafkaSettings(bootstrap_servers=self.kafka), "inbox.ke"))
        return [plain(record, prefix="").value["number"] for record in records]


@contextmanager
def an_up(data: Path) -> Iterator[Up]:
    """Start it and wait until it runs; at the end SIGTERM, which it obeys."""
    log = data.with_name("said")
    with log.open("wb") as out:
        process = leash.spawn([COMMAND, "up", "--data", data], env=environment(), stdout=out, stderr=out)
    up = Up(data, process, log)
    try:
        up.await_words("Runs until Ctrl-C")
        yield up
    finally:
        process.terminate()
        assert process.wait(60) == 0, up.printed()


def numbers(*serials: int) -> list[str]:
    return [f"zw-d-2026-00980{serial}" for serial in serials]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_up_lasts(tmp_path: Path) -> None:
    """It holds its folder alone; its Kafka comes back after SIGKILL, services live on meanwhile; a start carries on."""
    data = tmp_path / "data"
    with an_up(data) as up:
        before = up.endpoints
        addresses = [up.kafka, before["observe"], before["services"]["gateway"]["url"]]
        addresses += [one["observe"] for one in before["services"].values()]
        lines = up.printed().splitlines()
        assert all(any(line.endswith(f" {address}") for line in lines) for address in addresses)
        refused = noticewire("up", "--data", data).expect(2).err
        assert f"is held by process {up.process.pid} (noticewire up --data {data})" in refused
        up.publish(1)

        up.kafka_process().kill()
        up.await_words("Starting Apache Kafka", times=2)
        os.kill(before["services"]["tracker"]["pid"], signal.SIGKILL)
        up.await_words("Apache Kafka is ready", times=2)

        said = up.printed()
        assert "Apache Kafka was ended by SIGKILL; started again in 0.5 s\n--- " in said
        assert said.index("tracker was ended by SIGKILL") < said.rindex("Apache Kafka is ready")
        assert up.kafka == before["kafka"]["bootstrap_servers"]
        up.publish(2)
        after = up.endpoints["services"]
        unhurt = [name for name in after if name != "tracker"]
        assert {name: after[name]["pid"] for name in unhurt} == {
            name: before["services"][name]["pid"] for name in unhurt
        }

    with an_up(data) as up:
        assert up.endpoints["installation"] == before["installation"]
        assert up.inbox() == numbers(1, 2)
        up.publish(3)
        assert up.inbox() == numbers(1, 2, 3)
