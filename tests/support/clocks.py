"""The machine's clock, set forwards and back by a test, for everybody in its process; Kafka's stays as it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from broker.cli.services import audit, observing, router, tracker
from broker.clock import SystemClock, to_millis
from broker.observe import counting, metrics


class SetClock:
    """What everybody's clock shows.

    Args:
        monkeypatch: puts it in the place of `time.time` and of `SystemClock`, for the length of a test.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = time.time
        self._ahead = timedelta(0)

        def watch(**parts: object) -> observing.Watch:
            return observing.Watch(**{"wall": self.seconds, **parts})  # type: ignore[arg-type]

        monkeypatch.setattr(time, "time", self.seconds)
        for module in (counting, metrics):
            monkeypatch.setattr(module, "time", self.seconds)
        for service in (audit, router, tracker):
            monkeypatch.setattr(service, "Watch", watch)
        monkeypatch.setattr(SystemClock, "now", lambda _: self.now())

    def jump(self, by: timedelta) -> None:
        """Set it forwards, or back."""
        self._ahead += by

    def seconds(self) -> float:
        """Return the seconds since 1970 that it shows."""
        return self._real() + self._ahead.total_seconds()

    def now(self) -> datetime:
        """Return the moment that it shows."""
        return to_millis(datetime.fromtimestamp(self.seconds(), UTC))
