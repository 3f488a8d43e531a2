"""Read partitions by explicit positions, every offset of them: what strangers can write, and what the archive reads.

aiokafka's consumer raises for ever on a header name that is not UTF-8, skips on records that are too large, and hides
transaction markers and aborted batches. This reader does none of that, and never jumps: a position that the log does
not hold is an incident.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from broker.errors import CorruptHistoryError
from broker.transport.batches import Marker, RawBatch, RawRecord, parse
from broker.transport.kafka import Fetched, RawClient, TopicPartition, consume

__all__ = ["Marker", "RawBatch", "RawReader", "RawRecord"]


@dataclass(frozen=True, slots=True)
class _Flight:
    """A fetch under way, and the positions that it asked for."""

    positions: dict[TopicPartition, int]
    answer: asyncio.Task[list[Fetched]]


class RawReader:
    """Record batches from explicit positions; one fetch in flight for each leader.

    Args:
        client: the connection to Kafka; started, and stopped by whoever made it.
        positions: the next offset to read of each partition.
        committed: read_committed: only up to the last stable offset, and with `RawBatch.is_aborted`. Otherwise up to
            the high watermark, open transactions included.
        lane: a name for connections that this reader has to itself, because a fetch that waits holds up what comes
            after it. Unique among the readers of a client.
        max_wait: how long `poll` waits when there is nothing.
        max_bytes: about how much one leader sends at once.
        partition_bytes: about how much of that may be one partition's. Above the largest batch (1.1 MB).
        keep_raw: keep each batch's bytes.
        keep_aborted: read the records of aborted transactions, too.

    Attributes:
        positions: the next offset to read; moved by `advance` only.
        high_watermarks: where each partition ended, as of its last answer.
        last_stable: up to where its transactions were decided, as of its last answer.
        log_starts: the first offset that it held, as of its last answer.
    """

    def __init__(
        self,
        client: RawClient,
        positions: Mapping[TopicPartition, int],
        *,
        committed: bool,
        lane: str,
        max_wait: timedelta = timedelta(milliseconds=500),
        max_bytes: int = 8 << 20,
        partition_bytes: int = 2 << 20,
        keep_raw: bool = False,
        keep_aborted: bool = False,
    ) -> None:
        self._client = client
        self._committed = committed
        self._lane = lane
        self._max_wait = max_wait
        self._max_bytes = max_bytes
        self._partition_bytes = partition_bytes
        self._keep_raw = keep_raw
        self._keep_aborted = keep_aborted
        self._flights: dict[int, _Flight] = {}
        self._turn = 0
        self.positions = dict(positions)
        self.high_watermarks: dict[TopicPartition, int] = {}
        self.last_stable: dict[TopicPartition, int] = {}
        self.log_starts: dict[TopicPartition, int] = {}

    async def poll(self) -> list[tuple[TopicPartition, list[RawBatch]]]:
        """Return what the next leader answers: batches that follow each partition's position without a gap.

        May be cancelled: a fetch under way goes on, and its answer comes with the next poll.

        Returns:
            Partitions that have something, each with its batches in order; empty when nothing came within `max_wait`.
            The same comes again until `advance` moves the position.

        Raises:
            CorruptHistoryError: offsets are missing in the log, or before its start; names the place.
            UnavailableError: a leader is away or moving, or a topic is missing. Try again; nothing has moved.
        """
        if not self.positions:
            await asyncio.sleep(self._max_wait.total_seconds())
            return []
        await self._take_off()
        done, _ = await asyncio.wait(
            [flight.answer for flight in self._flights.values()], return_when=asyncio.FIRST_COMPLETED
        )
        landed = [(node, flight) for node, flight in self._flights.items() if flight.answer in done]
        for node, flight in landed:
            del self._flights[node]
            consume(flight.answer)  # if several failed, the first is told
        return [entry for _, flight in landed for entry in self._land(flight)]

    def advance(self, partition: TopicPartition, next_offset: int) -> None:
        """Go on at `next_offset`: everything before is finished. Also within a batch."""
        if next_offset < self.positions[partition]:
            raise CorruptHistoryError(f"{partition}/{self.positions[partition]}", f"cannot go back to {next_offset}")
        self.positions[partition] = next_offset

    def assign(self, partition: TopicPartition, offset: int) -> None:
        """Read a further partition, or one from elsewhere."""
        self.positions[partition] = offset

    def drop(self, partition: TopicPartition) -> None:
        """Read a partition no more."""
        for known in (self.positions, self.high_watermarks, self.last_stable, self.log_starts):
            known.pop(partition, None)

    async def close(self) -> None:
        """Give up what is under way and close the lane; `positions` stay."""
        flights = [flight.answer for flight in self._flights.values()]
        self._flights.clear()
        for answer in flights:
            answer.cancel()
        if flights:
            await asyncio.gather(*flights, return_exceptions=True)
        self._client.release(self._lane)

    async def _take_off(self) -> None:
        """Send a fetch to each leader that has none under way."""
        self._turn += 1
        aloft = {partition for flight in self._flights.values() for partition in flight.positions}
        waiting = [partition for partition in self.positions if partition not in aloft]
        if not waiting:
            return
        for node, led in (await self._client.leaders(waiting)).items():
            if node in self._flights:
                continue
            # A leader fills its answer in the order asked, and cuts the last ones short: take turns in being first.
            first = self._turn % len(led)
            positions = {partition: self.positions[partition] for partition in led[first:] + led[:first]}
            fetch = self._client.fetch(
                node,
                positions,
                committed=self._committed,
                lane=self._lane,
                max_wait=self._max_wait,
                max_bytes=self._max_bytes,
                partition_bytes=self._partition_bytes,
            )
            self._flights[node] = _Flight(positions, asyncio.create_task(fetch))

    def _land(self, flight: _Flight) -> Iterator[tuple[TopicPartition, list[RawBatch]]]:
        """Read a fetch's answer."""
        for fetched in flight.answer.result():
            partition = fetched.partition
            position = flight.positions[partition]
            if self.positions.get(partition) != position:
                continue  # dropped, or assigned from elsewhere, while the fetch was under way
            self.high_watermarks[partition] = fetched.high_watermark
            self.last_stable[partition] = fetched.last_stable
            self.log_starts[partition] = fetched.log_start
            batches = list(
                parse(
                    fetched.data,
                    position,
                    place=str(partition),
                    aborted=fetched.aborted,
                    keep_raw=self._keep_raw,
                    keep_aborted=self._keep_aborted,
                )
            )
            if batches:
                yield partition, batches
