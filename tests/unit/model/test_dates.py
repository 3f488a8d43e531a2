from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from broker.model.dates import PartialDate, years_later
from tests.support.builders import a_missing_child_notice, a_person, a_yellow_notice, an_arrest_diffusion
from tests.support.strategies import partial_dates


def written(text: Any) -> PartialDate:
    return PartialDate.model_validate(text)


@pytest.mark.parametrize(
    ("text", "earliest", "latest"),
    [
        ("1980", date(1980, 1, 1), date(1980, 12, 31)),
        (1980, date(1980, 1, 1), date(1980, 12, 31)),
        ("1980-02", date(1980, 2, 1), date(1980, 2, 29)),
        ("1981-02", date(1981, 2, 1), date(1981, 2, 28)),
        ("1980-12", date(1980, 12, 1), date(1980, 12, 31)),
        ("1980-01-31", date(1980, 1, 31), date(1980, 1, 31)),
        (date(1980, 1, 31), date(1980, 1, 31), date(1980, 1, 31)),
        ("1980..1984", date(1980, 1, 1), date(1984, 12, 31)),
        ("about 1980", date(1977, 12, 30), date(1983, 1, 2)),  # 732 days either way: two years and at most two days
    ],
)
def test_a_partial_date_says_when_it_may_have_been(text: Any, earliest: date, latest: date) -> None:
    """Year, month, day, range and *about* each give the first and the last day that it may be."""
    assert (written(text).earliest, written(text).latest) == (earliest, latest)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1980-02-30", "is not a day of that month"),
        ("1981-02-29", "is not a day of that month"),
        ("1980-13", "less than or equal to 12"),
        ("1980-00", "greater than or equal to 1"),
        ("0980", "greater than or equal to 1800"),
        ("1984..1980", "a range ends before it begins"),
        ({"year": 1980, "day": 3}, "a day needs its month"),
        ({"year": 1980, "month": 3, "until_year": 1984}, "a range is of whole years"),
        ("31.1.1980", "is not a date such as"),
        ("1980-1-1", "is not a date such as"),
        ("", "is not a date such as"),
    ],
)
def test_an_impossible_date_is_refused(value: Any, said: str) -> None:
    """What is no day, no month, no year of these times, or no range is refused with the reason."""
    with pytest.raises(ValidationError, match=said):
        written(value)


@pytest.mark.parametrize(
    ("born", "event", "least", "greatest"),
    [
        ("2008-05-01", "2026-05-01", 18, 18),
        ("2008-05-02", "2026-05-01", 17, 17),
        ("2008-05", "2026-05-01", 17, 18),
        ("2008", "2026-12-30", 17, 18),
        ("2008", "2026-12-31", 18, 18),
        ("2007", "2026-05-01", 18, 19),
        ("2000..2010", "2026-05-01", 15, 26),
        ("about 2006", "2026-12-31", 17, 23),
        ("2008-02-29", "2026-02-28", 17, 17),
        ("2008-02-29", "2026-03-01", 18, 18),
        ("2008-06-15", "2026", 17, 18),
    ],
)
def test_ages_at_an_event_are_bounded(born: str, event: str, least: int, greatest: int) -> None:
    """The least and the greatest age that both dates allow; a birthday on 29 February falls on 1 March."""
    assert written(born).age_at(written(event)) == (least, greatest)


@given(partial_dates(), st.dates(date(1790, 1, 1), date(2220, 1, 1)))
def test_every_birth_day_that_it_may_be_gives_an_age_within_the_bounds(born: PartialDate, on: date) -> None:
    """The bounds hold for the first and the last day that a partial date may be."""
    bounds = born.age_at(on)
    assert born.earliest <= born.latest
    for day in (born.earliest, born.latest):
        birthdays = sum((day.month, day.day) <= (on.month, on.day) if year == on.year else 1
                        for year in range(day.year + 1, on.year + 1))  # fmt: skip
        if on >= day:
            assert bounds.least <= birthdays <= bounds.greatest


@pytest.mark.parametrize(
    ("born", "is_minor"),
    [
        ("2008-05-01", False),  # eighteen on the day of issue, 2026-05-01
        ("2008-05-02", True),
        ("2008", True),  # perhaps seventeen
        ("2007", False),
        ("about 2006", True),  # perhaps two years younger than that
        (None, True),  # nothing is known: perhaps
    ],
)
def test_a_minor_follows_from_the_dates(born: str | None, is_minor: bool) -> None:  # noqa: FBT001 - a table's cell
    """Whoever may be under 18 at the event counts as a minor (domain section 6, victim rule 3)."""
    facts = {"summary": "Did not come home."}
    notice = a_yellow_notice(subject=a_person("missing", born=born), facts=facts)
    assert notice.concerns_minor is is_minor
    assert notice.is_missing_child is is_minor


def test_age_is_reckoned_at_the_event_not_at_issue() -> None:
    """A woman of 25 who went missing at seventeen went missing as a child."""
    facts = {"summary": "Did not come home.", "happened": "2018-04"}
    assert a_yellow_notice(subject=a_person("missing", born="2001-01-31"), facts=facts).is_missing_child


def test_only_what_searches_for_a_child_is_a_missing_child_message() -> None:
    """A wanted minor is a minor, but no missing child."""
    assert a_missing_child_notice().is_missing_child
    wanted = an_arrest_diffusion(subject=a_person("wanted", born="2012"))
    assert wanted.concerns_minor
    assert not wanted.is_missing_child


def test_five_years_after_a_leap_day_is_a_day() -> None:
    """29 February has no fifth anniversary; the day before takes its place, and the calendar's end any later day."""
    assert years_later(date(2024, 2, 29), 5) == date(2029, 2, 28)
    assert years_later(date(2024, 2, 29), 4) == date(2028, 2, 29)
    assert years_later(date(9998, 1, 1), 5) == date(9999, 12, 31)
