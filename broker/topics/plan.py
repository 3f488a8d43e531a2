"""What should exist on the cluster, with which settings; where it differs; and the mend.

Kafka never deletes by itself here: a log's deletion is the janitor's decision, and a sender's clock is never believed
(with CreateTime, a record dated ten years back would be deleted at once, and one dated ahead would keep others).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from typing_extensions import override

from broker.model.naming import (
    ALERTS,
    CHECKPOINTS,
    DIRECTORY,
    FEED_KINDS,
    REJECTED,
    SHARDS,
    SHARDS_PER_REGION,
    SHARDS_TOPIC,
    Region,
    acks,
    feeds,
    inbox,
    ledger,
)
from broker.settings import KafkaSettings

_BATCH_HEADER_BYTES = 61 + 64
"""A record batch's header, and what a record adds to its own bytes: Kafka's limit is about batches."""

ALWAYS: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "message.timestamp.type": "LogAppendTime",
    "unclean.leader.election.enable": "false",
}
"""Settings of every topic (design section 1)."""


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """One topic as it should be."""

    name: str
    """Without the installation's prefix."""
    partitions: int
    replication: int
    settings: Mapping[str, str]


def plan(bureaus: Iterable[str], *, kafka: KafkaSettings) -> tuple[TopicSpec, ...]:
    """Return every topic of an installation, sorted by name.

    Args:
        bureaus: the codes of whoever has an inbox (`Directory.recipients`).
        kafka: replicas, and the size of the largest record.
    """
    feed_bytes = kafka.record_bytes_max + _BATCH_HEADER_BYTES
    enclosing_bytes = feed_bytes + kafka.enclosing_bytes_extra

    def topic(name: str, partitions: int = 1, *, size: int = feed_bytes, is_bounded: bool = False) -> TopicSpec:
        settings = {
            **ALWAYS,
            "min.insync.replicas": str(kafka.in_sync_min),
            "max.message.bytes": str(size),
            # What bureaus write is not compressed, so the size limit bounds what a record unpacks to: 200 MB of zeros
            # fit in 6 KB. Elsewhere the batches stay as the router made them, since copies must not be made anew.
            "compression.type": "uncompressed" if is_bounded else "producer",
        }
        return TopicSpec(name, partitions, kafka.replication, settings)

    regional: list[TopicSpec] = []
    for region in Region:
        regional += [topic(name, SHARDS_PER_REGION, is_bounded=True) for name in feeds(region)]
        regional.append(topic(acks(region), SHARDS_PER_REGION, is_bounded=True))
        regional.append(topic(ledger(region), SHARDS_PER_REGION))
    inboxes = [topic(inbox(bureau), size=enclosing_bytes) for bureau in set(bureaus)]
    single = [
        topic(REJECTED, size=enclosing_bytes),
        topic(DIRECTORY, is_bounded=True),
        topic(ALERTS),
        topic(CHECKPOINTS),
        topic(SHARDS_TOPIC, len(SHARDS)),
    ]
    return tuple(sorted((*regional, *inboxes, *single), key=lambda spec: spec.name))


class Difference(StrEnum):
    """How a topic differs from its plan."""

    MISSING = "missing"
    SETTING = "setting"
    PARTITIONS = "partitions"
    """Never mended: a notice's shard must never change, and Kafka cannot take partitions away."""
    REPLICATION = "replication"
    """Never mended here: moving replicas is a matter of the cluster's operators."""
    UNPLANNED = "unplanned"
    """Ours by its name, and not in the plan: the inbox of a bureau that the directory does not know."""


MENDED = frozenset({Difference.MISSING, Difference.SETTING})
"""What applying the plan mends by itself; unplanned topics are deleted only when told."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between the plan and the cluster."""

    topic: str
    difference: Difference
    setting: str = ""
    planned: str = ""
    found: str = ""

    @override
    def __str__(self) -> str:
        """Say it in a line."""
        what = self.setting or self.difference.value
        match self.difference:
            case Difference.MISSING | Difference.UNPLANNED:
                return f"{self.topic}: {self.difference}"
            case _:
                return f"{self.topic}: {what} is {self.found}, planned {self.planned}"


@dataclass(frozen=True, slots=True)
class TopicFound:
    """One topic as it is."""

    partitions: int
    replication: int
    settings: Mapping[str, str]


def drift(specs: Sequence[TopicSpec], found: Mapping[str, TopicFound]) -> list[Drift]:
    """Return every difference, the plan's topics first, in its order.

    Args:
        specs: what should be.
        found: what is, by bare name; topics that are not ours by their name are let be.
    """
    differences: list[Drift] = []
    for spec in specs:
        topic = found.get(spec.name)
        if topic is None:
            differences.append(Drift(spec.name, Difference.MISSING))
            continue
        for difference, planned, seen in (
            (Difference.PARTITIONS, spec.partitions, topic.partitions),
            (Difference.REPLICATION, spec.replication, topic.replication),
        ):
            if planned != seen:
                differences.append(Drift(spec.name, difference, planned=str(planned), found=str(seen)))
        for setting, wanted in spec.settings.items():
            has = topic.settings.get(setting, "")
            if wanted != has:
                differences.append(Drift(spec.name, Difference.SETTING, setting, wanted, has))
    planned_names = {spec.name for spec in specs}
    unplanned = sorted(name for name in found if name not in planned_names and is_ours(name))
    return [*differences, *(Drift(name, Difference.UNPLANNED) for name in unplanned)]


def is_ours(name: str) -> bool:
    """Whether a bare name is one that an installation uses; others on the cluster are none of our business."""
    kind, dot, _ = name.partition(".")
    return (bool(dot) and kind in {*FEED_KINDS, "ledger", "acks", "inbox"}) or name in {
        REJECTED,
        DIRECTORY,
        ALERTS,
        CHECKPOINTS,
        SHARDS_TOPIC,
    }
