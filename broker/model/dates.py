"""Dates of which only a part is known, and the ages that follow from them."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any, NamedTuple, Self

from pydantic import Field, model_validator

from broker.model.base import Model

ABOUT = timedelta(days=2 * 366)
"""How far off an *about* may be, either way: two years, our choice. It only ever makes a person perhaps younger,
and whoever is perhaps a minor is treated as one (domain section 6, rule 3)."""

ADULT_AT_YEARS = 18
"""Convention on the Rights of the Child, article 1; Palermo protocol, article 3(d)."""

_WRITTEN = re.compile(
    r"(?P<about>about )?"
    r"(?:(?P<year>[0-9]{4})(?:-(?P<month>[0-9]{2})(?:-(?P<day>[0-9]{2}))?)?|(?P<first>[0-9]{4})\.\.(?P<last>[0-9]{4}))"
)


class AgeBounds(NamedTuple):
    """The least and the greatest age, in completed years, that dates allow."""

    least: int
    greatest: int

    @property
    def perhaps_minor(self) -> bool:
        """Whether the person may be under 18, which counts as being a minor."""
        return self.least < ADULT_AT_YEARS


class PartialDate(Model):
    """A date of which the year, the month or the day is known, perhaps only about; or a range of years.

    In files also written `1980`, `1980-01`, `1980-01-31`, `about 1980` or `1980..1984`.
    """

    year: int = Field(ge=1800, le=2200)
    """The year; of a range, the first."""
    month: int | None = Field(default=None, ge=1, le=12)
    """Where known."""
    day: int | None = Field(default=None, ge=1, le=31)
    """Where known."""
    until_year: int | None = Field(default=None, ge=1800, le=2200)
    """The last year of a range that `year` begins; then neither month nor day is known."""
    about: bool = False
    """An estimate: may be two years off, either way."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, date):  # YAML reads 1980-01-31 as a date, and 1980 as a number
            return {"year": value.year, "month": value.month, "day": value.day}
        if isinstance(value, int):
            return {"year": value}
        if isinstance(value, str):
            written = _WRITTEN.fullmatch(value)
            if written is None:
                msg = "is not a date such as 1980, 1980-01, 1980-01-31, about 1980 or 1980..1984"
                raise ValueError(msg)
            parts = {"year": written["year"] or written["first"], "month": written["month"], "day": written["day"]}
            return {**parts, "until_year": written["last"], "about": written["about"] is not None}
        return value

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.day is not None:
            if self.month is None:
                msg = "a day needs its month"
                raise ValueError(msg)
            try:
                date(self.year, self.month, self.day)
            except ValueError:
                msg = "is not a day of that month"
                raise ValueError(msg) from None
        if self.until_year is not None:
            if self.month is not None:
                msg = "a range is of whole years"
                raise ValueError(msg)
            if self.until_year < self.year:
                msg = "a range ends before it begins"
                raise ValueError(msg)
        return self

    @property
    def earliest(self) -> date:
        """The first day that it may be."""
        first = date(self.year, self.month or 1, self.day or 1)
        return first - ABOUT if self.about else first

    @property
    def latest(self) -> date:
        """The last day that it may be."""
        if self.day is not None and self.month is not None:
            last = date(self.year, self.month, self.day)
        elif self.month is not None and self.month < 12:  # noqa: PLR2004 - the months of a year
            last = date(self.year, self.month + 1, 1) - timedelta(days=1)
        else:
            last = date(self.until_year or self.year, 12, 31)
        return last + ABOUT if self.about else last

    def age_at(self, event: Self | date) -> AgeBounds:
        """Return how old somebody born at this date may have been at an event, itself perhaps known only in part."""
        first, last = (event, event) if isinstance(event, date) else (event.earliest, event.latest)
        return AgeBounds(least=completed_years(self.latest, first), greatest=completed_years(self.earliest, last))


def completed_years(born: date, on: date) -> int:
    """Return an age in completed years; who was born on 29 February turns a year older on 1 March of other years."""
    return on.year - born.year - ((on.month, on.day) < (born.month, born.day))


def years_later(day: date, years: int) -> date:
    """Return the same day some years later; 28 February, where there is no 29th; the calendar's last, beyond it."""
    if day.year + years > date.max.year:
        return date.max
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return day.replace(year=day.year + years, day=28)
