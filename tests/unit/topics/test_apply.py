"""Topics on a cluster of several brokers, of which one is behind the others."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import ConfigResource

from broker.settings import KafkaSettings
from broker.topics.apply import TopicAdmin
from broker.topics.plan import Difference, Drift, plan

KAFKA = KafkaSettings()
SPECS = plan(["zw"], kafka=KAFKA)
BEHIND = "inbox.zw"


class TwoBrokers:
    """Lists every planned topic, and knows the settings of all but one: another broker answers that."""

    def list_topics(self, **_: Any) -> Any:
        """Answer as the broker that is ahead."""
        return SimpleNamespace(
            topics={
                spec.name: SimpleNamespace(
                    partitions={at: SimpleNamespace(replicas=[1] * spec.replication) for at in range(spec.partitions)}
                )
                for spec in SPECS
            }
        )

    def describe_configs(self, resources: list[ConfigResource], **_: Any) -> Any:
        """Answer as the one that is behind."""
        return {resource: self._answer(str(resource.name)) for resource in resources}

    def _answer(self, topic: str) -> Future[Any]:
        answer: Future[Any] = Future()
        if topic == BEHIND:
            answer.set_exception(KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)))
        else:
            (spec,) = [spec for spec in SPECS if spec.name == topic]
            answer.set_result({name: SimpleNamespace(value=value) for name, value in spec.settings.items()})
        return answer


async def test_a_topic_that_one_broker_does_not_know_yet_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no failure: the next look finds it, and making it again does nothing."""
    admin = TopicAdmin(KAFKA)
    monkeypatch.setattr(admin, "_admin", TwoBrokers())

    assert await admin.drift(SPECS) == [Drift(BEHIND, Difference.MISSING)]
