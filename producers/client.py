"""The producer's client: a message is checked, signed, encoded, and written as one record on its notice's feed."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

import structlog

from broker.clock import Clock, SystemClock, from_epoch_ms
from broker.endpoints import locate
from broker.errors import MisuseError, RefusedError, UnavailableError
from broker.members.directory import Directory
from broker.model.diffusion import Diffusion
from broker.model.naming import feed
from broker.model.notice import Notice
from broker.model.outcome import Outcome
from broker.schema.codec import Codec
from broker.transport.directory import Follows
from broker.transport.headers import signed_headers
from broker.transport.link import linked
from broker.transport.publisher import RecordPlace, Writes
from broker.trust.keys import KeyRing
from broker.trust.signing import RecordKind, Signer
from producers.door import refuse_if_wrong
from producers.outcomes import OutcomeWatch

logger = structlog.get_logger(__name__)

IN_FLIGHT_MAX = 100
"""Messages of `publish_many` under way at once: enough to fill a produce request, few enough to bound memory."""

DIRECTORY_AGE_MAX = timedelta(seconds=1)
"""The door's check may be this far behind the directory; the router's never is."""

RETRY_FOR = timedelta(seconds=60)
_BACK_OFF_FIRST = timedelta(milliseconds=200)
_BACK_OFF_MAX = timedelta(seconds=5)


class Signers(Protocol):
    """Who signs as a bureau: a `KeyRing`, or whatever keeps the private keys."""

    def signer(self, code: str) -> Signer:
        """Return a bureau's signer; raise a `RefusedError` where its key is not here."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where a message landed: durable, and bound to be routed or rejected with an outcome.

    Attributes:
        message_id: the message.
        topic: the feed.
        partition: of the feed: the notice's shard.
        offset: on the feed.
        appended_at: when Kafka appended it.
    """

    message_id: UUID
    topic: str
    partition: int
    offset: int
    appended_at: datetime

    @property
    def origin(self) -> str:
        """How ledger, outcome and receipts name it: `notices.africa/1/42`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one message of `publish_many`.

    Attributes:
        index: its place among the messages given, from 0.
        message: the message.
        result: where it landed, or why nothing was written.
    """

    index: int
    message: Notice | Diffusion
    result: Published | RefusedError


class Producer:
    """Publishes notices and diffusions.

    Idempotent by message id: the same message object gives the same bytes, so sending it again is a repeat, which the
    router enters and delivers to nobody.

    Args:
        signers: sign as the issuers; only who has an issuer's key can publish for it.
        follower: the directory.
        publisher: writes to the feeds.
        codec: encodes.
        clock: says what day it is.
        outcomes: waits for outcomes, if they will be asked for.
        retry_for: how long to try again while Kafka is away.
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

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, *, data: Path | str | None = None, signers: Signers | None = None, outcomes: bool = True
    ) -> AsyncIterator[Self]:
        """Connect to the installation of a data folder, or of the settings.

        Args:
            data: holds `endpoints.json` and `keys/`; otherwise the setting `data`.
            signers: instead of the keys in the data folder.
            outcomes: whether `outcome` will be called; it costs a look at each issuer's inbox.

        Raises:
            MisuseError: the settings make no sense.
            UnavailableError: no broker answers.
        """
        found = locate(None if data is None else Path(data))
        async with linked(found.kafka, client_id="noticewire-producer", root_public=found.root_public) as link:
            watch = OutcomeWatch(client=link.client, follower=link.follower, codec=link.codec) if outcomes else None
            async with cls(
                signers=signers or KeyRing(found.data / "keys"),
                follower=link.follower,
                publisher=link.publisher,
                codec=link.codec,
                outcomes=watch,
            ) as producer:
                yield producer

    async def __aenter__(self) -> Self:
        """Begin; the connections are whoever's made them."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop waiting for outcomes."""
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

    async def publish(self, message: Notice | Diffusion) -> Published:
        """Publish one message.

        Returns:
            Where it landed. It is durable by then, and will reach everybody entitled or be rejected with an outcome.

        Raises:
            RefusedError: it breaks a rule, or no key of its issuer is here. Nothing was written.
            UnavailableError: Kafka stayed away; the message may be on the feed all the same. Publish it again: the
                same message object is a repeat.
        """
        directory = await self.directory()
        signer = self._signers.signer(message.issuer)
        refuse_if_wrong(message, directory=directory, signs_as=signer.bureau, today=self._clock.now().date())
        value = self._codec.encode(message)
        signature = signer.sign(RecordKind.MESSAGE, directory.installation or "", value)
        headers = signed_headers(message, key_id=signer.key_id, signature=signature)
        if self._outcomes is not None:
            await self._outcomes.expect(message.issuer, message.message_id, sha256(value).digest())
        topic = feed(message.parsed_number.message_class, message.region)
        written = await self._write(topic, message, value, headers)
        published = Published(
            message_id=message.message_id,
            topic=topic,
            partition=written.partition,
            offset=written.offset,
            appended_at=from_epoch_ms(written.timestamp_ms),
        )
        logger.info(
            "Message published",
            message_id=str(message.message_id),
            number=message.number,
            bureau=message.issuer,
            origin=published.origin,
        )
        return published

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

    async def _write(
        self, topic: str, message: Notice | Diffusion, value: bytes, headers: list[tuple[str, bytes]]
    ) -> RecordPlace:
        """Write, and try again for a bounded time: a second copy would be a repeat, which is delivered to nobody."""
        pause, until = _BACK_OFF_FIRST, asyncio.get_running_loop().time() + self._retry_for.total_seconds()
        while True:
            try:
                return await self._publisher.publish(
                    topic,
                    key=message.number.encode(),
                    value=value,
                    headers=headers,
                    partition=message.shard.partition,
                )
            except UnavailableError as error:
                if asyncio.get_running_loop().time() + pause.total_seconds() > until:
                    raise
                logger.warning("Publishing again", number=message.number, **error.log_fields())
                await asyncio.sleep(pause.total_seconds())
                pause = min(pause * 2, _BACK_OFF_MAX)


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
