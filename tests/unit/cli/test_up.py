"""`noticewire up` keeps its own Kafka running beside the services, and says where everything listens."""

from __future__ import annotations

import asyncio
import threading
from typing import cast

from broker.cli import up
from broker.cli.supervisor import BACK_OFF_SECONDS, HEALTHY_SECONDS, KEEPS_DYING
from broker.cli.system import RunningKafka
from broker.embedded import EmbeddedKafka
from broker.endpoints import Endpoints, KafkaEndpoint, ServiceEndpoint
from broker.errors import UnavailableError

KAFKA = KafkaEndpoint(bootstrap_servers="127.0.0.1:20001")


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """What the hands say."""
        return self.seconds


class ScriptedKafka:
    """A Kafka that ends, or does not start, when a test says so."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.refuses = ""
        self.is_starting = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def log_tail(self, lines: int) -> str:
        """The end of its log."""
        return f"--- kafka.log, {lines} lines\n"

    def start(self) -> None:
        """Start, or fail."""
        self.exit_code = None
        self.is_starting.set()
        assert self.may_go_on.wait(30)
        if self.refuses:
            raise UnavailableError(self.refuses)

    def stop(self) -> None:
        """Stop, also while it starts."""
        self.refuses = "it ended while starting"
        self.may_go_on.set()


def a_node(kafka: ScriptedKafka, said: list[str], time: Time) -> up._Node:
    return up._Node(RunningKafka(endpoint=KAFKA, node=cast("EmbeddedKafka", kafka)), said.append, now=time)


async def test_a_kafka_that_dies_after_each_start_waits_longer_and_is_reported() -> None:
    """How it ended and the end of its log are shown, the wait grows, and it is failing until it has run well again."""
    kafka, said, time = ScriptedKafka(), list[str](), Time()
    node = a_node(kafka, said, time)
    for deaths, wait in enumerate(BACK_OFF_SECONDS, start=1):
        kafka.exit_code = 3 if deaths > 1 else -9
        await node.check()
        how = "ended with code 3" if deaths > 1 else "was ended by SIGKILL"
        assert said[-1].startswith(f"Apache Kafka {how}; started again in {wait:g} s")
        assert said[-1].endswith("\n--- kafka.log, 3 lines")
        assert node.fortune.is_failing == (deaths >= KEEPS_DYING) == ("it keeps dying" in said[-1])
        time.seconds += wait - 0.1
        await node.check()
        assert not node.is_running
        time.seconds += 0.1
        await node.check()
        assert node.is_running

    time.seconds += HEALTHY_SECONDS
    await node.check()

    assert not node.fortune.is_failing
    assert node.fortune.starts == 1 + len(BACK_OFF_SECONDS)


async def test_a_kafka_that_does_not_start_is_tried_again_later_each_time() -> None:
    """Why is shown, and each attempt that fails counts as a death."""
    kafka, said, time = ScriptedKafka(), list[str](), Time()
    node = a_node(kafka, said, time)
    kafka.exit_code, kafka.refuses = 1, "127.0.0.1:20001 is taken"
    await node.check()
    for wait in BACK_OFF_SECONDS[1:]:
        time.seconds = node.fortune.not_before
        await node.check()
        assert said[-1].startswith(f"Apache Kafka could not be started; started again in {wait:g} s")
        assert said[-1].endswith("\n127.0.0.1:20001 is taken")
    kafka.refuses = ""
    time.seconds = node.fortune.not_before

    await node.check()

    assert node.is_running


async def test_a_start_is_not_waited_for_when_all_is_to_stop() -> None:
    """Ctrl-C while Kafka comes up, which may take it 90 s, ends the start instead."""
    kafka, said, time = ScriptedKafka(), list[str](), Time()
    node = a_node(kafka, said, time)
    kafka.exit_code = -9
    await node.check()
    kafka.may_go_on.clear()
    time.seconds = node.fortune.not_before
    keeping = asyncio.create_task(node.keep())
    assert await asyncio.to_thread(kafka.is_starting.wait, 30)
    keeping.cancel()

    await asyncio.wait({keeping}, timeout=10)

    assert keeping.cancelled()
    assert kafka.may_go_on.is_set()
    assert not node.is_running


def test_every_address_is_a_line_of_its_own() -> None:
    """What is printed is what stands in `endpoints.json`: Kafka, the gateway, and each one's metrics."""
    endpoints = Endpoints(
        kafka=KAFKA,
        observe="http://127.0.0.1:9600",
        services={
            "tracker": ServiceEndpoint(pid=1, observe="http://127.0.0.1:9601"),
            "gateway": ServiceEndpoint(pid=2, observe="http://127.0.0.1:9602", url="http://127.0.0.1:9603"),
        },
    )

    assert list(up._addresses(endpoints)) == [
        "Apache Kafka listens on 127.0.0.1:20001",
        "tracker shows its metrics and health on http://127.0.0.1:9601",
        "gateway answers on http://127.0.0.1:9603",
        "gateway shows its metrics and health on http://127.0.0.1:9602",
        "This process shows its own on http://127.0.0.1:9600",
    ]
