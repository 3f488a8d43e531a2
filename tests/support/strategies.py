"""Hypothesis strategies for any value of good shape: derived from the models' own annotations, so none is forgotten."""

from __future__ import annotations

from datetime import UTC, date, datetime
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin
from uuid import UUID

from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from broker.clock import to_millis
from broker.model.base import Model
from broker.model.dates import PartialDate
from broker.schema.codec import SUBJECTS

M = TypeVar("M", bound=Model)

FEW = 3
"""Items in a list, where the model allows so many: more only make the search slower."""

_LONG = 2**63 - 1

_BOUNDS = ("ge", "le", "lt", "min_length", "max_length", "pattern")


@cache
def a(model: type[M]) -> st.SearchStrategy[M]:
    """Any value of a model."""
    if model is PartialDate:
        return partial_dates()  # type: ignore[return-value]
    required, optional = {}, {}
    for name, field in model.model_fields.items():
        strategy = _of(field.annotation, tuple(field.metadata))
        if field.is_required():
            required[name] = strategy
        else:
            optional[name] = strategy
    return st.fixed_dictionaries(required, optional=optional).map(model.model_validate)


def any_value() -> st.SearchStrategy[Model]:
    """Any value that has a schema."""
    return st.one_of([a(model) for model in SUBJECTS.values()])


def partial_dates() -> st.SearchStrategy[PartialDate]:
    """Any possible date, of which a part may be known."""
    years = st.integers(1800, 2200)
    about = st.booleans()
    exact = st.dates(date(1800, 1, 1), date(2200, 12, 31))
    pair = st.tuples(years, years).map(sorted)
    return st.one_of(
        st.builds(lambda year, about: PartialDate(year=year, about=about), years, about),
        st.builds(lambda day, about: PartialDate(year=day.year, month=day.month, about=about), exact, about),
        st.builds(
            lambda day, about: PartialDate(year=day.year, month=day.month, day=day.day, about=about), exact, about
        ),
        st.builds(lambda two, about: PartialDate(year=two[0], until_year=two[1], about=about), pair, about),
    )


def _of(annotation: Any, metadata: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _of(parts[0], (*metadata, *parts[1:]))
    if origin in {Union, UnionType}:
        (inner,) = (one for one in parts if one is not NoneType)
        return st.none() | _of(inner, metadata)
    bounds = _bounds(metadata)
    if origin is tuple:
        least = bounds.get("min_length", 0)
        return st.lists(_of(parts[0], ()), min_size=least, max_size=least + FEW).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=FEW)
    if issubclass(annotation, Model):
        return st.deferred(lambda: a(annotation))
    if issubclass(annotation, StrEnum):
        return st.sampled_from(annotation)
    return _scalar(annotation, bounds)


def _scalar(annotation: type, bounds: dict[str, Any]) -> st.SearchStrategy[Any]:
    least, most = bounds.get("min_length", 0), min(bounds.get("max_length", 40), 40)
    if annotation is str and "pattern" in bounds:
        return st.from_regex(bounds["pattern"].removesuffix("$"), fullmatch=True)  # Python's $ lets a line feed follow
    if annotation is int:
        return st.integers(bounds.get("ge", -_LONG), bounds.get("le", bounds.get("lt", _LONG + 1) - 1))
    scalars: dict[type, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        bytes: st.binary(min_size=least, max_size=most),
        date: st.dates(),
        datetime: st.datetimes(timezones=st.just(UTC)).map(to_millis),
        str: st.text(min_size=least, max_size=most),
        UUID: st.uuids(),
    }
    return scalars[annotation]


def _bounds(metadata: tuple[Any, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in metadata:
        if isinstance(one, FieldInfo):
            found |= _bounds(tuple(one.metadata))
            continue
        for name in _BOUNDS:
            value = getattr(one, name, None)
            if value is not None:
                found[name] = value
    return found
