"""How an embedded node is set up: Kafka's settings and its log's, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"

PORTS_PER_NODE = 3
"""For clients, for the controllers' quorum, and for what brokers copy from each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A node's place in a cluster.

    Attributes:
        node: its number.
        ports: every node's port for clients, by number; its controller listens on the next one, and for the other
            brokers it listens on the one after that.
        cluster_id: the same for all of them; they are formatted with it.
        advertised: `host:port` that it tells clients instead of its own: a proxy's. Other brokers do not use it.
    """

    node: int
    ports: Mapping[int, int]
    cluster_id: str
    advertised: str | None = None


def server_properties(*, port: int, logs: Path, seat: Seat | None = None) -> dict[str, str]:
    """The node's settings, each with its reason where it is not Kafka's default.

    Args:
        port: for clients; the controller listens on the next one.
        logs: the folder for Kafka's data.
        seat: its place in a cluster of several, where it is in one.
    """
    alone = _alone(port=port, logs=logs)
    return alone if seat is None else alone | _together(seat)


def _alone(*, port: int, logs: Path) -> dict[str, str]:
    clients, controller = f"PLAINTEXT://{HOST}:{port}", f"CONTROLLER://{HOST}:{port + 1}"
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{port + 1}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{clients},{controller}",
        "advertised.listeners": clients,
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(logs),
        # Nothing is made by accident, lost by an election, dated by its sender, or deleted by age.
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "log.message.timestamp.type": "LogAppendTime",
        "log.cleanup.policy": "delete",
        "log.retention.ms": "-1",
        "log.retention.bytes": "-1",
        # What a topic takes is said for each topic; this is for those of which nothing is said.
        "message.max.bytes": "1048588",
        # One node: one copy of everything. Few partitions for Kafka's own topics, which are opened at each start.
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.num.partitions": "4",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # A dead router is replaced, and its transaction ended, within seconds.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # After SIGKILL the node is back after 4.5 s instead of 12.5.
        "broker.session.timeout.ms": "1500",
        "broker.heartbeat.interval.ms": "500",
        # A clean stop need not look for somebody to hand its partitions to.
        "controlled.shutdown.enable": "false",
        # An installation may rest for weeks: ids of transactions 24 days, positions of groups a year.
        "transactional.id.expiration.ms": "2147483647",
        "offsets.retention.minutes": "525600",
        # Some 300 topics on a small machine: smaller files, smaller indexes (mapped into memory), 16 MiB for the
        # compaction of Kafka's own topics instead of 128.
        "log.segment.bytes": "268435456",
        "log.index.size.max.bytes": "1048576",
        "log.cleaner.dedupe.buffer.size": "16777216",
        "num.recovery.threads.per.data.dir": "2",
    }


def _together(seat: Seat) -> dict[str, str]:
    """What is different in a cluster, as in production: a record is on two nodes of three before its sender is told."""
    copies = str(min(3, len(seat.ports)))
    in_sync = "2" if len(seat.ports) > 2 else "1"  # noqa: PLR2004 - two of two would stop when one does
    port = seat.ports[seat.node]
    clients, brokers = f"PLAINTEXT://{HOST}:{port}", f"BROKERS://{HOST}:{port + 2}"
    told = clients if seat.advertised is None else f"PLAINTEXT://{seat.advertised}"
    return {
        "node.id": str(seat.node),
        "controller.quorum.voters": ",".join(f"{node}@{HOST}:{at + 1}" for node, at in sorted(seat.ports.items())),
        # What stands before clients (a proxy of a test, that cuts) must not stand between brokers.
        "listeners": f"{clients},{brokers},CONTROLLER://{HOST}:{port + 1}",
        "advertised.listeners": f"{told},{brokers}",
        "inter.broker.listener.name": "BROKERS",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,BROKERS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        # Three JVMs that share two cores pause for longer than one; a pause must not move every leader.
        "broker.session.timeout.ms": "3000",
    }


LOG4J = """\
rootLogger.level = INFO
rootLogger.appenderRef.file.ref = file
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {file}
appender.file.filePattern = {file}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = [%d] %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
logger.config.name = org.apache.kafka.common.config.AbstractConfig
logger.config.level = WARN
logger.logs.name = kafka.log
logger.logs.level = WARN
logger.storage.name = org.apache.kafka.storage.internals
logger.storage.level = WARN
logger.state.name = state.change.logger
logger.state.level = WARN
"""
