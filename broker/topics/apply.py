"""Hold the plan against a cluster, and mend what differs; never a smaller topic, and no deletion without being told.

confluent-kafka's admin client waits in its own threads, so each call runs in one of ours, off the loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import timedelta
from functools import partial
from typing import TypeVar

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from broker.errors import UnavailableError
from broker.model.naming import Names
from broker.settings import KafkaSettings
from broker.topics.plan import MENDED, Difference, Drift, TopicFound, TopicSpec, drift, is_ours

T = TypeVar("T")

logger = structlog.get_logger(__name__)

_REQUEST_SECONDS = 30.0
_UNKNOWN = "UNKNOWN_TOPIC_OR_PART"
_CHUNK = 100
"""Topics a request: a controller writes one request's records as one batch, and that has a limit."""


class TopicAdmin:
    """Looks at an installation's topics and makes them as planned.

    Args:
        kafka: how to reach the cluster, and the prefix of this installation.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._names = Names(kafka.prefix)
        self._admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers})

    async def drift(self, specs: Sequence[TopicSpec]) -> list[Drift]:
        """Return where the cluster differs from the plan.

        Raises:
            UnavailableError: no broker answers.
        """
        return drift(specs, await self._in_thread(lambda: self._found({spec.name for spec in specs})))

    async def apply(
        self,
        specs: Sequence[TopicSpec],
        *,
        delete_unplanned: bool = False,
        within: timedelta = timedelta(seconds=60),
    ) -> list[Drift]:
        """Make missing topics and set settings right; applied twice, the second time changes nothing.

        Once this returns, every planned topic has a leader for each partition, and brokers answer with its settings.

        Args:
            specs: what should be.
            delete_unplanned: also delete topics of this installation that are not planned, with all that they hold.
            within: how long the cluster may take to show it.

        Returns:
            What was mended.

        Raises:
            UnavailableError: no broker answers, or it does not show in time.
        """
        to_mend = MENDED | ({Difference.UNPLANNED} if delete_unplanned else set())
        by_name = {spec.name: spec for spec in specs}
        mended: dict[Drift, None] = {}
        deadline = time.monotonic() + within.total_seconds()
        # Round after round, because brokers learn of a change some time after the controller has answered for it, and
        # because somebody else may apply a plan at this moment. Each step may be repeated.
        while True:
            left = [one for one in await self.drift(specs) if one.difference in to_mend]
            leaderless = [] if left else await self._in_thread(lambda: self._leaderless(specs))
            if not left and not leaderless:
                break
            if time.monotonic() > deadline:
                seen = str(left[0]) if left else f"{leaderless[0]} has no leader"
                raise UnavailableError(f"topics are not as planned, {within} after that was asked for: {seen}")
            mended |= dict.fromkeys(left)
            await self._in_thread(partial(self._mend, left, by_name))
            await asyncio.sleep(0.1)
        logger.info("Topics applied", planned=len(specs), mended=len(mended))
        return list(mended)

    def _mend(self, differences: Sequence[Drift], specs: Mapping[str, TopicSpec]) -> None:
        self._create([specs[one.topic] for one in differences if one.difference is Difference.MISSING])
        self._alter([one for one in differences if one.difference is Difference.SETTING])
        self._delete([one.topic for one in differences if one.difference is Difference.UNPLANNED])

    async def remove(self, specs: Sequence[TopicSpec]) -> None:
        """Delete topics with all that they hold; those that are not there are let be.

        Raises:
            UnavailableError: no broker answers.
        """
        await self._in_thread(lambda: self._delete([spec.name for spec in specs]))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except KafkaException as error:
            raise UnavailableError(f"administering topics: {error.args[0]}") from error

    def _found(self, planned: set[str]) -> dict[str, TopicFound]:
        """Return what there is of ours, by bare name."""
        topics = self._admin.list_topics(timeout=_REQUEST_SECONDS).topics
        ours = {
            self._names.bare(name): topic
            for name, topic in topics.items()
            if name.startswith(self._names.prefix) and is_ours(self._names.bare(name))
        }
        settings = self._settings([name for name in ours if name in planned])
        return {
            name: TopicFound(
                partitions=len(topic.partitions),
                replication=min((len(partition.replicas) for partition in topic.partitions.values()), default=0),
                settings=settings.get(name, {}),
            )
            for name, topic in ours.items()
            if name in settings or name not in planned
        }

    def _settings(self, topics: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """Return topics' settings, but of those that the broker which answers does not know yet, or not any more."""
        resources = [ConfigResource(ResourceType.TOPIC, self._names.on_cluster(topic)) for topic in topics]
        if not resources:
            return {}
        answers = self._admin.describe_configs(resources, request_timeout=_REQUEST_SECONDS)
        return {
            self._names.bare(resource.name): {name: entry.value for name, entry in answer.result().items()}
            for resource, answer in answers.items()
            if not _is(answer.exception(), _UNKNOWN)
        }

    def _create(self, specs: Sequence[TopicSpec]) -> None:
        for at in range(0, len(specs), _CHUNK):
            _settle(
                self._admin.create_topics(
                    [
                        NewTopic(
                            self._names.on_cluster(spec.name),
                            num_partitions=spec.partitions,
                            replication_factor=spec.replication,
                            config=dict(spec.settings),
                        )
                        for spec in specs[at : at + _CHUNK]
                    ],
                    request_timeout=_REQUEST_SECONDS,
                ).values(),
                but="TOPIC_ALREADY_EXISTS",
            )

    def _alter(self, differences: Iterable[Drift]) -> None:
        entries: dict[str, list[ConfigEntry]] = {}
        for one in differences:
            entries.setdefault(one.topic, []).append(
                ConfigEntry(one.setting, one.planned, incremental_operation=AlterConfigOpType.SET)
            )
        resources = [
            ConfigResource(ResourceType.TOPIC, self._names.on_cluster(topic), incremental_configs=changes)
            for topic, changes in entries.items()
        ]
        if resources:
            _settle(self._admin.incremental_alter_configs(resources, request_timeout=_REQUEST_SECONDS).values())

    def _delete(self, topics: Sequence[str]) -> None:
        if topics:
            names = [self._names.on_cluster(topic) for topic in topics]
            _settle(
                self._admin.delete_topics(names, operation_timeout=_REQUEST_SECONDS).values(),
                but="UNKNOWN_TOPIC_OR_PART",
            )

    def _leaderless(self, specs: Iterable[TopicSpec]) -> list[str]:
        topics = self._admin.list_topics(timeout=_REQUEST_SECONDS).topics
        names = [(spec.name, self._names.on_cluster(spec.name)) for spec in specs]
        return [
            name
            for name, on_cluster in names
            if on_cluster not in topics
            or not topics[on_cluster].partitions
            or any(partition.leader < 0 for partition in topics[on_cluster].partitions.values())
        ]


def _settle(futures: Iterable[Future[object]], *, but: str = "") -> None:
    """Wait for every answer, then raise the first error there was, `but` for the one that says it is done already."""
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in errors:
        if not _is(error, but):
            raise error


def _is(error: BaseException | None, name: str) -> bool:
    return isinstance(error, KafkaException) and error.args[0].name() == name
