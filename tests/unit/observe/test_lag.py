from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.observe.lag import Lag, Lags, LogLag

FEED = ("notices.africa", 0)


def test_counts_for_how_long_the_oldest_unread_record_has_been_there() -> None:
    """The seconds run from the sample that first saw an end beyond the position, and not from later ones."""
    log = LogLag()
    log.sample(end=5, position=5, now=0)
    log.sample(end=8, position=5, now=10)
    log.sample(end=9, position=5, now=20)

    assert log.lag(25) == Lag(records=4, seconds=15)
    log.sample(end=9, position=8, now=30)
    assert log.lag(30) == Lag(records=1, seconds=10)
    log.sample(end=9, position=9, now=31)
    assert log.lag(50) == Lag(records=0, seconds=0)


def test_a_reader_that_keeps_up_is_never_behind_however_much_comes() -> None:
    """Under load each sample finds records that are not read, and yet none that has waited since the one before."""
    log = LogLag()
    for turn in range(100):
        log.sample(end=100 * (turn + 1), position=100 * turn, now=5.0 * turn)
        assert log.lag(5.0 * turn).seconds <= 5

    assert log.lag(500).records == 100


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # of the machine, beside other tests
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=40))
def test_never_behind_the_future_nor_before_the_beginning(steps: list[tuple[int, int]]) -> None:
    """Whatever comes and is read, the lag is what lies between, and no older than the first sample."""
    log, end, position = LogLag(), 0, 0
    for now, (more, read) in enumerate(steps):
        end += more
        position = min(end, position + read)
        log.sample(end=end, position=position, now=now)
        lag = log.lag(now)

        assert lag.records == end - position
        assert 0 <= lag.seconds <= now
        assert (lag.records == 0) <= (lag.seconds == 0)


def test_a_log_that_is_not_read_any_more_is_forgotten() -> None:
    """A shard that went to another member no longer counts here, and begins anew when it comes back."""
    lags = Lags()
    lags.sample({FEED: 9}, {FEED: 0}, now=0)
    lags.sample({}, {}, now=60)
    assert lags.longest(60) is None

    lags.sample({FEED: 9}, {FEED: 0}, now=70)
    assert lags.longest(75) == (FEED, Lag(records=9, seconds=5))
