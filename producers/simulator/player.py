"""Publishes a simulation at its own pace, or as fast as it goes, until told to stop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice, takewhile
from time import monotonic

import structlog

from broker.errors import UnavailableError
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from producers.client import Producer, Result
from producers.simulator.generator import Planned, Simulation

logger = structlog.get_logger(__name__)

GIVE_UP_AFTER_SECONDS = 120.0
"""Longer than a producer tries by itself, so that it is tried again once at least."""

_PAUSE_SECONDS = 1.0

Wait = Callable[[timedelta], Awaitable[bool]]
"""Waits so long, and returns whether to stop, which ends the wait at once."""


def planned(
    simulation: Simulation, *, count: int | None = None, duration: timedelta | None = None
) -> Iterator[Planned]:
    """Yield a simulation's messages up to a number, and up to a time since its start, whichever comes first."""
    messages: Iterator[Planned] = simulation.messages()
    if duration is not None:
        until = simulation.start + duration
        messages = takewhile(lambda one: one.at < until, messages)
    return islice(messages, count)


async def on_time(
    messages: Iterator[Planned], *, start: datetime, wait: Wait, now: Callable[[], float] = monotonic
) -> AsyncIterator[Notice | Diffusion]:
    """Yield each message when it is due, and never before; who was held up catches up.

    Args:
        messages: in order.
        start: the simulation's; it begins now, whenever that was.
        wait: waits, or is told to stop.
        now: a monotonic clock, in seconds.
    """
    began = now()
    for one in messages:
        due = began + (one.at - start).total_seconds()
        while (left := due - now()) > 0:
            if await wait(timedelta(seconds=left)):
                return
        if await wait(timedelta(0)):
            return
        yield one.message


async def at_once(messages: Iterator[Planned], *, wait: Wait) -> AsyncIterator[Notice | Diffusion]:
    """Yield each message as soon as it is asked for."""
    for one in messages:
        if await wait(timedelta(0)):
            return
        yield one.message


def waiting_for(stop: asyncio.Event) -> Wait:
    """Return what waits on the event loop's clock, or until an event is set."""

    async def wait(left: timedelta) -> bool:
        if not stop.is_set():
            try:
                async with asyncio.timeout(left.total_seconds()):
                    await stop.wait()
            except TimeoutError:
                pass
        return stop.is_set()

    return wait


async def play(
    producer: Producer,
    messages: AsyncIterator[Notice | Diffusion],
    *,
    about_to: Callable[[Notice | Diffusion], None],
    landed: Callable[[Result], None],
) -> None:
    """Publish messages as they come; what did not land for a while is published again, which at worst is a repeat.

    Args:
        producer: has every issuer's key.
        messages: in order.
        about_to: is told of each before it is published.
        landed: is told what became of it, in the same order.

    Raises:
        UnavailableError: nothing landed for `GIVE_UP_AFTER_SECONDS`.
    """
    aloft: deque[Notice | Diffusion] = deque()

    async def told(again: Sequence[Notice | Diffusion]) -> AsyncIterator[Notice | Diffusion]:
        for message in again:
            yield message
        async for message in messages:
            about_to(message)
            aloft.append(message)
            yield message

    landed_at = monotonic()
    while True:
        try:
            async for result in producer.publish_many(told(tuple(aloft))):
                aloft.popleft()
                landed(result)
                landed_at = monotonic()
        except UnavailableError as error:
            if monotonic() - landed_at > GIVE_UP_AFTER_SECONDS:
                raise
            logger.warning("Simulation waits for Kafka", messages=len(aloft), **error.log_fields())
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
