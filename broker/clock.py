"""Time as a dependency: the system's, and one that a test turns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Return the present moment, in UTC, cut to milliseconds (what the wire carries)."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present moment, in UTC, cut to milliseconds."""
        return to_millis(datetime.now(UTC))


class ManualClock:
    """A clock that stands until a test turns it."""

    def __init__(self, at: datetime) -> None:
        self._at = to_millis(at.astimezone(UTC))

    def now(self) -> datetime:
        """Return where the hands stand."""
        return self._at

    def turn(self, by: timedelta) -> None:
        """Turn the hands, forwards or back."""
        self._at = to_millis(self._at + by)


def to_millis(at: datetime) -> datetime:
    """Cut a moment to milliseconds: Avro's timestamp-millis would drop the rest silently."""
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def from_epoch_ms(milliseconds: int) -> datetime:
    """Return the moment of a Kafka timestamp, without the rounding of a float."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds)


def to_epoch_ms(at: datetime) -> int:
    """Return a moment as Kafka writes it: whole milliseconds since 1970."""
    return (at - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
