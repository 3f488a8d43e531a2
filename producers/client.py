"""The producer's client: a message is checked, signed, encoded, and written as one record on its notice's feed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

import structlog

from broker.clock import Clock, SystemClock
from broker.endpoints import locate
from broker.errors import MisuseError, RefusedError, StorageError, UnavailableError
from broker.members.directory import Directory
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.model.outcome import Outcome
from broker.model.rejection import mending_id
from broker.observe.faultpoints import Faults
from broker.observe.observers import DoorObserver
from broker.observe.tracing import publishing, sending
from broker.schema.codec import Codec
from broker.transport.directory import Follows
from broker.transport.headers import traceparent_of
from broker.transport.kafka import consume
from broker.transport.link import linked
from broker.transport.publisher import RecordPlace, Writes
from broker.trust.entitlement import unreadable_by
from broker.trust.keys import KeyRing
from broker.trust.signing import Signer
from producers.door import refuse_if_wrong
from producers.journal import FailedEntry, Journal, JournalEntry
from producers.letter import Letter, topic_of
from producers.outcomes import OutcomeWatch
from producers.results import Accepted, Published, Result
from producers.sending import Landing, Sender

__all__ = ["Accepted", "Producer", "Published", "Result", "Signers"]

logger = structlog.get_logger(__name__)

IN_FLIGHT_MAX = 100
"""Messages of `publish_many` under way at once: enough to fill a produce request, few enough to bound memory."""

DIRECTORY_AGE_MAX = timedelta(seconds=1)
"""The door's check may be this far behind the directory; the router's never is."""

DIRECTORY_WITHIN = timedelta(seconds=1)
"""How long `accept` waits for the directory before it takes the last one: a journal is for a Kafka that is away."""

CLOCK_TOLERANCE = timedelta(days=1)
"""How far off our clock may be before the journal says of a key that it has ended; the router says it to the second."""

CLOSE_WITHIN = timedelta(seconds=30)
"""How long closing waits for the journal's messages to land; what is left is sent by the next producer with it."""

RETRY_FOR = timedelta(seconds=60)
_BACK_OFF_FIRST = timedelta(milliseconds=200)
_BACK_OFF_MAX = timedelta(seconds=5)


class Signers(Protocol):
    """Who signs as a bureau: a `KeyRing`, or whatever keeps the private keys."""

    def signer(self, code: str) -> Signer:
        """Return a bureau's signer; raise a `RefusedError` where its key is not here."""
        ...


class Producer:
    """Publishes notices and diffusions.

    Idempotent by message id: the same message object gives the same bytes, so sending it again is a repeat, which the
    router enters and delivers to nobody.

    With a journal, what was accepted survives a crash of this process: it is on this machine's disk, encrypted, before
    anything is sent, and is sent from there, each notice's messages in their order, until Kafka has it. `accept`
    returns once the journal has a message; `publish`, as ever, once Kafka has it. The next producer with the same
    journal goes on where this one ended, with the same bytes.

    Args:
        signers: sign as the issuers; only who has an issuer's key can publish for it.
        follower: the directory.
        publisher: writes to the feeds.
        codec: encodes.
        clock: says what day it is.
        outcomes: waits for outcomes, if they will be asked for.
        retry_for: how long to try again while Kafka is away; with a journal: how long `publish` waits for it.
        journal: a path, or an open journal, which this producer then closes.
        format_version: of the format that is written; the newest one where left out. What cannot be said in an older
            one is refused.
        faults: is told the named points of the journal (a test kills there).
        observer: is told what was published and what refused (`broker.observe.counting.DoorMetrics`).
    """

    def __init__(
        self,
        *,
        signers: Signers,
        follower: Follows,
        publisher: Writes,
        codec: Codec,
        clock: Clock | None = None,
        outcomes: OutcomeWatch | None = None,
        retry_for: timedelta = RETRY_FOR,
        journal: Path | str | Journal | None = None,
        format_version: int | None = None,
        faults: Faults | None = None,
        observer: DoorObserver | None = None,
    ) -> None:
        self._signers = signers
        self._follower = follower
        self._publisher = publisher
        self._codec = codec
        self._clock = clock or SystemClock()
        self._outcomes = outcomes
        self._retry_for = retry_for
        self._directory: Directory | None = None
        self._directory_until = 0.0
        self._looking: asyncio.Task[Directory] | None = None
        self._journal = journal if isinstance(journal, Journal) or journal is None else Path(journal)
        self._format_version = format_version
        self._faults = faults
        self._observer = observer or DoorObserver()
        self._sender: Sender | None = None

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        *,
        data: Path | str | None = None,
        signers: Signers | None = None,
        outcomes: bool = True,
        journal: Path | str | Journal | None = None,
        retry_for: timedelta = RETRY_FOR,
        format_version: int | None = None,
        faults: Faults | None = None,
        observer: DoorObserver | None = None,
    ) -> AsyncIterator[Self]:
        """Connect to the installation of a data folder, or of the settings.

        Args:
            data: holds `endpoints.json` and `keys/`; otherwise the setting `data`.
            signers: instead of the keys in the data folder.
            outcomes: whether `outcome` will be called; it costs a look at each issuer's inbox.
            journal: where what is accepted is kept until Kafka has it; see the class. One process at a time uses it.
            retry_for: how long to try again while Kafka is away.
            format_version: of the format that is written; the setting `format_version` where left out, or the newest.
            faults: is told the named points of the journal.
            observer: is told what was published and what refused.

        Raises:
            MisuseError: the settings make no sense, or another process uses the journal.
            UnavailableError: no broker answers.
        """
        found = locate(None if data is None else Path(data))
        async with linked(
            found.kafka, codec=found.codec(), client_id="noticewire-producer", root_public=found.root_public
        ) as link:
            watch = OutcomeWatch(client=link.client, follower=link.follower, codec=link.codec) if outcomes else None
            async with cls(
                signers=signers or KeyRing(found.data / "keys"),
                follower=link.follower,
                publisher=link.publisher,
                codec=link.codec,
                outcomes=watch,
                retry_for=retry_for,
                journal=journal,
                format_version=format_version or found.settings.format_version,
                faults=faults,
                observer=observer,
            ) as producer:
                yield producer

    async def __aenter__(self) -> Self:
        """Begin; the connections are whoever's made them. Opens the journal, and sends what it holds.

        Raises:
            MisuseError: another process uses the journal, or it is of another key or a newer program.
            KeyFileError: the journal's key is not there, or others can read it.
        """
        if isinstance(self._journal, Path):
            self._journal = await Journal.open(self._journal, key_file=self._journal_key(self._journal))
        if self._journal is not None:
            self._sender = Sender(journal=self._journal, send=self._send, clock=self._clock, faults=self._faults)
            await self._sender.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the journal's messages land, for a bounded time and unless an error ends the block; close it."""
        if self._sender is not None and isinstance(self._journal, Journal):
            if kind is None:
                await self.drain(within=CLOSE_WITHIN)
            if self._sender.waiting:
                logger.warning("Messages stay in the journal until the next start", count=self._sender.waiting)
            await self._sender.close()
            await self._journal.close()
            self._sender = None
        if self._outcomes is not None:
            await self._outcomes.close()

    async def directory(self) -> Directory:
        """Return the directory, at most a second old.

        Raises:
            UnavailableError: it cannot be read now, or the installation is not founded.
        """
        now = asyncio.get_running_loop().time()
        if self._directory is None or now >= self._directory_until:
            self._directory = await self._follower.at_its_end()
            self._directory_until = now + DIRECTORY_AGE_MAX.total_seconds()
        if self._directory.installation is None:
            self._directory = None
            raise UnavailableError("the installation is not founded yet")
        return self._directory

    async def unreadable_by(self, message: Notice | Diffusion) -> frozenset[str]:
        """Return the codes of those who will not be given a message, because their programs are too old to read it.

        Whom it reaches in the version that they read is not among them: the router writes that for them.

        Raises:
            UnavailableError: the directory cannot be read now.
        """
        return unreadable_by(message, await self.directory())

    async def publish(self, message: Notice | Diffusion, *, mends: str | None = None) -> Published:
        """Publish one message.

        Whoever could not read it is named in a warning first; `unreadable_by` tells without publishing.

        Args:
            message: what to publish.
            mends: the origin of the rejected record that it stands in for: its id is then `mending_id`, whatever it
                was, and its header `mends` says so.

        Returns:
            Where it landed. It is durable by then, and will reach everybody entitled or be rejected with an outcome.

        Raises:
            RefusedError: it breaks a rule, or no key of its issuer is here. Nothing was written; with a journal, what
                was refused for good after it was accepted is kept there as failed.
            UnavailableError: Kafka stayed away; the message may be on the feed all the same. Publish it again: the
                same message object is a repeat. With a journal it need not be: the journal sends it.
        """
        if self._sender is None:
            return await self._publish(message, mends=mends)
        accepted = await self.accept(message, mends=mends)
        try:
            async with asyncio.timeout(self._retry_for.total_seconds()):
                return await accepted.landed()
        except TimeoutError:
            words = (
                f"Kafka has not taken {accepted.message_id} within {self._retry_for}; the journal has it and sends it"
            )
            raise UnavailableError(words) from None

    async def _publish(self, message: Notice | Diffusion, *, mends: str | None) -> Published:
        directory = await self.directory()
        message, signer = self._let_in(message, directory, mends=mends)
        with publishing(topic_of(message), message_id=str(message.message_id), number=message.number):
            letter = self._letter(message, signer, directory, mends=mends)
            await self._expect(letter)
            published = Published.at(await self._write(letter), letter.message_id)
        self._observer.published()
        logger.info(
            "Message published",
            message_id=str(letter.message_id),
            number=letter.number,
            bureau=letter.issuer,
            origin=published.origin,
        )
        return published

    async def accept(self, message: Notice | Diffusion, *, mends: str | None = None) -> Accepted:
        """Write a message to the journal, and send it in the background.

        The door checks it against the directory as far as it is known: while Kafka is away, as it was last; it is
        checked again for the key when it is sent. Await one `accept` before the next of the same notice: they are sent
        in the order in which the journal has them.

        Returns:
            It is on this machine's disk by then, and no crash can lose it any more.

        Raises:
            RefusedError: it breaks a rule, or no key of its issuer is here. Nothing was kept.
            StorageError: the journal's disk is full or broken. Nothing was kept.
            UnavailableError: no directory was ever read. Nothing was kept.
            MisuseError: this producer has no journal, or is not open.
        """
        if self._sender is None:
            raise MisuseError("this producer has no journal, or is not open (async with)")
        directory = await self._last_directory()
        message, signer = self._let_in(message, directory, mends=mends)
        with publishing(topic_of(message), message_id=str(message.message_id), number=message.number, later=True):
            letter = self._letter(message, signer, directory, mends=mends)
            entry, landing = await self._kept(self._sender, letter)
        return Accepted(message_id=letter.message_id, number=letter.number, sequence=entry.sequence, landing=landing)

    async def _kept(self, sender: Sender, letter: Letter) -> tuple[JournalEntry, Landing]:
        """Write a letter to the journal, and tell whether its disk takes it."""
        try:
            kept = await sender.accept(letter)
        except StorageError as error:
            self._observer.unwritable(str(error))
            raise
        self._observer.written()
        return kept

    async def drain(self, *, within: timedelta | None = None) -> bool:
        """Wait until everything that was accepted has landed or failed; return whether it has.

        Args:
            within: at most so long; what is left stays in the journal and is still sent.
        """
        if self._sender is None:
            return True
        try:
            async with asyncio.timeout(None if within is None else within.total_seconds()):
                await self._sender.drain()
        except TimeoutError:
            return False
        return not self._sender.waiting

    async def failures(self) -> list[FailedEntry]:
        """Return what was accepted and then refused for good. Publish it again to try once more, or discard it."""
        return [] if not isinstance(self._journal, Journal) else await self._journal.failures()

    async def discard(self, failed: FailedEntry) -> bool:
        """Drop an entry that has failed; return whether it was there."""
        return isinstance(self._journal, Journal) and await self._journal.discard(failed.sequence)

    async def publish_many(
        self,
        messages: Iterable[Notice | Diffusion] | AsyncIterable[Notice | Diffusion],
        *,
        in_flight_max: int = IN_FLIGHT_MAX,
    ) -> AsyncIterator[Result]:
        """Publish messages, so many at once; the next ones are asked for only as earlier ones land.

        Messages of one notice are written in the order given: each waits for the one before it.

        Yields:
            One result a message, in the order given. A refused one stops nothing.

        Raises:
            UnavailableError: Kafka stayed away; what was not yielded may be on its feed all the same.
        """
        flying: deque[tuple[int, Notice | Diffusion, asyncio.Task[Published | RefusedError]]] = deque()
        last: dict[str, asyncio.Task[Published | RefusedError]] = {}
        index = 0
        try:
            async for message in _each(messages):
                task = asyncio.create_task(self._publish_after(last.get(message.number), message))
                last[message.number] = task
                flying.append((index, message, task))
                index += 1
                while flying and (len(flying) >= in_flight_max or flying[0][2].done()):
                    yield await _landed(flying, last)
            while flying:
                yield await _landed(flying, last)
        finally:
            for _, _, task in flying:
                task.cancel()
            await asyncio.gather(*(task for _, _, task in flying), return_exceptions=True)

    async def outcome(self, message_id: UUID, *, timeout: timedelta = timedelta(seconds=30)) -> Outcome:  # noqa: ASYNC109 - the SDK's own deadline
        """Wait for the router's word on a message that was published here.

        Raises:
            UnavailableError: none came in time; the message is on its feed all the same.
            MisuseError: this producer does not watch outcomes, or did not publish the message.
        """
        if self._outcomes is None:
            raise MisuseError("this producer was made without outcomes")
        try:
            return await self._outcomes.wait(message_id, timeout)
        except KeyError:
            raise MisuseError(f"{message_id} was not published here") from None

    async def _publish_after(
        self, earlier: asyncio.Task[Published | RefusedError] | None, message: Notice | Diffusion
    ) -> Published | RefusedError:
        if earlier is not None:
            await asyncio.wait([earlier])
            if earlier.cancelled() or earlier.exception() is not None:
                raise UnavailableError(f"not published: an earlier message of {message.number} was not")
        try:
            return await self.publish(message)
        except RefusedError as refused:
            return refused

    def _let_in(
        self, message: Notice | Diffusion, directory: Directory, *, mends: str | None
    ) -> tuple[Notice | Diffusion, Signer]:
        """Check a message at the door; return it with the id that it will have, and who signs it."""
        if mends is not None:
            message = message.model_copy(update={"message_id": mending_id(mends, message.issuer)})
        try:
            signer = self._signers.signer(message.issuer)
            refuse_if_wrong(message, directory=directory, signs_as=signer.bureau, today=self._clock.now().date())
        except RefusedError as refused:
            self._observer.refused(refused.code)
            raise
        too_old = unreadable_by(message, directory)
        if too_old:
            logger.warning(
                "Some recipients read an older version of the format and will not be given this",
                message_id=str(message.message_id),
                number=message.number,
                bureaus=" ".join(sorted(too_old)),
            )
        return message, signer

    def _letter(
        self, message: Notice | Diffusion, signer: Signer, directory: Directory, *, mends: str | None
    ) -> Letter:
        """Sign and encode a message that was let in."""
        installation = directory.installation or ""
        return Letter.written(
            message,
            signer=signer,
            installation=installation,
            codec=self._codec,
            mends=mends,
            version=self._format_version,
        )

    async def _last_directory(self) -> Directory:
        """Return the directory, at most a second old; while Kafka is away, as it was last."""
        if self._directory is None:
            return await self.directory()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self.directory())
            self._looking.add_done_callback(consume)
        await asyncio.wait([self._looking], timeout=DIRECTORY_WITHIN.total_seconds())
        return self._directory or await self.directory()

    async def _send(self, letter: Letter) -> RecordPlace:
        """Send what the journal accepted, maybe in an earlier process, if its signature would still count."""
        directory = await self.directory()
        if letter.installation != directory.installation:
            raise RefusedError("it was signed for another installation; publish it again")
        _, key = directory.key(letter.key_id) or ("", None)
        ended = key is None or (key.valid_until is not None and key.valid_until < self._clock.now() - CLOCK_TOLERANCE)
        if ended:
            raise RefusedError(f"the key {letter.key_id} does not count any more; publish it again with a newer one")
        await self._expect(letter)
        trace = traceparent_of(letter.headers)
        with sending(letter.topic, message_id=str(letter.message_id), traceparent=trace):
            place = await letter.send(self._publisher)
        self._observer.published()
        return place

    async def _expect(self, letter: Letter) -> None:
        if self._outcomes is not None:
            await self._outcomes.expect(letter.issuer, letter.message_id, letter.digest)

    async def _write(self, letter: Letter) -> RecordPlace:
        """Write, and try again for a bounded time: a second copy would be a repeat, which is delivered to nobody."""
        pause, until = _BACK_OFF_FIRST, asyncio.get_running_loop().time() + self._retry_for.total_seconds()
        while True:
            try:
                return await letter.send(self._publisher)
            except UnavailableError as error:
                if asyncio.get_running_loop().time() + pause.total_seconds() > until:
                    raise
                logger.warning("Publishing again", number=letter.number, **error.log_fields())
                await asyncio.sleep(pause.total_seconds())
                pause = min(pause * 2, _BACK_OFF_MAX)

    def _journal_key(self, journal: Path) -> Path:
        """Return where the journal's key lies: beside the private keys, or beside the journal where those are not."""
        if isinstance(self._signers, KeyRing):
            return self._signers.folder / "journal.key"
        return journal.with_name(f"{journal.name}.key")


async def _each(
    messages: Iterable[Notice | Diffusion] | AsyncIterable[Notice | Diffusion],
) -> AsyncIterator[Notice | Diffusion]:
    if isinstance(messages, AsyncIterable):
        async for message in messages:
            yield message
    else:
        for message in messages:
            yield message
            await asyncio.sleep(0)  # let what lands land


async def _landed(
    flying: deque[tuple[int, Notice | Diffusion, asyncio.Task[Published | RefusedError]]],
    last: dict[str, asyncio.Task[Published | RefusedError]],
) -> Result:
    """Wait for the oldest message under way, and take it off."""
    index, message, task = flying[0]
    result = await task
    flying.popleft()
    if last.get(message.number) is task:
        del last[message.number]
    return Result(index=index, message=message, result=result)
