"""Publishes a simulation at its own pace, or as fast as it goes, until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice, takewhile

from broker.clock import Clock
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from producers.client import Producer, Result
from producers.simulator.generator import Planned, Simulation

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
    messages: Iterator[Planned], *, start: datetime, clock: Clock, wait: Wait
) -> AsyncIterator[Notice | Diffusion]:
    """Yield each message when it is due, and never before; who was held up catches up.

    Args:
        messages: in order.
        start: the simulation's; it begins now, whenever that was.
        clock: what time it is.
        wait: waits, or is told to stop.
    """
    began = clock.now()
    for one in messages:
        due = began + (one.at - start)
        while (left := due - clock.now()) > timedelta(0):
            if await wait(left):
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
    """Publish messages as they come.

    Args:
        producer: has every issuer's key.
        messages: in order.
        about_to: is told of each before it is published.
        landed: is told what became of it, in the same order.

    Raises:
        UnavailableError: Kafka stayed away.
    """

    async def told() -> AsyncIterator[Notice | Diffusion]:
        async for message in messages:
            about_to(message)
            yield message

    async for result in producer.publish_many(told()):
        landed(result)
