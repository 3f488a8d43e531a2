"""When messages come: at a mean rate, at random as calls come in, and now and then many at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Self

from broker.errors import MisuseError

BURST_CHANCE = 1 / 60
"""Of each message, that an operation begins with it."""

BURST_MIN, BURST_MAX = 10, 30
"""Messages of a burst."""

BURST_SPEED = 10
"""How many times as fast as at other times."""

_RATE = re.compile(r"(?P<count>[0-9]+(?:\.[0-9]+)?)(?:/(?P<unit>s|m|h|d))?")
_DURATION = re.compile(r"(?P<count>[0-9]+(?:\.[0-9]+)?)(?P<unit>s|m|h|d)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Rate:
    """Messages a second, in the mean; `None` for as fast as it goes."""

    per_second: float | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `5/s`, `300/m`, `2/h`, `10` or `max`.

        Raises:
            MisuseError: it is none, or nothing would ever come.
        """
        if text == "max":
            return cls(None)
        match = _RATE.fullmatch(text)
        if match is None or float(match["count"]) <= 0:
            raise MisuseError(f"the rate {text!r} is none: write 5/s, 300/m, 2/h or max")
        return cls(float(match["count"]) / _SECONDS[match["unit"] or "s"])


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `10m`, `2h`, `1d` or a number of seconds.

    Raises:
        MisuseError: it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None or float(match["count"]) <= 0:
        raise MisuseError(f"the duration {text!r} is none: write 90s, 10m, 2h or 1d")
    try:
        return timedelta(seconds=float(match["count"]) * _SECONDS[match["unit"] or "s"])
    except OverflowError:
        raise MisuseError(f"the duration {text!r} is too long") from None


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a message comes, and in which burst.

    Attributes:
        after: since the start.
        burst: the number of the burst that it belongs to, from 1; `None` outside bursts.
    """

    after: timedelta
    burst: int | None


def arrivals(random: Random, per_second: float) -> Iterator[Arrival]:
    """Yield arrivals for ever; over a long time there are `per_second` of them, those in bursts included."""
    in_burst = BURST_CHANCE * (BURST_MIN + BURST_MAX) / 2  # messages in bursts for each one outside
    quiet_gap = (1 + in_burst) / (1 + in_burst / BURST_SPEED) / per_second
    seconds, burst, left = 0.0, 0, 0
    while True:
        if left:
            left -= 1
            seconds += random.expovariate(BURST_SPEED / quiet_gap)
            yield Arrival(timedelta(seconds=seconds), burst)
            continue
        seconds += random.expovariate(1 / quiet_gap)
        yield Arrival(timedelta(seconds=seconds), None)
        if random.random() < BURST_CHANCE:
            burst += 1
            left = random.randint(BURST_MIN, BURST_MAX)
