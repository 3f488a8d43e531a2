"""The cluster: is it there, are its settings those of the design, what hangs, and is our clock the brokers'."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from broker.cli.checks.finding import Finding, ok, problem, warning
from broker.errors import UnavailableError
from broker.model.naming import Names
from broker.settings import KafkaSettings
from broker.topics.apply import TopicAdmin
from broker.topics.plan import MENDED, TopicSpec
from broker.transport.kafka import RawClient, TopicPartition, milliseconds

_REQUEST_SECONDS = 10.0
SKEW = timedelta(seconds=2)
"""How far the brokers' clocks and ours may differ: a new key counts from a moment on, by their clock."""
_LOOK_AGAIN_SECONDS = 0.5
_PRODUCE_REQUEST_BYTES = 64 << 20
"""A transaction hands over 32 MiB at once, and sizes double while a produce request is put together."""

T = TypeVar("T")

Judge = Callable[[str, KafkaSettings], bool]


def _at_least(limit: Callable[[KafkaSettings], int]) -> Judge:
    return lambda value, kafka: value.lstrip("-").isdecimal() and int(value) >= limit(kafka)


def _at_most(limit: Callable[[KafkaSettings], int]) -> Judge:
    return lambda value, kafka: value.lstrip("-").isdecimal() and int(value) <= limit(kafka)


BROKER_SETTINGS: Mapping[str, tuple[Judge, Callable[[KafkaSettings], str]]] = {
    "unclean.leader.election.enable": (
        lambda value, _: value == "false",
        lambda _: "must be false: an election of a replica that lags loses what was acknowledged",
    ),
    "auto.create.topics.enable": (
        lambda value, _: value == "false",
        lambda _: "must be false: a topic that a client makes by asking has the wrong partitions and settings",
    ),
    "group.min.session.timeout.ms": (
        _at_most(lambda kafka: milliseconds(kafka.session_timeout)),
        lambda kafka: f"must be at most kafka.session_timeout, {milliseconds(kafka.session_timeout)}",
    ),
    "group.max.session.timeout.ms": (
        _at_least(lambda kafka: milliseconds(kafka.session_timeout)),
        lambda kafka: f"must be at least kafka.session_timeout, {milliseconds(kafka.session_timeout)}",
    ),
    "transaction.max.timeout.ms": (
        _at_least(lambda kafka: milliseconds(kafka.transaction_timeout)),
        lambda kafka: f"must be at least kafka.transaction_timeout, {milliseconds(kafka.transaction_timeout)}",
    ),
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": (
        _at_most(lambda _: 10_000),
        lambda _: "must be at most 10000: for so much longer than its time-out a hung router holds back its inboxes",
    ),
    "transaction.state.log.replication.factor": (
        _at_least(lambda kafka: kafka.replication),
        lambda kafka: f"must be at least {kafka.replication}, as every topic's: it says which transactions ended how",
    ),
    "transaction.state.log.min.isr": (
        _at_least(lambda kafka: kafka.in_sync_min),
        lambda kafka: f"must be at least {kafka.in_sync_min}, as every topic's",
    ),
    "socket.request.max.bytes": (
        _at_least(lambda _: _PRODUCE_REQUEST_BYTES),
        lambda _: f"must be at least {_PRODUCE_REQUEST_BYTES}: a larger produce request is retried for ever",
    ),
}
"""What every broker must have, and why (design of the transport: docs/architecture.md)."""


async def look_at_brokers(kafka: KafkaSettings) -> list[Finding]:
    """Look whether the cluster answers, and hold its brokers' settings against what we need.

    Raises:
        UnavailableError: no broker answers.
    """
    admin = _admin(kafka)
    brokers = await _in_thread(lambda: _broker_settings(admin))
    findings = [ok("cluster", f"{len(brokers)} brokers answer at {kafka.bootstrap_servers}")]
    wrong = [one for broker, settings in brokers.items() for one in judge_broker(broker, settings, kafka)]
    findings += wrong or [ok("brokers", "settings are as they must be")]
    if kafka.replication < len(brokers):
        said = f"topics have {kafka.replication} replicas on {len(brokers)} brokers"
        findings.append(warning("brokers", said, "in production: NOTICEWIRE_KAFKA__REPLICATION=3 and IN_SYNC_MIN=2"))
    if len(brokers) < kafka.replication:
        said = f"topics need {kafka.replication} brokers, {len(brokers)} answer"
        findings.append(problem("brokers", said, "start the brokers that are missing"))
    return findings


def judge_broker(broker: str, settings: Mapping[str, str | None], kafka: KafkaSettings) -> Iterator[Finding]:
    """Hold one broker's settings against what we need."""
    for name, (holds, why) in BROKER_SETTINGS.items():
        value = settings.get(name)
        if value is not None and not holds(value, kafka):
            mend = f"set it in server.properties of broker {broker}, and restart it"
            yield problem("brokers", f"broker {broker}: {name} is {value}; it {why(kafka)}", mend)


def _broker_settings(admin: AdminClient) -> dict[str, dict[str, str | None]]:
    brokers = [str(broker) for broker in admin.list_topics(timeout=_REQUEST_SECONDS).brokers]
    resources = [ConfigResource(ResourceType.BROKER, broker) for broker in brokers]
    answers = admin.describe_configs(resources, request_timeout=_REQUEST_SECONDS)
    return {
        resource.name: {name: entry.value for name, entry in answer.result().items()}
        for resource, answer in answers.items()
    }


async def look_at_topics(kafka: KafkaSettings, specs: Sequence[TopicSpec]) -> list[Finding]:
    """Hold the topics against their plan.

    Raises:
        UnavailableError: no broker answers.
    """
    differences = await TopicAdmin(kafka).drift(specs)
    by_hand = "this cannot be mended without moving what it holds: ask the cluster's operators"
    return [
        problem("topics", str(one), "noticewire topics apply" if one.difference in MENDED else by_hand)
        for one in differences
    ] or [ok("topics", f"{len(specs)} as planned")]


async def look_at_transactions(client: RawClient, specs: Sequence[TopicSpec]) -> list[Finding]:
    """Look for transactions that stay open for longer than ours can: nobody reads past them.

    Raises:
        UnavailableError: no broker answers.
    """
    there = await client.topics()
    partitions = [
        TopicPartition(spec.name, number) for spec in specs if spec.name in there for number in range(spec.partitions)
    ]
    patience = client.kafka.transaction_timeout + timedelta(seconds=2)
    deadline = time.monotonic() + patience.total_seconds()
    first = await _open(client, partitions)
    still = first
    while still and time.monotonic() < deadline:
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        now = await _open(client, list(still))
        still = {place: at for place, at in now.items() if first[place] == at}
    names, servers = client.names, client.kafka.bootstrap_servers
    return [
        problem(
            "transactions",
            f"{place}: a transaction that began at {at} has been open for more than {patience.total_seconds():g} s",
            f"end it: kafka-transactions.sh --bootstrap-server {servers} abort"
            f" --topic {names.on_cluster(place.topic)} --partition {place.partition} --start-offset {at}",
        )
        for place, at in still.items()
    ] or [ok("transactions", "none hangs")]


async def _open(client: RawClient, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    """Return the last stable offset of each partition that has something after it."""
    stable = await client.end_offsets(partitions, committed=True)
    ends = await client.end_offsets(partitions)
    return {place: at for place, at in stable.items() if at < ends[place]}


async def look_at_clocks(kafka: KafkaSettings, *, wall: Callable[[], float] = time.time) -> list[Finding]:
    """Hold each broker's clock against ours: by a record on a topic that is made for it and deleted again.

    Args:
        kafka: how to reach the cluster.
        wall: our clock, in seconds since 1970.

    Raises:
        UnavailableError: no broker answers.
    """
    skews = await _in_thread(lambda: _skews(kafka, wall))
    wrong = [
        problem(
            "clock",
            f"the clock of broker {broker} is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} ours",
            "let both machines keep time by NTP (timedatectl), and look which one is off",
        )
        for broker, skew in skews.items()
        if abs(skew) > SKEW.total_seconds()
    ]
    return wrong or [ok("clock", f"within {SKEW.total_seconds():g} s of the brokers'")]


def _skews(kafka: KafkaSettings, wall: Callable[[], float]) -> dict[int, float]:
    """Return how many seconds each broker's clock is ahead of ours; the way there and back does not count."""
    admin = _admin(kafka)
    brokers = sorted(admin.list_topics(timeout=_REQUEST_SECONDS).brokers)
    topic = Names(kafka.prefix).on_cluster(f"doctor-{secrets.token_hex(4)}")
    spec = NewTopic(
        topic,
        num_partitions=len(brokers),
        replica_assignment=[[broker] for broker in brokers],
        config={"message.timestamp.type": "LogAppendTime"},
    )
    try:
        _settle(admin.create_topics([spec], operation_timeout=_REQUEST_SECONDS))
        return {broker: _skew(kafka, topic, partition, wall) for partition, broker in enumerate(brokers)}
    finally:  # also where the creation got no answer: a slow controller makes the topic all the same
        _remove(admin, topic)


def _skew(kafka: KafkaSettings, topic: str, partition: int, wall: Callable[[], float]) -> float:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "linger.ms": 0, "acks": "1"})
    landed: list[tuple[float, float]] = []

    def note(error: object, message: Message) -> None:
        if error is None:
            landed.append((wall(), message.timestamp()[1] / 1000))

    found = 0.0
    for _ in range(2):  # the first one looks for its leader; what that takes would count as skew
        landed.clear()
        began = wall()
        producer.produce(topic, b"", partition=partition, on_delivery=note)
        producer.flush(_REQUEST_SECONDS)
        if not landed:
            raise UnavailableError(f"asking for the time: no answer from the leader of partition {partition}")
        ended, theirs = landed[0]
        found = theirs - ended if theirs > ended else min(0.0, theirs - began)
    return found


def _admin(kafka: KafkaSettings) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})


def _remove(admin: AdminClient, topic: str) -> None:
    try:
        _settle(admin.delete_topics([topic], operation_timeout=_REQUEST_SECONDS))
    except KafkaException as error:
        if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:  # it was not made; the reason is on its way
            raise
    except UnavailableError as error:
        raise UnavailableError(f"{error}; the topic {topic} may be left behind") from error


def _settle(futures: Mapping[str, Future[None]]) -> None:
    for future in futures.values():
        try:
            future.result(_REQUEST_SECONDS)
        except TimeoutError as error:
            raise UnavailableError(f"administering the cluster: no answer for {_REQUEST_SECONDS:g} s") from error


async def _in_thread(work: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(work)
    except KafkaException as error:
        raise UnavailableError(f"administering the cluster: {error.args[0]}") from error
