"""Many bureaus in one process: each with its own desk, file and key, all over one connection and one reader.

For the demo, and for whoever runs several bureaus' clients on one machine. What a bureau does is `Desk`'s business, the
same as in the client for one; here is only what they share: one fetch session, one directory, one producer, one cache
of decoded and verified messages (226 inboxes hold the same ones).
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Self

import structlog

from broker.clock import SystemClock
from broker.errors import FencedError, UnavailableError
from broker.members.directory import Directory
from broker.model.message import ENDS
from broker.model.naming import Region, acks, inbox
from broker.model.receipt import ActorKind, DeclineReason, Stage
from broker.schema.codec import Codec
from broker.settings import KafkaSettings
from broker.transport.directory import Follows
from broker.transport.inbox import Delivery, DeliveryKind, InboxDecoder
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.link import linked
from broker.transport.publisher import Writes
from broker.transport.reader import RawBatch, RawReader
from broker.trust.keys import KeyRing
from consumers.bureau.desk import PROGRAM, Desk, handling
from consumers.bureau.sending import send, written
from consumers.bureau.state import BureauState
from consumers.bureau.tables import Owed

logger = structlog.get_logger(__name__)

FILES_PER_BUREAU = 3
"""SQLite's database, its log and the log's index."""

_FILES_BESIDES = 256
_PAUSE_SECONDS = 0.5
_POLL_WAIT = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A stage that a bureau reaches with a delivery."""

    stage: Stage
    reason: DeclineReason | None = None
    actor: str = PROGRAM
    actor_kind: ActorKind = ActorKind.PROGRAM


Polled = Sequence[tuple[TopicPartition, Sequence[RawBatch]]]
"""What one poll of the inboxes returned, by inbox."""

Handler = Callable[[Delivery], Awaitable[Sequence[Decision]]]
"""What a bureau does with a delivery: returns the stages that it reaches, in order, and is done with it."""


async def accept_or_purge(delivery: Delivery) -> Sequence[Decision]:
    """Do what a willing bureau does: accept what is in force, purge what has ended."""
    if not delivery.kind.takes_receipts:
        return ()
    if delivery.kind is DeliveryKind.END or delivery.event in ENDS:
        return (Decision(stage=Stage.PURGED),)
    return (Decision(stage=Stage.ACCEPTED),)


class BureauHost:
    """Runs the clients of many bureaus.

    Args:
        desks: one a bureau.
        client: the connection that all of them share; started.
        follower: the directory.
        publisher: writes everybody's receipts.
        handler: what each bureau does with what it is given. If it raises, `run` does, whatever it is: nothing of that
            poll counts, and all of it comes again, whether `poll` or `run` is called once more or the process restarts.
    """

    def __init__(
        self, *, desks: Iterable[Desk], client: RawClient, follower: Follows, publisher: Writes, handler: Handler
    ) -> None:
        self._desks = {TopicPartition(inbox(desk.bureau), 0): desk for desk in desks}
        self._client = client
        self._follower = follower
        self._publisher = publisher
        self._handler = handler
        self._reader = RawReader(
            client,
            {partition: desk.state.position for partition, desk in self._desks.items()},
            committed=True,
            lane=f"bureaus-{id(self):x}",
            max_wait=_POLL_WAIT,
        )
        self.handled = 0
        """Deliveries finished, and their receipts on Kafka."""

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        codes: Iterable[str] | None = None,
        *,
        handler: Handler = accept_or_purge,
        data: Path,
        kafka: KafkaSettings,
        root_public: bytes | None = None,
        codec: Codec | None = None,
    ) -> AsyncIterator[Self]:
        """Connect bureaus to an installation.

        Args:
            codes: whose; everybody's who has an inbox, if left out.
            handler: as in the class.
            data: holds `keys/` and `bureaus/`.
            kafka: how to reach the cluster.
            root_public: the Secretariat's first key, if pinned.
            codec: where an external registry gives the schemas their ids.

        Raises:
            RefusedError: a bureau's key is not here.
            UnavailableError: no broker answers, a topic is missing, or the installation is not founded.
        """
        async with linked(
            kafka, codec=codec or Codec.load(), client_id="noticewire-bureaus", root_public=root_public
        ) as link:
            directory = await link.follower.at_its_end()
            if directory.installation is None:
                raise UnavailableError("the installation is not founded yet")
            wanted = directory.recipients() if codes is None else tuple(codes)
            _allow_files(len(wanted) * FILES_PER_BUREAU + _FILES_BESIDES)
            await link.client.warm({*map(inbox, wanted), *map(acks, Region)})
            with ExitStack() as stack:
                desks = _desks(wanted, data=data, codec=link.codec, installation=directory.installation, stack=stack)
                host = cls(
                    desks=desks,
                    client=link.client,
                    follower=link.follower,
                    publisher=link.publisher,
                    handler=handler,
                )
                try:
                    yield host
                finally:
                    await host.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Receive, handle and acknowledge until told to stop; the poll under way is ended first.

        Raises:
            CorruptHistoryError: an inbox lost records that were not read.
            Exception: whatever the handler raises.
        """
        await self.send_owed()
        while not stop.is_set():
            try:
                polled, directory = await self._read()
            except UnavailableError as error:  # Kafka's alone: a handler's would be swallowed, and its deliveries
                logger.warning("Inboxes wait for Kafka", **error.log_fields())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _PAUSE_SECONDS)
            else:
                await self._handle(polled, directory)

    async def send_owed(self) -> None:
        """Send the receipts that an earlier run owed."""
        await self._flush([desk for desk in self._desks.values() if desk.state.owes])

    async def poll(self) -> int:
        """Handle what one poll of all inboxes returns; its receipts are on Kafka once this returns.

        Returns:
            How many deliveries were finished.

        Raises:
            UnavailableError: an inbox or the directory cannot be read now; nothing has moved.
            Exception: whatever the handler raises; nothing has moved, and the next poll hands out the same.
        """
        polled, directory = await self._read()
        return await self._handle(polled, directory)

    async def _read(self) -> tuple[Polled, Directory | None]:
        polled = await self._reader.poll()
        return polled, await self._follower.at_its_end() if polled else None

    async def _handle(self, polled: Polled, directory: Directory | None) -> int:
        if directory is None:
            return 0
        desks = [
            (partition, self._desks[partition], batches) for partition, batches in polled if partition in self._desks
        ]
        finished = 0
        try:
            for _, desk, batches in desks:
                for delivery in desk.take(batches, directory):
                    await self._handle_one(desk, delivery)
                    finished += 1
        except BaseException:
            for partition, desk, _ in desks:
                self._reader.assign(partition, desk.start_over())
            raise
        for partition, _, batches in desks:
            self._reader.advance(partition, batches[-1].next_offset)
        await self._flush([desk for _, desk, _ in desks])
        self.handled += finished
        return finished

    async def _handle_one(self, desk: Desk, delivery: Delivery) -> None:
        with handling(delivery):
            decisions = await self._handler(delivery)
        for decision in decisions:
            desk.acknowledge(
                delivery,
                decision.stage,
                reason=decision.reason,
                actor=decision.actor,
                actor_kind=decision.actor_kind,
            )
        desk.finish(delivery)

    async def close(self) -> None:
        """Stop reading; positions and receipts are in the bureaus' files."""
        await self._reader.close()

    async def _flush(self, desks: Sequence[Desk]) -> None:
        sealed: list[tuple[Desk, list[Owed]]] = []
        for desk in desks:
            with self._letting_go(desk):
                sealed.append((desk, await written(desk.seal)))
        await send([(desk.bureau, one) for desk, owed in sealed for one in owed], publisher=self._publisher)
        for desk, owed in sealed:
            if owed:
                with self._letting_go(desk):
                    await written(partial(desk.settle, owed))

    @contextlib.contextmanager
    def _letting_go(self, desk: Desk) -> Iterator[None]:
        try:
            yield
        except FencedError:
            logger.warning("Bureau taken over by another client", bureau=desk.bureau)
            partition = TopicPartition(inbox(desk.bureau), 0)
            self._desks.pop(partition, None)
            self._reader.drop(partition)


def _desks(codes: Iterable[str], *, data: Path, codec: Codec, installation: str, stack: ExitStack) -> list[Desk]:
    keys, decoder, clock = KeyRing(data / "keys"), InboxDecoder(codec), SystemClock()
    desks = []
    for code in codes:
        state = BureauState.open(data / "bureaus" / f"{code}.db", bureau=code, installation=installation)
        stack.callback(state.close)
        desks.append(
            Desk(
                state=state,
                decoder=decoder,
                codec=codec,
                signer=keys.signer(code),
                installation=installation,
                clock=clock,
            )
        )
    return desks


def _allow_files(files: int) -> None:
    """Raise this process's soft limit of open files, as far as the hard one lets it: 226 bureaus need some 700."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        wanted = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
