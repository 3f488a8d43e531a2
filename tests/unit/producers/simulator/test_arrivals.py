from __future__ import annotations

from datetime import timedelta
from itertools import islice, pairwise
from random import Random

import pytest

from broker.errors import MisuseError
from producers.simulator.arrivals import Rate, arrivals, parse_duration


@pytest.mark.parametrize(
    ("text", "per_second"),
    [("5/s", 5.0), ("300/m", 5.0), ("18000/h", 5.0), ("86400/d", 1.0), ("0.5/s", 0.5), ("10", 10.0), ("max", None)],
)
def test_rates_are_read(text: str, per_second: float | None) -> None:
    """A rate is so many a second, minute, hour or day; `max` is as fast as it goes."""
    assert Rate.parse(text).per_second == per_second


@pytest.mark.parametrize("text", ["", "0/s", "-1/s", "5/y", "fast", "1e9/s", "5/s "])
def test_what_is_no_rate_is_refused(text: str) -> None:
    """Anything else is refused, and so is a rate at which nothing would ever come."""
    with pytest.raises(MisuseError, match="rate"):
        Rate.parse(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("2h", 7_200), ("1d", 86_400), ("45", 45), ("0.5s", 0.5)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    """A duration is so many seconds, minutes, hours or days."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0s", "10 m", "forever", f"{'9' * 30}d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(MisuseError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize("per_second", [0.5, 5.0, 200.0])
def test_the_rate_holds_in_the_mean(per_second: float) -> None:
    """Over a long time as many come as the rate says, those in bursts included."""
    last = next(islice(arrivals(Random(1), per_second), 39_999, None))

    assert 40_000 / last.after.total_seconds() == pytest.approx(per_second, rel=0.05)


def test_bursts_are_ten_times_as_fast() -> None:
    """Within a burst the gaps are a tenth of those outside, and a burst holds 10 to 30 messages."""
    came = list(islice(arrivals(Random(2), 1.0), 20_000))
    inside = [(b.after - a.after).total_seconds() for a, b in pairwise(came) if b.burst is not None]
    outside = [(b.after - a.after).total_seconds() for a, b in pairwise(came) if b.burst is None]
    sizes = [sum(one.burst == number for one in came) for number in range(1, 20)]

    assert (sum(outside) / len(outside)) / (sum(inside) / len(inside)) == pytest.approx(10, rel=0.1)
    assert 10 <= min(sizes) < max(sizes) <= 30
