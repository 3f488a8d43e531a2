"""How far behind a reader is: in records, and in the seconds for which something has been waiting.

A lag in records says little (a burst of 400 is one transaction), so the seconds are what alerts and readiness look at:
for how long the oldest end that has not been reached yet is known. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

_ENDS_MAX = 1_000
"""Ends remembered of one log; when the reader is stuck the oldest ones matter, and the newest."""


class Lag(NamedTuple):
    """How far behind a reader of one log is."""

    records: int
    seconds: float
    """For how long what is not read yet has been there, to the accuracy of the samples."""


@dataclass(slots=True)
class LogLag:
    """One log's ends, each with the moment at which it was seen first."""

    position: int = 0
    end: int = 0
    waiting: deque[tuple[int, float]] = field(default_factory=deque)
    """Ends beyond the position, rising, with the moment (monotonic seconds) at which each was seen."""

    def sample(self, *, end: int, position: int, now: float) -> None:
        """Take in where the log ended and how far the reader was."""
        newest = self.waiting[-1][0] if self.waiting else self.position
        if end > newest:
            if len(self.waiting) >= _ENDS_MAX:
                self.waiting.pop()
            self.waiting.append((end, now))
        self.position, self.end = position, end
        while self.waiting and self.waiting[0][0] <= position:
            self.waiting.popleft()

    def lag(self, now: float) -> Lag:
        """Return how far behind the reader was at the last sample."""
        waited = now - self.waiting[0][1] if self.waiting else 0.0
        return Lag(max(0, self.end - self.position), waited)


class Lags:
    """The lags of everything that a service reads."""

    def __init__(self) -> None:
        self._logs: dict[tuple[str, int], LogLag] = {}
        self.sampled_at: float | None = None
        """When all ends were last known (monotonic seconds)."""

    def sample(
        self, ends: Mapping[tuple[str, int], int], positions: Mapping[tuple[str, int], int], *, now: float
    ) -> None:
        """Take in a sample of all logs that are read now, by bare topic and partition; others are forgotten."""
        self._logs = {place: self._logs.get(place, LogLag()) for place in positions if place in ends}
        for place, log in self._logs.items():
            log.sample(end=ends[place], position=positions[place], now=now)
        self.sampled_at = now

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Return the logs, by bare topic and partition."""
        return iter(self._logs)

    def of(self, place: tuple[str, int], now: float) -> Lag:
        """Return the lag of one log."""
        return self._logs[place].lag(now)

    def longest(self, now: float) -> tuple[tuple[str, int], Lag] | None:
        """Return the log that has been waiting longest; None where nothing is read."""
        lags = {place: log.lag(now) for place, log in self._logs.items()}
        return max(lags.items(), key=lambda one: one[1].seconds, default=None)
