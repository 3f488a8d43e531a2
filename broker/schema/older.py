"""What a message would lose in an older version of its schema: nothing, or it is not written in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from broker.model.base import Model
from broker.schema.catalogue import SchemaVersion


@dataclass(frozen=True, slots=True)
class OlderVersion:
    """The fields and the symbols that a version has, by the name of the record or the enum."""

    fields: dict[str, frozenset[str]] = field(default_factory=dict)
    symbols: dict[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, version: SchemaVersion) -> OlderVersion:
        """Read a version's schema."""
        found = cls()
        found._take(json.loads(version.text))
        return found

    def _take(self, schema: Any) -> None:
        match schema:
            case list():
                for branch in schema:
                    self._take(branch)
            case {"type": "record", "name": str(name), "fields": list(fields)}:
                self.fields[name] = frozenset(one["name"] for one in fields)
                for one in fields:
                    self._take(one["type"])
            case {"type": "enum", "name": str(name), "symbols": list(symbols)}:
                self.symbols[name] = frozenset(symbols)
            case {"type": "array", "items": inner} | {"type": "map", "values": inner}:
                self._take(inner)
            case _:  # a primitive, or the name of what was described before
                pass

    def losses(self, value: Model, path: str = "") -> Iterator[str]:
        """Yield the path of everything stated in a value that this version has no place or no word for.

        A field that came later and holds its default states nothing, so it is no loss.
        """
        known = self.fields[type(value).__name__]
        for name, info in type(value).model_fields.items():
            given = getattr(value, name)
            if given is None:
                continue
            where = f"{path}.{name}" if path else name
            if name not in known:
                if given != info.get_default(call_default_factory=True):
                    yield where
                continue
            several = isinstance(given, tuple)
            for at, one in enumerate(given) if several else ((0, given),):
                place = f"{where}[{at}]" if several else where
                if isinstance(one, Model):
                    yield from self.losses(one, place)
                elif isinstance(one, StrEnum) and one.value not in self.symbols.get(type(one).__name__, {one.value}):
                    yield place
