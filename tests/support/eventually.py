"""Wait for a state, with a deadline that reports what was seen last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_SECONDS = 0.05

AT_REST = 4
"""A deadline is stated for a machine at rest, and bounds a hang, not a speed: one that is busy is given this many
times as long."""


def eventually(probe: Callable[[], T], *, seconds: float, what: str) -> T:
    """Ask `probe` until it returns something true, and return that.

    Args:
        probe: reads the state; what it returns is reported if it never becomes true.
        seconds: the deadline, on a machine at rest.
        what: the state, in words.

    Raises:
        AssertionError: the deadline has passed.
    """
    deadline = time.monotonic() + seconds * AT_REST
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > deadline:
            message = f"not within {seconds * AT_REST} s: {what}; seen last: {seen!r}"
            raise AssertionError(message)
        time.sleep(_PAUSE_SECONDS)


async def eventually_async(probe: Callable[[], Awaitable[T]], *, seconds: float, what: str) -> T:
    """As `eventually`, for a probe that has to be awaited; the deadline does not interrupt it."""
    deadline = time.monotonic() + seconds * AT_REST
    while True:
        seen = await probe()
        if seen:
            return seen
        if time.monotonic() > deadline:
            message = f"not within {seconds * AT_REST} s: {what}; seen last: {seen!r}"
            raise AssertionError(message)
        await asyncio.sleep(_PAUSE_SECONDS)
