"""Another project's published schemas, fifteen versions of them, through our check."""

from __future__ import annotations

import json
from importlib.metadata import files
from itertools import pairwise
from typing import Any

import pytest
from fastavro.schema import load_schema

from broker.schema.compatibility import avro_refusal, check_pair
from broker.schema.reading import obstacles
from broker.schema.rules import Rule
from broker.schema.shape import Shape
from tests.support.evolution import apache_says


def alerts() -> dict[tuple[int, int], str]:
    """Every version of LSST's alert, whole: its schema names others, which lie beside it in files of their names."""
    found: dict[tuple[int, int], str] = {}
    for file in files("lsst-alert-packet") or ():
        if file.name.endswith(".alert.avsc"):
            major, minor = file.parts[-3:-1]
            schema: Any = load_schema(str(file.locate()), _write_hint=False)
            found[int(major), int(minor)] = json.dumps(schema)
    return dict(sorted(found.items()))


ALERTS = alerts()

# Apache's verdicts, as avro 1.12.2 gave them on lsst-alert-packet 30.2026.2700: does each version read the one before
# it, and the one after it?
READS_EARLIER_AND_LATER = {
    ((3, 0), (4, 0)): (True, True),
    ((4, 0), (5, 0)): (False, False),
    ((5, 0), (6, 0)): (True, False),
    ((6, 0), (6, 1)): (True, True),
    ((6, 1), (7, 0)): (False, False),
    ((7, 0), (7, 1)): (False, True),
    ((7, 1), (7, 2)): (True, True),
    ((7, 2), (7, 3)): (True, True),
    ((7, 3), (7, 4)): (True, True),
    ((7, 4), (8, 0)): (False, False),
    ((8, 0), (9, 0)): (False, False),
    ((9, 0), (10, 0)): (False, True),
    ((10, 0), (11, 0)): (False, True),
    ((11, 0), (11, 1)): (True, True),
}


def test_the_verdicts_are_about_all_published_versions() -> None:
    """A version that is published later is noticed here."""
    assert list(pairwise(ALERTS)) == list(READS_EARLIER_AND_LATER)


def shape(version: tuple[int, int]) -> Shape:
    return Shape(ALERTS[version], label="v{}.{}".format(*version))


@pytest.mark.parametrize("pair", READS_EARLIER_AND_LATER, ids=lambda pair: "{}.{}-{}.{}".format(*pair[0], *pair[1]))
def test_our_check_has_apaches_verdict(pair: tuple[tuple[int, int], tuple[int, int]]) -> None:
    """For each published version and the next, both ways: Apache's checker, our check and our explanation agree."""
    old, new = shape(pair[0]), shape(pair[1])
    earlier, later = READS_EARLIER_AND_LATER[pair]

    assert (apache_says(reader=new.text, writer=old.text), apache_says(reader=old.text, writer=new.text)) == (
        earlier,
        later,
    )
    assert (avro_refusal(reader=new.text, writer=old.text) is None) == earlier
    assert (avro_refusal(reader=old.text, writer=new.text) is None) == later
    assert (obstacles(reader=new, writer=old, reader_is_newer=True) == ()) == earlier
    assert (obstacles(reader=old, writer=new, reader_is_newer=False) == ()) == later
    broken = [one for one in check_pair(old, new) if one.so]
    assert (broken == []) == (earlier and later)
    assert all(one.path and one.instead and one.rule is not Rule.AVRO for one in broken)


def test_what_broke_is_said_by_field() -> None:
    """From 4.0 to 5.0 `decl` became `dec` and `filterName` `band`: each is named, also where Avro says nothing.

    Avro takes an optional field that is renamed for one that went and another that came.
    """
    found = {(one.path, one.rule): one.problem for one in check_pair(shape((4, 0)), shape((5, 0)))}

    assert "decl is gone in v5.0" in found["diaObject.decl", Rule.FIELD_NEEDS_DEFAULT]
    assert "filterName is called band in v5.0" in found["diaSource.filterName", Rule.FIELD_RENAMED]
    for old, new in (("pmDecl", "pmDec"), ("uChi2", "u_Chi2"), ("yChi2", "y_Chi2")):
        record = "diaObject" if old == "pmDecl" else "ssObject"
        assert f"{old} seems to be called {new}" in found[f"{record}.{old}", Rule.FIELD_RENAMED]
