"""Watch a service from beside: beat its health, ask Kafka how far behind it is, and answer whoever asks.

One task on the service's own loop: that it runs is the proof that the loop turns. The service knows nothing of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from broker.errors import UnavailableError
from broker.model.naming import DIRECTORY
from broker.observe.health import Health
from broker.observe.lag import Lags
from broker.observe.listener import Listener
from broker.observe.metrics import Metrics
from broker.transport.kafka import RawClient, TopicPartition

logger = structlog.get_logger(__name__)

BEAT_SECONDS = 0.5
SAMPLE = timedelta(seconds=5)
STEP_SECONDS = 1.0
"""A clock that is off by more than this between two beats was set; NTP moves it by 0.5 ms a second at most."""

BEHIND_SECONDS_MAX = 30.0
"""A tracker or an archive is ready while nothing has been waiting for longer than this; so is a router's feed."""
UNKNOWN_SECONDS_MAX = 30.0
"""For how long a lag may be unknown, because Kafka does not answer, before a service is not ready."""

Positions = Callable[[], Mapping[tuple[str, int], int]]


@dataclass(kw_only=True)
class Watch:
    """What is watched of a service, and how it is shown.

    Args:
        metrics: of the process.
        asks_kafka: whether there are logs at all.
        positions: how far the service is in each log that it reads now, by bare topic and partition.
        committed: whether a topic counts up to its last stable offset (else up to its high watermark).
        problems: what keeps the service from being ready, apart from lag.
        by_shard: whether lags are shown by shard, or summed up by kind of topic.
        on_beat: is called at each beat, for figures that are read off.
        on_sample: is called with the lags after each sample.
        now: a monotonic clock, in seconds.
        wall: the machine's clock, in seconds.
    """

    metrics: Metrics
    asks_kafka: bool = True
    positions: Positions = dict[tuple[str, int], int]
    committed: Callable[[str], bool] = lambda _: False
    problems: Callable[[], Iterable[str]] = lambda: ("is starting",)
    by_shard: bool = True
    on_beat: Callable[[], None] = lambda: None
    on_sample: Callable[[Lags], None] = lambda _: None
    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    lags: Lags = field(default_factory=Lags)
    _offset: float | None = None

    @property
    def health(self) -> Health:
        """What the service says of itself."""
        return self.metrics.health

    def beat(self) -> None:
        """Show how things are now."""
        self._look_at_the_clock()
        self.on_beat()
        self.health.beat([*self.problems(), *self._behind()])

    async def sample(self, client: RawClient) -> None:
        """Ask Kafka where the logs end, and show how far behind the service is.

        Raises:
            UnavailableError: no answer; the lags stay what they were, and their age shows.
        """
        places = list(self.positions()) or [(DIRECTORY, 0)]  # whether Kafka answers is asked in any case
        ends: dict[tuple[str, int], int] = {}
        for committed in (False, True):
            if asked := [TopicPartition(*place) for place in places if self.committed(place[0]) is committed]:
                found = await client.end_offsets(asked, committed=committed)
                ends |= {(one.topic, one.partition): end for one, end in found.items()}
        self.lags.sample(ends, self.positions(), now=self.now())
        self.metrics.lagging(self.lags, now=self.now(), by_shard=self.by_shard)
        self.on_sample(self.lags)

    def _behind(self) -> Iterator[str]:
        now = self.now()
        if not self.asks_kafka:
            return
        if self.lags.sampled_at is None:
            yield "its lag is not known yet"
            return
        if now - self.lags.sampled_at > UNKNOWN_SECONDS_MAX:
            yield f"its lag is not known since {now - self.lags.sampled_at:.0f} s: Kafka does not say where logs end"
        longest = self.lags.longest(now)
        if longest is not None and longest[1].seconds > BEHIND_SECONDS_MAX:
            (topic, partition), lag = longest
            yield f"{topic}/{partition} is {lag.records} records behind, for {lag.seconds:.0f} s"

    def _look_at_the_clock(self) -> None:
        offset = self.wall() - self.now()
        if self._offset is not None and abs(offset - self._offset) > STEP_SECONDS:
            self.metrics.stepped()
            logger.error("Clock jumped", by_seconds=round(offset - self._offset, 1))
        self._offset = offset


@contextlib.asynccontextmanager
async def watched(watch: Watch, client: RawClient | None, *, port: int = 0) -> AsyncIterator[Listener]:
    """Watch a service for as long as the block runs, and answer on 127.0.0.1.

    Args:
        watch: what to look at.
        client: a started connection, for the ends of logs; without it there are none.
        port: where to answer; 0: any free one.
    """
    listener = Listener(health=watch.health, registry=watch.metrics.registry, port=port)
    listener.start()
    logger.info("Service observed", address=listener.address)
    tasks = [asyncio.create_task(_beating(watch), name="beat")]
    if client is not None:
        tasks.append(asyncio.create_task(_sampling(watch, client), name="lag"))
    for task in tasks:
        task.add_done_callback(_note_end)
    try:
        yield listener
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(listener.close)


def _note_end(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("Observation ended", part=task.get_name(), exc_info=error)  # and /healthz says so from now on


async def _beating(watch: Watch) -> None:
    while True:
        watch.beat()
        await asyncio.sleep(BEAT_SECONDS)


async def _sampling(watch: Watch, client: RawClient) -> None:
    while True:
        try:
            await watch.sample(client)
        except UnavailableError as error:
            logger.warning("Lag not known", reason=str(error))
        await asyncio.sleep(SAMPLE.total_seconds() if watch.lags.sampled_at is not None else BEAT_SECONDS)
