"""Send what a journal holds: each notice's messages in their order, again and again until they land or are refused."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

import structlog

from broker.clock import Clock
from broker.errors import FencedError, NoticewireError, UnavailableError
from broker.observe.faultpoints import Faults
from broker.transport.kafka import consume
from broker.transport.publisher import RecordPlace
from producers.journal import Journal, JournalEntry
from producers.letter import Letter

logger = structlog.get_logger(__name__)

Landing = asyncio.Future[RecordPlace]
"""Where an entry has landed, once it has."""

_NOTICES_AT_ONCE = 100
_BACK_OFF_FIRST = timedelta(milliseconds=200)
_BACK_OFF_MAX = timedelta(seconds=5)


class Sender:
    """Brings a journal's entries to Kafka in the background.

    A message is sent only when the one of its notice before it has landed or has failed. One that fails (the door or
    Kafka refuses it for good) stays in the journal as failed, is logged as an error, and holds up nobody: an end must
    not wait for a revision that nobody can send. One that Kafka does not answer for is sent again, with the same
    bytes, without an end.

    Args:
        journal: open.
        send: brings one letter to Kafka; raises a `NoticewireError` that is neither `UnavailableError` nor
            `FencedError` where it is refused for good.
        clock: says when something failed.
        faults: is told the points `after_journal` and `after_send` (a test kills there).
    """

    def __init__(
        self,
        *,
        journal: Journal,
        send: Callable[[Letter], Awaitable[RecordPlace]],
        clock: Clock,
        faults: Faults | None = None,
    ) -> None:
        self._journal = journal
        self._send = send
        self._clock = clock
        self._faults = faults
        self._queues: dict[str, deque[JournalEntry]] = {}
        self._left: dict[str, tuple[str, int]] = {}
        """Notices whose sending broke down: why, and how many of their entries wait for the next start."""
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._landings: dict[int, Landing] = {}
        self._accepting: set[asyncio.Task[tuple[JournalEntry, Landing]]] = set()
        self._places = asyncio.Semaphore(_NOTICES_AT_ONCE)

    @property
    def waiting(self) -> int:
        """How many entries have neither landed nor failed."""
        return sum(map(len, self._queues.values())) + sum(count for _, count in self._left.values())

    async def start(self) -> None:
        """Begin with what an earlier process left; say what has failed and waits for a decision."""
        left = await self._journal.waiting()
        if left:
            logger.info("Sending what the journal holds", count=len(left))
        for entry in left:
            _ = self._enqueue(entry)  # nobody of this process waits for it
        if failures := await self._journal.failures():
            logger.error("The journal holds messages that were refused", count=len(failures))

    async def accept(self, letter: Letter) -> tuple[JournalEntry, Landing]:
        """Write a letter to the journal, and send it in the background; durable once this returns.

        If it is cancelled meanwhile, the letter may have been accepted all the same, and is then sent.

        Returns:
            The entry, and where it will have landed: fails with what refused it for good.

        Raises:
            InvalidFieldError: another message of that id waits in the journal.
            UnavailableError: the journal's disk is full or away; nothing was kept.
        """
        accepting = asyncio.create_task(self._accept(letter))
        self._accepting.add(accepting)
        accepting.add_done_callback(self._accepting.discard)
        accepting.add_done_callback(consume)
        return await asyncio.shield(accepting)

    async def _accept(self, letter: Letter) -> tuple[JournalEntry, Landing]:
        entry = await self._journal.accept(letter, at=self._clock.now())
        await self._pass("after_journal")
        return entry, self._enqueue(entry)

    async def drain(self) -> None:
        """Wait until everything has landed or failed."""
        while under_way := {*self._accepting, *self._workers.values()}:
            await asyncio.wait(under_way)

    async def close(self) -> None:
        """Stop sending; what has not landed stays in the journal."""
        await asyncio.gather(*self._accepting, return_exceptions=True)
        workers = list(self._workers.values())
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for number in list(self._queues):
            self._leave(self._queues.pop(number), "the producer was closed")

    def _enqueue(self, entry: JournalEntry) -> Landing:
        known = self._landings.get(entry.sequence)
        if known is not None:
            return known  # the same message was accepted again while it was on its way
        landing = self._landings[entry.sequence] = asyncio.get_running_loop().create_future()
        landing.add_done_callback(consume)  # whoever accepted it need not wait for it; the journal has it
        if entry.number in self._left:  # what comes after it may not overtake what stays behind
            self._leave([entry], self._left[entry.number][0])
            return landing
        self._queues.setdefault(entry.number, deque()).append(entry)
        if entry.number not in self._workers:
            self._workers[entry.number] = asyncio.create_task(self._work(entry.number))
        return landing

    async def _work(self, number: str) -> None:
        """Send one notice's entries, one after the other."""
        queue = self._queues[number]
        try:
            async with self._places:
                while queue:
                    await self._settle(queue[0])
                    queue.popleft()
            del self._queues[number]
        except Exception as error:  # noqa: BLE001 - whatever it is, what was accepted stays, and whoever waits is told
            logger.error("Sending stopped for a notice", number=number, error=type(error).__name__)  # noqa: TRY400
            self._leave(self._queues.pop(number), f"it cannot be sent now ({type(error).__name__})")
        finally:
            del self._workers[number]

    def _leave(self, entries: Collection[JournalEntry], why: str) -> None:
        """Leave a notice's entries, and what is accepted of it after them, to the next start."""
        for entry in entries:
            _, count = self._left.get(entry.number, (why, 0))
            self._left[entry.number] = why, count + 1
            landing = self._landings.pop(entry.sequence)
            if not landing.done():
                landing.set_exception(UnavailableError(f"{why}; the journal has the message, and it will be sent"))

    async def _settle(self, entry: JournalEntry) -> None:
        landing = self._landings[entry.sequence]
        fields = {"message_id": str(entry.message_id), "number": entry.number}
        try:
            place = await self._until_landed(entry)
        except NoticewireError as error:
            logger.error("Message refused after it was accepted", **fields, **error.log_fields())  # noqa: TRY400
            await self._kept(self._journal.failed(entry.sequence, error, at=self._clock.now()))
            landing.set_exception(error)
        else:
            await self._pass("after_send")
            await self._kept(self._journal.landed(entry.sequence))
            landing.set_result(place)
            logger.info("Message published", **fields, origin=f"{place.topic}/{place.partition}/{place.offset}")
        self._landings.pop(entry.sequence, None)

    async def _until_landed(self, entry: JournalEntry) -> RecordPlace:
        pause = _BACK_OFF_FIRST
        while True:
            try:
                return await self._send(await self._journal.letter(entry.sequence))
            except (UnavailableError, FencedError) as error:
                logger.warning("Publishing again", number=entry.number, **error.log_fields())
                await asyncio.sleep(pause.total_seconds())
                pause = min(pause * 2, _BACK_OFF_MAX)

    async def _kept(self, writing: Awaitable[None]) -> None:
        """Note in the journal what became of an entry; if that fails, the next start sends it again: a repeat."""
        try:
            await writing
        except UnavailableError as error:
            logger.error("The journal cannot be written", **error.log_fields())  # noqa: TRY400 - its words are enough

    async def _pass(self, point: str) -> None:
        if self._faults is not None:
            await self._faults(point)
