"""Which changes of a schema are refused, in which words; the verdict is held against Apache Avro's checker."""

from __future__ import annotations

import json
import sys
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import MisuseError
from broker.schema import compatibility
from broker.schema.catalogue import Catalogue, SchemaVersion
from broker.schema.compatibility import check, check_pair
from broker.schema.reading import obstacles
from broker.schema.rules import Rule
from broker.schema.shape import Shape
from tests.support.evolution import COLOUR, PARCELS, a_field, a_record, apache_says

Fields = list[dict[str, Any]]

NUMBER = a_field("number")
RED_AND_BLUE = {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}
CAR, BOAT = a_record(a_field("plate"), name="Car"), a_record(a_field("hull"), name="Boat")


def optional(name: str, kind: Any = "string") -> dict[str, Any]:
    return a_field(name, ["null", kind], default=None)


def avro_says(reader: Any, writer: Any) -> bool:
    return apache_says(reader=json.dumps(reader), writer=json.dumps(writer))


def shape(schema: Any, label: str = "v1") -> Shape:
    return Shape(json.dumps(schema), label=label)


class Row(NamedTuple):
    """A change, what Avro says of it, and what we say."""

    what: str
    v1: Fields
    v2: Fields
    avro_refuses: bool
    path: str
    rule: Rule
    problem: str
    instead: str


BREAKING = [
    Row(
        "a field without default is removed",
        [NUMBER, a_field("weight", "long")],
        [NUMBER],
        True,
        "weight",
        Rule.FIELD_NEEDS_DEFAULT,
        "weight is gone in v2 and has no default in v1, so v1 cannot read what v2 writes",
        "keep weight (long): programs with v1 wait for it",
    ),
    Row(
        "a field without default is added",
        [NUMBER],
        [NUMBER, a_field("weight", "long")],
        True,
        "weight",
        Rule.FIELD_NEEDS_DEFAULT,
        "weight is new in v2 and has no default, so v2 cannot read what v1 writes",
        "give weight a default; where no other fits, make it a union that begins with null",
    ),
    Row(
        "a type is narrowed",
        [a_field("weight", "long")],
        [a_field("weight", "int")],
        True,
        "weight",
        Rule.TYPE_CHANGED,
        "narrowed from long to int, so v2 cannot read what v1 writes",
        "keep long; a narrower range is the model's to check",
    ),
    Row(
        "a type is widened",
        [a_field("weight", "int")],
        [a_field("weight", "double")],
        True,
        "weight",
        Rule.TYPE_CHANGED,
        "widened from int to double, so v1 cannot read what v2 writes",
        "keep int, and put double into a new field with a default",
    ),
    Row(
        "a type is another one",
        [a_field("weight", "long")],
        [a_field("weight", {"type": "array", "items": "long"})],
        True,
        "weight",
        Rule.TYPE_CHANGED,
        "changed from long to array of long, so neither reads what the other writes",
        "keep long",
    ),
    Row(
        "a field may be absent",
        [NUMBER],
        [optional("number")],
        True,
        "number",
        Rule.TYPE_CHANGED,
        "changed from string to null, so v1 cannot read what v2 writes",
        "keep string, and put null into a new field",
    ),
    Row(
        "a symbol is added to an enum without default",
        [a_field("colour", RED_AND_BLUE)],
        [a_field("colour", {**RED_AND_BLUE, "symbols": ["red", "blue", "silver"], "default": "red"})],
        True,
        "colour",
        Rule.SYMBOL_NEEDS_DEFAULT,
        "enum Colour has the new symbol silver, and no default in v1 to read it as",
        "add a new field with an enum of its own, which has a default symbol",
    ),
    Row(
        "a symbol is removed from an enum without default",
        [a_field("colour", RED_AND_BLUE)],
        [a_field("colour", {**RED_AND_BLUE, "symbols": ["red"]})],
        True,
        "colour",
        Rule.SYMBOL_REMOVED,
        "enum Colour no longer has blue and has no default",
        "keep blue",
    ),
    Row(
        "a symbol is removed, and the default would be read",
        [a_field("colour", COLOUR)],
        [a_field("colour", {**COLOUR, "symbols": ["unknown", "red"]})],
        False,
        "colour",
        Rule.SYMBOL_REMOVED,
        "symbol blue is gone in v2, which reads the default where v1 wrote it",
        "keep blue",
    ),
    Row(
        "a required field is renamed",
        [NUMBER, a_field("weight", "long")],
        [NUMBER, a_field("mass", "long")],
        True,
        "weight",
        Rule.FIELD_RENAMED,
        "weight is called mass in v2 and has no default in v1, so v1 cannot read what v2 writes",
        "keep the name weight",
    ),
    Row(
        "a required field is renamed with an alias, which only new programs know",
        [a_field("weight", "long")],
        [a_field("mass", "long", aliases=["weight"])],
        True,
        "weight",
        Rule.FIELD_RENAMED,
        "weight is called mass in v2 and has no default in v1, so v1 cannot read what v2 writes",
        "old programs still wait for weight",
    ),
    Row(
        "an optional field is renamed without alias",
        [NUMBER, optional("title"), optional("size", "long")],
        [optional("first"), NUMBER, optional("heading"), optional("size", "long")],
        False,
        "title",
        Rule.FIELD_RENAMED,
        "title seems to be called heading in v2, without an alias, so each version reads the default",
        'add "aliases": ["title"] to heading',
    ),
    Row(
        "a type is renamed",
        [a_field("car", CAR)],
        [a_field("car", {**CAR, "name": "Vehicle"})],
        True,
        "car",
        Rule.TYPE_RENAMED,
        "the record Car is renamed to Vehicle, so neither reads what the other writes",
        "keep the name Car",
    ),
    Row(
        "a branch is added to a union",
        [optional("thing", CAR)],
        [a_field("thing", ["null", CAR, BOAT], default=None)],
        True,
        "thing",
        Rule.BRANCH_UNKNOWN,
        "the union's branch record Boat of v2 is not in v1, which has null or record Car",
        "put record Boat into a new field beside it, with null as its default",
    ),
    Row(
        "a branch is removed from a union",
        [a_field("thing", ["null", CAR, BOAT], default=None)],
        [optional("thing", CAR)],
        True,
        "thing",
        Rule.BRANCH_UNKNOWN,
        "the union's branch record Boat of v1 is not in v2",
        "keep the branch record Boat",
    ),
    Row(
        "a branch is added that Avro reads as another",
        [a_field("size", ["null", "double"], default=None)],
        [a_field("size", ["null", "double", "long"], default=None)],
        False,
        "size",
        Rule.BRANCH_UNKNOWN,
        "the union's branch long is new in v2",
        "leave the union as it is",
    ),
    Row(
        "text becomes bytes",
        [NUMBER],
        [a_field("number", "bytes")],
        False,
        "number",
        Rule.TYPE_CHANGED,
        "changed from string to bytes: Avro reads either as the other, but not all bytes are text",
        "keep string",
    ),
    Row(
        "milliseconds become microseconds",
        [a_field("at", {"type": "long", "logicalType": "timestamp-millis"})],
        [a_field("at", {"type": "long", "logicalType": "timestamp-micros"})],
        False,
        "at",
        Rule.MEANING_CHANGED,
        "changed from long (timestamp-millis) to long (timestamp-micros)",
        "keep long (timestamp-millis)",
    ),
    Row(
        "a fixed has another size",
        [a_field("digest", {"type": "fixed", "name": "Digest", "size": 16})],
        [a_field("digest", {"type": "fixed", "name": "Digest", "size": 32})],
        True,
        "digest",
        Rule.TYPE_CHANGED,
        "fixed Digest has 16 bytes in v1 and 32 bytes in v2",
        "keep the size",
    ),
    Row(
        "deep inside, a required field is added",
        [a_field("stops", {"type": "array", "items": ["null", CAR]}, default=[])],
        [
            a_field(
                "stops", {"type": "array", "items": ["null", a_record(*CAR["fields"], NUMBER, name="Car")]}, default=[]
            )
        ],
        True,
        "stops[].number",
        Rule.FIELD_NEEDS_DEFAULT,
        "number is new in v2 and has no default",
        "give number a default",
    ),
]


@pytest.mark.parametrize("row", BREAKING, ids=lambda row: row.what.replace(" ", "_"))
def test_a_breaking_change_is_refused_with_what_to_do_instead(row: Row) -> None:
    """Each change that breaks a reader, or would be misread, names its field, its rule and the way around it."""
    v1, v2 = a_record(*row.v1), a_record(*row.v2)

    found = check(versions(v1, v2))

    assert (avro_says(v1, v2) and avro_says(v2, v1)) is not row.avro_refuses
    (one,) = (one for one in found if (one.versions, one.path, one.rule) == ((1, 2), row.path, row.rule))
    assert row.problem in one.problem
    assert row.instead in one.instead


def test_what_may_change_passes() -> None:
    """Optional fields come and go, symbols come, defaults change: three versions read one another."""
    assert check(versions(*PARCELS)) == []


def test_a_break_between_versions_that_are_not_neighbours_is_found() -> None:
    """A field that goes in one version and comes back as another type in a later one breaks the first with the last."""
    first = a_record(NUMBER, a_field("weight", "long", default=0))
    last = a_record(NUMBER, a_field("weight", "string", default=""))

    found = check(versions(first, a_record(NUMBER), last))

    assert {(one.versions, one.path, one.rule) for one in found} == {((1, 3), "weight", Rule.TYPE_CHANGED)}


def test_an_enum_without_default_is_refused_before_it_needs_one() -> None:
    """It could never get a symbol: a default that comes with the symbol does not reach the programs that are out."""
    (one,) = check(versions(a_record(a_field("colour", RED_AND_BLUE))))

    assert (one.versions, one.rule) == ((1,), Rule.ENUM_NEEDS_DEFAULT)
    assert "enum Colour has no default in v1" in one.problem


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "record", "name": "A", "fields": [{"name": "a", "type": "B"}]},
        {"type": "record", "fields": []},
        {"type": "record", "name": "A", "fields": [{"name": "a", "type": "long", "default": "x"}]},
        {"type": "enum", "name": "A", "symbols": ["a"], "default": "b"},
        {"type": "enum", "name": "A", "symbols": ["a-b"], "default": "a-b"},
        ["not", "a", "schema"],
        7,
    ],
)
def test_what_is_no_schema_is_named(schema: Any) -> None:
    """Unknown and nameless types, impossible defaults and names are said; the other versions are still compared."""
    found = check(versions(schema, a_record(NUMBER), a_record()))

    assert [(one.versions, one.rule) for one in found] == [((1,), Rule.AVRO), ((2, 3), Rule.FIELD_NEEDS_DEFAULT)]


def test_what_only_avro_sees_is_shown_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Avro's verdict counts: where our walk has no explanation, the checker's message is shown as it is."""
    monkeypatch.setattr(compatibility, "obstacles", lambda **_: ())

    (one,) = check_pair(shape(a_record(a_field("weight", "long"))), shape(a_record(a_field("weight", "int")), "v2"))

    assert one.rule is Rule.AVRO
    assert "type_mismatch at /fields/0/type: reader type: int not compatible with writer type: long" in one.problem


def test_without_apaches_package_the_check_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that carry messages do without `avro`; who checks schemas is told what to install."""
    monkeypatch.setitem(sys.modules, "avro.schema", None)
    with pytest.raises(MisuseError, match=r"the package `avro`: `make setup` installs it"):
        check(versions(a_record(NUMBER)))


def versions(*schemas: Any) -> Catalogue:
    return Catalogue(
        SchemaVersion("parcel", number, number, json.dumps(schema)) for number, schema in enumerate(schemas, start=1)
    )


# ---------------------------------------------------------------------------------- our walk against Apache's checker

PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"]
NAMES = ["AnEnum", "AFixed", "ARecord", "AnotherRecord"]


def some_types() -> st.SearchStrategy[Any]:
    plain = st.sampled_from(PRIMITIVES + NAMES)
    union = st.lists(plain, min_size=1, max_size=3, unique=True)
    array = plain.map(lambda inner: {"type": "array", "items": inner})
    mapping = union.map(lambda inner: {"type": "map", "values": inner})
    return st.one_of(plain, plain, union, array, mapping)


@st.composite
def some_fields(draw: st.DrawFn) -> Fields:
    fields: Fields = []
    for name in draw(st.lists(st.sampled_from("abc"), max_size=3, unique=True)):
        kind = draw(some_types())
        default = {"default": None} if kind == "null" or (isinstance(kind, list) and kind[0] == "null") else {}
        aliases = draw(st.sampled_from([{}, {}, {"aliases": ["a"]}, {"aliases": ["d", "b"]}]))
        fields.append({"name": name, "type": kind, **default, **aliases})
    return fields


@st.composite
def some_enums(draw: st.DrawFn) -> dict[str, Any]:
    symbols = draw(st.lists(st.sampled_from("xyz"), min_size=1, unique=True))
    return {"type": "enum", "symbols": symbols, **draw(st.sampled_from([{}, {"default": symbols[0]}]))}


@st.composite
def some_schemas(draw: st.DrawFn) -> dict[str, Any]:
    """A record of a few fields, whose names and types are few enough that two schemas are often alike."""
    drawn = {
        "AnEnum": draw(some_enums()),
        "AFixed": {"type": "fixed", "size": draw(st.integers(1, 2))},
        "ARecord": {"type": "record", "fields": draw(some_fields())},
        "AnotherRecord": {"type": "record", "fields": draw(some_fields())},
    }
    return dict(inlined("ARecord", drawn))


def inlined(part: Any, left: dict[str, Any]) -> Any:
    """Put each named type where it is first used."""
    if isinstance(part, str) and part in left:
        return inlined({**left.pop(part), "name": part}, left)
    if isinstance(part, list):
        return [inlined(one, left) for one in part]
    if not isinstance(part, dict):
        return part
    inner = {key: inlined(part[key], left) for key in ("type", "items", "values") if key in part}
    if "fields" in part:
        inner["fields"] = [inlined(field, left) for field in part["fields"]]
    return {**part, **inner}


@settings(max_examples=80, deadline=None)
@given(some_schemas(), some_schemas())
def test_our_walk_finds_something_exactly_where_avro_refuses(old: dict[str, Any], new: dict[str, Any]) -> None:
    """On any two schemas, the walk that explains and Apache's checker agree, in both directions."""
    v1, v2 = shape(old), shape(new, "v2")
    assert (obstacles(reader=v1, writer=v2, reader_is_newer=False) == ()) == avro_says(old, new)
    assert (obstacles(reader=v2, writer=v1, reader_is_newer=True) == ()) == avro_says(new, old)
