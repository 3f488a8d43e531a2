"""The settings of the embedded Kafka."""

from __future__ import annotations

from pathlib import Path

from broker.embedded.properties import server_properties

PROPERTIES = server_properties(port=23456, logs=Path("/data/logs"))


def test_it_listens_on_this_machine_only() -> None:
    """Every address, its own and the advertised one, is the loopback's."""
    for name in ("listeners", "advertised.listeners"):
        for listener in PROPERTIES[name].split(","):
            assert listener.split("://")[1].startswith("127.0.0.1:")


def test_kafka_never_deletes_by_itself() -> None:
    """Neither age nor size, nor a sender's clock, deletes a record; no topic appears by accident."""
    assert PROPERTIES["log.retention.ms"] == PROPERTIES["log.retention.bytes"] == "-1"
    assert PROPERTIES["log.message.timestamp.type"] == "LogAppendTime"
    assert PROPERTIES["log.cleanup.policy"] == "delete"
    assert PROPERTIES["auto.create.topics.enable"] == "false"
    assert PROPERTIES["unclean.leader.election.enable"] == "false"
