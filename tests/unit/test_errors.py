from __future__ import annotations

import pytest

from broker.errors import InvalidFieldError, InvalidMessageError


@pytest.mark.parametrize(("count", "shown", "rest"), [(1, 1, None), (20, 20, None), (21, 20, 1), (10_000, 20, 9_980)])
def test_an_error_about_many_fields_stays_readable(count: int, shown: int, rest: int | None) -> None:
    """Its text and what is logged name the first twenty; every one of them is there for programs."""
    error = InvalidMessageError([InvalidFieldError(f"field_{at}", "is wrong", "a rule") for at in range(count)])

    assert str(error).count(" is wrong. Rule: a rule") == shown
    assert str(error).endswith("a rule" if rest is None else f"; and {rest} more")
    assert len(error.log_fields()["fields"].split()) == shown
    assert len(error.problems) == count
