"""Folders of made-up schemas, in the layout of schemas/avro, and what a reader makes of a record by Avro's rules."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import avro.compatibility
import avro.schema
from fastavro import parse_schema, schemaless_writer
from fastavro.utils import generate_one

COLOUR = {"type": "enum", "name": "Colour", "symbols": ["unknown", "red", "blue"], "default": "unknown"}

TAGS = {"type": "map", "values": "string"}


def a_record(*fields: dict[str, Any], name: str = "Parcel") -> dict[str, Any]:
    return {"type": "record", "name": name, "namespace": "made.up", "fields": list(fields)}


def a_field(name: str, kind: Any = "string", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


PARCELS = (
    a_record(
        a_field("number"),
        a_field("weight", "long"),
        a_field("colour", COLOUR, default="red"),
        a_field("note", ["null", "string"], default=None),
        a_field("stops", {"type": "array", "items": a_record(a_field("place"), name="Stop")}, default=[]),
    ),
    a_record(
        a_field("number"),
        a_field("size", ["null", a_record(a_field("height", "long", default=1), name="Size")], default=None),
        a_field("weight", "long"),
        a_field("colour", {**COLOUR, "symbols": [*COLOUR["symbols"], "silver"]}, default="blue"),
        a_field(
            "stops",
            {"type": "array", "items": a_record(a_field("place"), a_field("tags", TAGS, default={}), name="Stop")},
            default=[],
        ),
    ),
    a_record(
        a_field("number"),
        a_field("size", ["null", a_record(a_field("width", "long", default=2), name="Size")], default=None),
        a_field("weight", "long", default=7),
        a_field("colour", {**COLOUR, "symbols": [*COLOUR["symbols"], "silver", "gold"]}, default="blue"),
        a_field("stops", {"type": "array", "items": a_record(a_field("place"), name="Stop")}, default=[]),
    ),
)
"""Three versions with every change that is allowed: optional fields come and go, symbols come, defaults change."""


def write_folder(folder: Path, subjects: Mapping[str, Sequence[Any]]) -> Path:
    """Write each subject's versions, a sample of each, and the catalogue."""
    entries: list[dict[str, Any]] = []
    for subject, schemas in subjects.items():
        (folder / subject).mkdir(parents=True)
        for number, schema in enumerate(schemas, start=1):
            file, schema_id = f"{subject}/v{number}.avsc", 5001 + len(entries)
            entries.append({"subject": subject, "version": number, "id": schema_id, "file": file})
            (folder / file).write_text(json.dumps(schema))
            body, parsed = BytesIO(), parse_schema(schema, named_schemas={})
            schemaless_writer(body, parsed, generate_one(parsed))
            framed = b"\x00" + schema_id.to_bytes(4, "big") + body.getvalue()
            (folder / subject / f"v{number}.sample.json").write_text(json.dumps({"encoded": framed.hex()}))
    (folder / "catalogue.json").write_text(json.dumps({"schemas": entries}))
    return folder


def apache_says(*, reader: str, writer: str) -> bool:
    """Apache's word on whether one schema reads the other's records, asked without any code of ours."""
    checker: Any = avro.compatibility
    both = avro.schema.parse(reader), avro.schema.parse(writer)
    result = checker.ReaderWriterCompatibilityChecker().get_compatibility(*both)
    return bool(result.compatibility is checker.SchemaCompatibilityType.compatible)


def as_read(value: Any, writer: Any, reader: Any) -> Any:
    """Return what a reader's schema makes of a value that was written with another.

    Absent fields have their default, unknown symbols the enum's, and what the reader does not know is left out. This
    is Avro's specification for the changes that we allow, and for nothing else. Both schemas are as in their files,
    where a type is named after its first use.
    """
    return _as_read(value, writer, reader, (named_types(writer), named_types(reader)))


def _as_read(value: Any, writer: Any, reader: Any, names: tuple[dict[str, Any], dict[str, Any]]) -> Any:
    writer, reader = (_found(one, known) for one, known in zip((writer, reader), names, strict=True))
    if isinstance(reader, list):
        return None if value is None else _as_read(value, writer[1], reader[1], names)
    if not isinstance(reader, dict):
        return value
    if reader["type"] == "array":
        return [_as_read(one, writer["items"], reader["items"], names) for one in value]
    if reader["type"] == "enum":
        return value if value in reader["symbols"] else reader["default"]
    if reader["type"] != "record":
        return value
    written = {field["name"]: field["type"] for field in writer["fields"]}
    return {
        field["name"]: _as_read(value[field["name"]], written[field["name"]], field["type"], names)
        if field["name"] in written
        else field["default"]
        for field in reader["fields"]
    }


def _found(schema: Any, names: dict[str, Any]) -> Any:
    return names.get(schema.rpartition(".")[2], schema) if isinstance(schema, str) else schema


def named_types(schema: Any) -> dict[str, Any]:
    """Every record, enum and fixed that a schema defines, by its name without namespace."""
    if isinstance(schema, list):
        return {name: one for branch in schema for name, one in named_types(branch).items()}
    if not isinstance(schema, dict):
        return {}
    inner = [field["type"] for field in schema.get("fields", ())] + [schema.get("items"), schema.get("values")]
    found = {name: one for part in inner for name, one in named_types(part).items()}
    return {schema["name"]: schema, **found} if "name" in schema else found
