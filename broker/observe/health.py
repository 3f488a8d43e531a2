"""Whether a service lives and whether it is ready, each with what is in the way.

*Alive* means that its loop turns: the event loop, and each part that goes round by itself. A service that is not alive
is to be killed; its replacement takes everything over. *Ready* means that it does what it is for: a router owns its
shards and has folded them, a tracker or an archive is caught up within a bound. One that is not ready is to be waited
for, or a person has to decide; killing it helps nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic

LOOP_SECONDS_MAX = 10.0
"""How long the event loop may stand still: under the transaction time-out, above a poll's longest stretch on it."""


class Health:
    """What a service says of itself; beaten by its event loop, asked from any thread.

    Args:
        now: a monotonic clock, in seconds.
    """

    def __init__(self, *, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._beaten_at = now()
        self._problems: tuple[str, ...] = ("is starting",)
        self._turns: dict[str, tuple[float, float]] = {}

    def beat(self, problems: Iterable[str]) -> None:
        """Say that the event loop turns, and what keeps the service from being ready."""
        self._problems = tuple(problems)
        self._beaten_at = self._now()

    def turned(self, part: str, *, within_seconds: float) -> None:
        """Say that a part has come round; it is wedged if it does not do so again in time."""
        self._turns[part] = (self._now(), within_seconds)

    def ended(self, part: str) -> None:
        """Say that a part goes round no more, and that this is as it should be."""
        self._turns.pop(part, None)

    @property
    def still_seconds(self) -> float:
        """For how long the event loop has stood still."""
        return self._now() - self._beaten_at

    def wedged(self) -> tuple[str, ...]:
        """Return what does not turn any more; nothing, if the service is alive."""
        found = []
        if self.still_seconds > LOOP_SECONDS_MAX:
            found.append(f"the event loop has stood still for {self.still_seconds:.0f} s")
        now = self._now()
        for part, (at, within) in list(self._turns.items()):
            if now - at > within:
                found.append(f"{part} has not come round for {now - at:.0f} s")
        return tuple(found)

    def unready(self) -> tuple[str, ...]:
        """Return what keeps the service from being ready; nothing, if it is."""
        return self.wedged() or self._problems
