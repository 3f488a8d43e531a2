"""Keeps services running: one that dies is started again, later each time, and the reason is shown."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic

from broker.embedded.leash import Leashed

Say = Callable[[str], None]
"""Is told what happens, a line at a time."""

BACK_OFF_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""How long to wait before each further start; the last one for ever."""

HEALTHY_SECONDS = 60.0
"""Who has run this long begins again with the shortest wait."""

KEEPS_DYING = 4
"""Deaths in a row after which a service is reported as failing; it is still started again."""


@dataclass(slots=True, kw_only=True)
class Fortune:
    """How something that is kept running has fared, and when it may be started again."""

    name: str
    started_at: float = 0.0
    not_before: float = 0.0
    deaths: int = 0
    """In a row: since it last ran long enough to count as healthy."""
    starts: int = 0
    """All of them."""

    @property
    def is_failing(self) -> bool:
        """Whether it keeps dying."""
        return self.deaths >= KEEPS_DYING

    def look(self, now: float) -> None:
        """Forget its deaths once it has run long enough; it runs, or has ended a moment ago."""
        if now - self.started_at >= HEALTHY_SECONDS:
            self.deaths = 0

    def put_off(self, now: float, reason: str, words: str = "") -> str:
        """Count a death, or a start that failed, and let the next start wait.

        Args:
            now: as the clock says.
            reason: what happened, after its name.
            words: what it said at its end.

        Returns:
            What to tell people.
        """
        wait = BACK_OFF_SECONDS[min(self.deaths, len(BACK_OFF_SECONDS) - 1)]
        self.deaths += 1
        self.not_before = now + wait
        again = f"{self.name} {reason}; started again in {wait:g} s"
        if self.is_failing:
            again += f" ({self.deaths} times in a row: it keeps dying, the others go on)"
        return f"{again}\n{words.strip()}" if words.strip() else again


@dataclass(slots=True, kw_only=True)
class Supervised(Fortune):
    """A service, and how it has fared."""

    start: Callable[[], Leashed]
    last_words: Callable[[], str]
    """The end of its log, shown with its death."""
    process: Leashed | None = None


def ending(code: int) -> str:
    """Say how a process ended: its exit code, or the signal that ended it."""
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


class Supervisor:
    """Starts services, starts them again when they end, and stops them together.

    Nothing that a service does is lost by its death: its successor takes its place, reads on where the log says, and
    fences it. So a restart is always safe, and waiting only spares the machine.

    Args:
        say: is told of deaths and starts.
        patience_seconds: how long a service may take to finish what is in flight when all are stopped.
        now: a monotonic clock, in seconds.
    """

    def __init__(self, say: Say, *, patience_seconds: float, now: Callable[[], float] = monotonic) -> None:
        self._say = say
        self._patience_seconds = patience_seconds
        self._now = now
        self.services: list[Supervised] = []

    def add(self, name: str, start: Callable[[], Leashed], *, last_words: Callable[[], str] = str) -> Supervised:
        """Start a service, to be kept running."""
        service = Supervised(name=name, start=start, last_words=last_words)
        self.services.append(service)
        self._start(service)
        return service

    def check(self) -> bool:
        """See who has ended, and start again whose time has come; call this every fraction of a second.

        Returns:
            Whether anything was started: addresses and process ids may have changed.
        """
        started = False
        for service in self.services:
            if service.process is not None:
                service.look(self._now())
                if (code := service.process.poll()) is not None:
                    service.process = None
                    self._put_off(service, ending(code))
            if service.process is None and self._now() >= service.not_before:
                started |= self._start(service)
        return started

    def stop(self) -> None:
        """Ask all of them to stop at once, and give each its time; none runs once this returns."""
        for service in reversed(self.services):
            if service.process is not None:
                service.process.terminate()
        deadline = self._now() + self._patience_seconds
        for service in reversed(self.services):
            if service.process is not None:
                service.process.stop(max(0.1, deadline - self._now()))
                service.process = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Stop everything at the end of a block, however it ends."""
        try:
            yield
        finally:
            self.stop()

    def _start(self, service: Supervised) -> bool:
        service.started_at = self._now()
        service.starts += 1
        try:
            service.process = service.start()
        except OSError as error:
            self._put_off(service, f"could not be started: {error.strerror}")
            return False
        return True

    def _put_off(self, service: Supervised, reason: str) -> None:
        self._say(service.put_off(self._now(), reason, service.last_words()))
