"""Every schema against its model, by the table in `broker.schema.codec`, which this spells out a second time."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID

import fastavro
import pytest

from broker.errors import MisuseError
from broker.model.base import Model
from broker.model.naming import Region
from broker.schema.catalogue import Catalogue, SchemaVersion
from broker.schema.codec import SUBJECTS

CATALOGUE = Catalogue.load()

SCALARS: dict[type, tuple[str, str | None]] = {
    bool: ("boolean", None),
    bytes: ("bytes", None),
    date: ("int", "date"),
    datetime: ("long", "timestamp-millis"),
    int: ("long", None),
    Region: ("string", None),
    str: ("string", None),
    UUID: ("string", "uuid"),
}


def schema_of(subject: str, version: int = 0) -> dict[str, Any]:
    """A version of a subject's schema; the newest one where none is named."""
    schema: dict[str, Any] = json.loads(CATALOGUE.versions(subject)[version - 1].text)
    return schema


@pytest.mark.parametrize("subject", SUBJECTS)
def test_model_and_schema_correspond_field_by_field(subject: str) -> None:
    """Names, order, types, optionality and defaults are the same on both sides, all the way down."""
    seen = corresponds(SUBJECTS[subject], schema_of(subject), {}, subject)
    assert seen > 5


def field_docs(model: type[Model]) -> dict[str, str]:
    """What stands under each field of a model, as in a schema: on one line, without marks of code."""
    found: dict[str, str] = {}
    for cls in (one for one in reversed(model.__mro__) if issubclass(one, Model) and one is not Model):
        (written,) = ast.parse(inspect.getsource(cls)).body
        assert isinstance(written, ast.ClassDef)
        for one, following in pairwise(written.body):
            if not (isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                found[one.target.id] = " ".join(str(following.value.value).replace("`", "").split())
    return found


@pytest.mark.parametrize("subject", SUBJECTS)
def test_model_and_schema_say_the_same_of_each_field(subject: str) -> None:
    """Whoever has only the schema reads what whoever has the code reads; what was given away keeps the words it had."""
    said = {field["name"]: field["doc"] for field in schema_of(subject)["fields"] if "doc" in field}
    docs = field_docs(SUBJECTS[subject])
    if (subject, Catalogue.load().newest(subject).version) in FILES:
        docs = {name: docs[name] for name in said}
    assert said == docs


def corresponds(annotation: Any, schema: Any, named: dict[str, Any], at: str) -> int:
    """Compare a type with its schema; return how many fields were compared."""
    if get_origin(annotation) is Annotated:
        return corresponds(get_args(annotation)[0], schema, named, at)
    parts = get_args(annotation)
    if get_origin(annotation) in {Union, UnionType}:
        (inner,) = (one for one in parts if one is not NoneType)
        assert isinstance(schema, list), at
        assert schema[0] == "null", at
        assert len(schema) == 2, at
        return corresponds(inner, schema[1], named, at)
    if isinstance(schema, str) and schema in named:
        schema = named[schema]
    if get_origin(annotation) is tuple:
        assert schema["type"] == "array", at
        return corresponds(parts[0], schema["items"], named, at + "[]")
    if get_origin(annotation) is dict:
        assert schema == {"type": "map", "values": "string"}, at
        return 0
    if annotation in SCALARS:
        kind, logical = SCALARS[annotation]
        assert schema == (kind if logical is None else {"type": kind, "logicalType": logical}), at
        return 0
    assert (schema["name"], schema["namespace"]) == (annotation.__name__, "noticewire"), at
    named["noticewire." + schema["name"]] = schema
    if issubclass(annotation, StrEnum):
        assert schema["symbols"] == [member.value for member in annotation], at
        return 0
    return same_fields(annotation, schema, named, at)


def same_fields(model: type[Model], schema: dict[str, Any], named: dict[str, Any], at: str) -> int:
    assert schema["type"] == "record", at
    assert [field["name"] for field in schema["fields"]] == list(model.model_fields), at
    compared = 0
    for field in schema["fields"]:
        mine = model.model_fields[field["name"]]
        where = f"{at}.{field['name']}"
        if not mine.is_required():
            default = mine.get_default(call_default_factory=True)
            assert field["default"] == (list(default) if isinstance(default, tuple) else default), where
        compared += 1 + corresponds(mine.annotation, field["type"], named, where)
    return compared


def parts_of(schema: Any, field: dict[str, Any] | None = None) -> Iterator[tuple[Any, dict[str, Any] | None]]:
    """Every schema within a schema, with the field that holds it directly."""
    yield schema, field
    if isinstance(schema, list):
        for branch in schema:
            yield from parts_of(branch)
    elif isinstance(schema, dict):
        for one in schema.get("fields", ()):
            yield from parts_of(one["type"], one)
        for inner in ("items", "values"):
            if inner in schema:
                yield from parts_of(schema[inner])


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_schema_can_evolve(subject: str) -> None:
    """Enums have the default symbol, optional parts default to null, lists to []; and no union but that with null."""
    for part, field in parts_of(schema_of(subject)):
        if isinstance(part, list):
            assert part[0] == "null"
            assert len(part) == 2
            assert field is not None
            assert field["default"] is None
        elif isinstance(part, dict) and part["type"] == "enum":
            assert part["default"] == "unknown"
            assert part["default"] in part["symbols"]
        elif isinstance(part, dict) and part["type"] in {"array", "map"}:
            assert field is not None
            assert field["default"] == ([] if part["type"] == "array" else {})
        elif isinstance(part, dict) and part["type"] == "record":
            assert part["fields"], "an empty record takes no bytes, so a hostile array of them has no end"
            assert part["doc"]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_schema_is_avro(subject: str) -> None:
    """An Avro library takes each file by itself, without the others."""
    parsed: Any = fastavro.parse_schema(schema_of(subject), named_schemas={})
    assert parsed["name"].startswith("noticewire.")


def test_version_1_is_the_format_of_2024() -> None:
    """Eight notice types, six diffusion kinds, no silver and no assets (design section 3)."""
    fields = {field["name"]: field["type"] for field in schema_of("notice", 1)["fields"]}
    types = set(fields["type"]["symbols"])
    assert types == {"unknown", "red", "blue", "green", "yellow", "black", "purple", "orange", "special"}
    fields = {field["name"]: field["type"] for field in schema_of("diffusion", 1)["fields"]}
    kinds = set(fields["kind"]["symbols"])
    assert kinds == {"unknown", "arrest", "locate", "information", "identification", "warning", "missing"}
    assert "Asset" not in json.dumps([schema_of("notice", 1), schema_of("diffusion", 1)])


FILES = {
    ("notice", 1): "dc1b91244b5bc0a9d065272982662b02aa21df4d6719b63bb86e9083d6f15a38",
    ("diffusion", 1): "422e468b0dfda0b157152f9f973953d1564f154a3ca6f634d5cc473626202e9b",
    ("receipts", 1): "e8f22a66bef544c5767837d712439a607b2dc7b6ea09206f47bdee4b2431231c",
    ("ledger-entry", 1): "6b475ed76a888bb1d19b132dee03c29163b1a7184de7da0f4415ec01e98d8b79",
    ("rejection", 1): "97afd5ffa87d7ce1be72b01d751978d079faff020101885bf93b750b6a64a78c",
    ("outcome", 1): "cef3138ee4a548cee94f18bce5604d210d6cb0de8b7f03c11b3f9c21de659f95",
    ("notice-of-end", 1): "613518df79009ede16aafd4856938688a8ecd92458298213e141f84e66856c38",
    ("directory-change", 1): "150c1d195b9d4ee12f403c09d0103703841068e27c7c3ed31924f228f8fa62d7",
    ("command", 1): "c3840afad73d2feadbca39cceba937eb92f12420cbaf67b7cae8ba948da43893",
}
"""SHA-256 of each file that was given away."""


@pytest.mark.parametrize(("subject", "version"), FILES)
def test_what_was_given_away_stays_as_it_is(subject: str, version: int) -> None:
    """A version that programs were written against never changes by a byte."""
    text = CATALOGUE.versions(subject)[version - 1].text
    assert sha256(text.encode()).hexdigest() == FILES[subject, version]


def test_the_ids_are_fixed() -> None:
    """The ids that records on the log carry, written here once more by hand."""
    versions = {subject: [one.id for one in CATALOGUE.versions(subject)] for subject in CATALOGUE.subjects()}
    assert versions == {
        "notice": [1001, 1011],
        "diffusion": [1002, 1012],
        "receipts": [1003],
        "ledger-entry": [1004, 1014],
        "rejection": [1005],
        "outcome": [1006],
        "notice-of-end": [1007],
        "directory-change": [1008, 1018],
        "command": [1009],
    }
    found = CATALOGUE.by_id(1001)
    assert found is not None
    assert (found.subject, found.version) == ("notice", 1)
    assert CATALOGUE.by_id(7) is None


@pytest.mark.parametrize(
    ("versions", "said"),
    [
        ([("a", 1, 5), ("b", 1, 5)], "schema id 5 is used twice"),
        ([("a", 1, 0)], "schema id 0 "),
        ([("a", 1, 1), ("a", 3, 2)], "version 3 of a does not follow"),
        ([("a", 2, 1)], "version 2 of a does not follow"),
    ],
)
def test_a_catalogue_that_contradicts_itself_is_refused(versions: list[tuple[str, int, int]], said: str) -> None:
    """An id used twice, an impossible id and a version left out are each named."""
    with pytest.raises(MisuseError, match=said):
        Catalogue(SchemaVersion(subject, version, schema_id, "{}") for subject, version, schema_id in versions)


def test_an_unknown_subject_is_named() -> None:
    """Asking for a subject that is not there says so."""
    with pytest.raises(MisuseError, match="no subject assets"):
        CATALOGUE.newest("assets")
