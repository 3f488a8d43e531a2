"""A schema as it can be walked: parsed, and each name leads to what it names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from fastavro import parse_schema
from fastavro.schema import SchemaParseException, UnknownType, fingerprint, to_parsing_canonical_form

from broker.errors import MisuseError

NAMED = frozenset({"record", "enum", "fixed"})
"""The types that have a name of their own."""

Part = Any
"""A schema, or a schema within one, as fastavro parses it: a name, a list of branches or a mapping."""


class Shape:
    """One version of a schema. Its label (`v1`) is what people are told of it."""

    __slots__ = ("_names", "label", "root", "text")

    def __init__(self, text: str, *, label: str) -> None:
        """Parse a schema that needs no other file.

        Raises:
            MisuseError: it is not Avro, or a default is not of its field's type.
        """
        self.text = text
        self.label = label
        self._names: dict[str, Part] = {}
        try:
            self.root: Part = parse_schema(json.loads(text), named_schemas=self._names)
        except (SchemaParseException, UnknownType, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MisuseError(f"{label} is not an Avro schema: {str(error) or repr(error)}") from error

    def follow(self, part: Part) -> Part:
        """Return what a name stands for, and anything else as it is."""
        return self._names.get(part, part) if isinstance(part, str) else part

    def kind(self, part: Part) -> str:
        """Return `record`, `enum`, `union`, `long` and so on."""
        part = self.follow(part)
        if isinstance(part, list):
            return "union"
        return str(part["type"] if isinstance(part, Mapping) else part)

    def describe(self, part: Part) -> str:
        """Return a type as a person says it: `array of record Charge`, `null or long (timestamp-millis)`."""
        part, kind = self.follow(part), self.kind(part)
        if kind == "union":
            return " or ".join(self.describe(branch) for branch in part)
        if kind == "array":
            return f"array of {self.describe(part['items'])}"
        if kind == "map":
            return f"map of {self.describe(part['values'])}"
        if kind in NAMED:
            return f"{kind} {short(part['name'])}"
        logical = logical_type(part)
        return kind if logical is None else f"{kind} ({logical})"

    def named(self, kind: str) -> Iterator[Part]:
        """Yield every record, enum or fixed of the schema, once."""
        yield from (part for part in self._names.values() if part["type"] == kind)

    def field_count(self) -> int:
        """Return how many fields all of the schema's records have together."""
        return sum(len(record["fields"]) for record in self.named("record"))

    def fingerprint(self) -> str:
        """Return Avro's CRC-64 fingerprint of the parsing canonical form, in hex, as other Avro tools print it."""
        return str(fingerprint(to_parsing_canonical_form(json.loads(self.text)), "CRC-64-AVRO"))


def short(name: str) -> str:
    """Return a type's name without its namespace: Avro matches types by that."""
    return name.rpartition(".")[2]


def same_name(part: Part, other: Part) -> bool:
    """Tell whether two named types have one name; namespaces do not count, as in Avro."""
    return short(part["name"]) == short(other["name"])


def logical_type(part: Part) -> str | None:
    """Return what a primitive or fixed means beyond its bytes (`uuid`, `decimal(9, 2)`), if anything."""
    if not isinstance(part, Mapping) or "logicalType" not in part:
        return None
    name = str(part["logicalType"])
    return f"{name}({part.get('precision')}, {part.get('scale', 0)})" if name == "decimal" else name
