"""A bureau's client: its inbox as an async iterator of typed deliveries, and a way to acknowledge them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from broker.clock import SystemClock
from broker.endpoints import locate
from broker.errors import NoticewireError, UnavailableError
from broker.model.naming import inbox
from broker.model.receipt import ActorKind, DeclineReason, Stage
from broker.observe.tracing import Handling
from broker.transport.directory import Follows
from broker.transport.inbox import Delivery, InboxDecoder
from broker.transport.kafka import TopicPartition
from broker.transport.link import linked
from broker.transport.publisher import Writes
from broker.transport.reader import RawReader
from broker.trust.keys import KeyRing
from broker.trust.signing import Signer
from consumers.bureau.desk import PROGRAM, Desk, handling
from consumers.bureau.sending import send, written
from consumers.bureau.state import BureauState
from consumers.bureau.tables import Parked

logger = structlog.get_logger(__name__)

FLUSH_EVERY = timedelta(milliseconds=250)
"""How long a receipt may wait for others to share its record with."""

FLUSH_RECEIPTS = 200
"""How many receipts are worth a record at once."""

_LEAVE_WITHIN = timedelta(seconds=30)
_PAUSE_SECONDS = 0.5


class Inbox:
    """A bureau's inbox.

    At least once: a delivery that the program did not finish before it stopped comes again. Deliveries come in the
    inbox's order; asking for the next one finishes the one before. Leaving the loop (`break`, an exception) leaves the
    last one unfinished, unless `finish` was called.

    Args:
        desk: the bureau's desk, on its own file.
        reader: at the desk's position in the inbox, read_committed.
        follower: the directory.
        publisher: writes receipts.
        follow: whether to wait for more at the inbox's end; otherwise the iteration ends there.
    """

    def __init__(
        self, *, desk: Desk, reader: RawReader, follower: Follows, publisher: Writes, follow: bool = True
    ) -> None:
        self._desk = desk
        self._reader = reader
        self._follower = follower
        self._publisher = publisher
        self._follow = follow
        self._partition = TopicPartition(inbox(desk.bureau), 0)
        self._queue: deque[Delivery] = deque()
        self._handed: Delivery | None = None
        self._handling: Handling | None = None
        self._flushing = asyncio.Lock()
        self._flusher: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        bureau: str,
        *,
        data: Path | str | None = None,
        signer: Signer | None = None,
        follow: bool = True,
        received_when_finished: bool = False,
    ) -> AsyncIterator[Self]:
        """Connect a bureau to the installation of a data folder, or of the settings.

        Args:
            bureau: its code.
            data: holds `endpoints.json`, `keys/` and `bureaus/`; otherwise the setting `data`.
            signer: instead of the bureau's key in the data folder.
            follow: as in the class.
            received_when_finished: acknowledge `received` when a delivery is finished, rather than when it comes: for
                a program that only passes it on.

        Raises:
            RefusedError: no key of the bureau is here, or the settings make no sense.
            UnavailableError: no broker answers, or the installation is not founded.
            CorruptHistoryError: the bureau's file belongs to another installation.
        """
        found = locate(None if data is None else Path(data))
        signs = signer or KeyRing(found.data / "keys").signer(bureau)
        async with linked(
            found.kafka, codec=found.codec(), client_id=f"noticewire-bureau-{bureau}", root_public=found.root_public
        ) as link:
            directory = await link.follower.at_its_end()
            if directory.installation is None:
                raise UnavailableError("the installation is not founded yet")
            state = BureauState.open(
                found.data / "bureaus" / f"{bureau}.db", bureau=bureau, installation=directory.installation
            )
            with contextlib.closing(state):
                desk = Desk(
                    state=state,
                    decoder=InboxDecoder(link.codec),
                    codec=link.codec,
                    signer=signs,
                    installation=directory.installation,
                    clock=SystemClock(),
                    received_when_finished=received_when_finished,
                )
                reader = RawReader(
                    link.client, {TopicPartition(inbox(bureau), 0): state.position}, committed=True, lane="inbox"
                )
                async with cls(
                    desk=desk, reader=reader, follower=link.follower, publisher=link.publisher, follow=follow
                ) as client:
                    yield client

    async def __aenter__(self) -> Self:
        """Begin; receipts that an earlier run owed go first."""
        await self.flush()
        self._flusher = asyncio.create_task(self._flush_on_time())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Send what is owed, and stop; what is not finished comes again next time.

        Raises:
            UnavailableError: Kafka is away; the receipts are kept in the bureau's file, and go first next time. Or its
                disk is full; then what it does not hold comes again next time.
        """
        self._end_handling(error)
        if self._flusher is not None:
            self._flusher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher
        try:
            await self.flush(give_up_after=timedelta(0) if error is not None else _LEAVE_WITHIN)
        except NoticewireError:
            if error is None:
                raise
        finally:
            await self._reader.close()

    def __aiter__(self) -> Self:
        """Iterate over what is not finished yet, oldest first."""
        return self

    async def __anext__(self) -> Delivery:
        """Finish the delivery before, and return the next one; waits for it.

        Raises:
            FencedError: another client of this bureau took over.
            CorruptHistoryError: the inbox lost records that were not read.
        """
        if self._handed is not None:
            await self.finish(self._handed)
        while not self._queue:
            self._raise_failure()
            if not self._follow and self._is_at_the_end():
                await self.flush()
                raise StopAsyncIteration
            await self._read()
        self._handed = self._queue.popleft()
        self._handling = handling(self._handed)
        return self._handed

    async def acknowledge(
        self,
        delivery: Delivery,
        stage: Stage,
        *,
        reason: DeclineReason | None = None,
        actor: str = PROGRAM,
        actor_kind: ActorKind = ActorKind.PROGRAM,
    ) -> None:
        """Acknowledge a stage; `received` is acknowledged by itself.

        The receipt is signed and written down within `FLUSH_EVERY`, together with others, and then sent until Kafka
        has it. `flush` waits for that.

        Args:
            delivery: one that is not finished.
            stage: how far the bureau is with it.
            reason: why, if it declines.
            actor: a program's name, or an officer's pseudonym; never a person's name.
            actor_kind: which of the two.

        Raises:
            InvalidFieldError: the stage may not come now, or the reason is missing or too much.
        """
        self._desk.acknowledge(delivery, stage, reason=reason, actor=actor, actor_kind=actor_kind)
        await self._flush_if_many()

    async def finish(self, delivery: Delivery) -> None:
        """Finish a delivery: it does not come again once `flush` has returned."""
        self._desk.finish(delivery)
        if self._handed is delivery:
            self._handed = None
            self._end_handling()
        await self._flush_if_many()

    async def flush(self, *, give_up_after: timedelta | None = None) -> None:
        """Write down what was done, send every receipt that is owed, and move the position.

        Raises:
            FencedError: another client of this bureau took over.
            UnavailableError: the disk or Kafka did not take them within `give_up_after`.
        """
        self._raise_failure()
        async with self._flushing:
            owed = await written(self._desk.seal, give_up_after=give_up_after)
            if owed:
                await send(
                    [(self._desk.bureau, one) for one in owed],
                    publisher=self._publisher,
                    give_up_after=give_up_after,
                )
                await written(lambda: self._desk.settle(owed), give_up_after=give_up_after)

    def parked(self) -> list[Parked]:
        """Return the records that were set aside, with the reasons."""
        return self._desk.state.parked()

    def _end_handling(self, error: BaseException | None = None) -> None:
        ended, self._handling = self._handling, None
        if ended is not None:
            ended.end(error)

    async def _flush_if_many(self) -> None:
        if self._desk.unsealed >= FLUSH_RECEIPTS:
            await self.flush()

    async def _flush_on_time(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY.total_seconds())
            try:
                if self._desk.is_dirty:
                    await self.flush()
            except Exception as error:  # noqa: BLE001 - a broken file, too: the next call tells it, or nobody would
                self._failure = error
                return

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _is_at_the_end(self) -> bool:
        end = self._reader.last_stable.get(self._partition)
        return end is not None and self._reader.positions[self._partition] >= end

    async def _read(self) -> None:
        try:
            polled = await self._reader.poll()
            directory = await self._follower.at_its_end() if polled else None
        except UnavailableError as error:
            logger.warning("Inbox waits for Kafka", bureau=self._desk.bureau, **error.log_fields())
            await asyncio.sleep(_PAUSE_SECONDS)
            return
        for partition, batches in polled:
            if directory is not None:
                self._queue.extend(self._desk.take(batches, directory))
                self._reader.advance(partition, batches[-1].next_offset)
