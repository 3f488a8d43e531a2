"""What differs between two versions of a schema, field by field, whether or not it breaks anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from broker.schema.shape import NAMED, Part, Shape, logical_type, same_name, short


class Change(StrEnum):
    """How a place differs; stable, because programs read it."""

    ADDED = "added"
    REMOVED = "removed"
    RENAMED = "renamed"
    """With an alias that says so."""
    TYPE = "type"
    LOGICAL_TYPE = "logical_type"
    TYPE_NAME = "type_name"
    DEFAULT = "default"
    SYMBOL_ADDED = "symbol_added"
    SYMBOL_REMOVED = "symbol_removed"
    ENUM_DEFAULT = "enum_default"
    BRANCH_ADDED = "branch_added"
    BRANCH_REMOVED = "branch_removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place that differs; a type that stands in several places is reported at the first."""

    path: str
    """From the message down: `subject.person.documents[].number`; empty for the whole."""
    change: Change
    old: str | None = None
    """As it was, described; None for what was not there."""
    new: str | None = None
    place: int | None = None
    """Of a field that was added or removed: how many fields of both versions stand before it in its record."""


def differences(old: Shape, new: Shape) -> tuple[Difference, ...]:
    """Return what differs, in the newer schema's order; words in `doc` do not count."""
    return tuple(_Walk(old, new).at(old.root, new.root, ""))


class _Walk:
    def __init__(self, old: Shape, new: Shape) -> None:
        self._old, self._new = old, new
        self._seen: set[tuple[str, str]] = set()

    def at(self, old: Part, new: Part, path: str) -> Iterator[Difference]:
        old, new = self._old.follow(old), self._new.follow(new)
        kind = self._old.kind(old)
        if kind != self._new.kind(new):
            was, now = self._old.describe(old), self._new.describe(new)
            yield Difference(path=path, change=Change.TYPE, old=was, new=now)
        elif kind == "union":
            yield from self._branches(old, new, path)
        elif kind == "array":
            yield from self.at(old["items"], new["items"], path + "[]")
        elif kind == "map":
            yield from self.at(old["values"], new["values"], path + "{}")
        elif kind in NAMED:
            pair = (old["name"], new["name"])
            if pair not in self._seen:
                self._seen.add(pair)
                yield from self._named(kind, old, new, path)
        elif logical_type(old) != logical_type(new):
            was, now = self._old.describe(old), self._new.describe(new)
            yield Difference(path=path, change=Change.LOGICAL_TYPE, old=was, new=now)

    def _branches(self, old: list[Part], new: list[Part], path: str) -> Iterator[Difference]:
        left = list(old)
        for branch in new:
            twin = next((one for one in left if self._alike(one, branch)), None)
            if twin is None:
                yield Difference(path=path, change=Change.BRANCH_ADDED, new=self._new.describe(branch))
            else:
                left.remove(twin)
                yield from self.at(twin, branch, path)
        for branch in left:
            yield Difference(path=path, change=Change.BRANCH_REMOVED, old=self._old.describe(branch))

    def _alike(self, old: Part, new: Part) -> bool:
        old, new = self._old.follow(old), self._new.follow(new)
        kind = self._old.kind(old)
        return kind == self._new.kind(new) and (kind not in NAMED or same_name(old, new))

    def _named(self, kind: str, old: Part, new: Part, path: str) -> Iterator[Difference]:
        if not same_name(old, new):
            yield Difference(path=path, change=Change.TYPE_NAME, old=short(old["name"]), new=short(new["name"]))
        if kind == "record":
            yield from self._fields(old, new, path)
        elif kind == "enum":
            yield from self._symbols(old, new, path)
        elif old["size"] != new["size"]:
            was, now = f"{old['size']} bytes", f"{new['size']} bytes"
            yield Difference(path=path, change=Change.TYPE, old=was, new=now)
        elif logical_type(old) != logical_type(new):
            yield Difference(path=path, change=Change.LOGICAL_TYPE, old=logical_type(old), new=logical_type(new))

    def _symbols(self, old: Part, new: Part, path: str) -> Iterator[Difference]:
        for symbol in new["symbols"]:
            if symbol not in old["symbols"]:
                yield Difference(path=path, change=Change.SYMBOL_ADDED, new=symbol)
        for symbol in old["symbols"]:
            if symbol not in new["symbols"]:
                yield Difference(path=path, change=Change.SYMBOL_REMOVED, old=symbol)
        was, now = old.get("default"), new.get("default")
        if was != now:
            yield Difference(path=path, change=Change.ENUM_DEFAULT, old=was, new=now)

    def _fields(self, old: Part, new: Part, path: str) -> Iterator[Difference]:
        twins = _twins(old, new)
        kept = {id(field) for field in twins.values()}
        place = 0
        for field in new["fields"]:
            where, twin = _below(path, field["name"]), twins.get(field["name"])
            if twin is None:
                yield Difference(path=where, change=Change.ADDED, new=_whole(self._new, field), place=place)
                continue
            place += 1
            if twin["name"] != field["name"]:
                yield Difference(path=where, change=Change.RENAMED, old=twin["name"], new=field["name"])
            yield from self.at(twin["type"], field["type"], where)
            if _default(twin) != _default(field):
                yield Difference(path=where, change=Change.DEFAULT, old=_default(twin), new=_default(field))
        place = 0
        for field in old["fields"]:
            if id(field) in kept:
                place += 1
            else:
                where = _below(path, field["name"])
                yield Difference(path=where, change=Change.REMOVED, old=_whole(self._old, field), place=place)


def _twins(old: Part, new: Part) -> dict[str, Part]:
    """Return, for each field of a newer record, the older field that it is: by its name, or by an alias."""
    left = {field["name"]: field for field in old["fields"]}
    found = {field["name"]: left.pop(field["name"]) for field in new["fields"] if field["name"] in left}
    for field in new["fields"]:
        for alias in field.get("aliases", ()):
            if field["name"] not in found and alias in left:
                found[field["name"]] = left.pop(alias)
    return found


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _whole(shape: Shape, field: Part) -> str:
    default = _default(field)
    return shape.describe(field["type"]) + ("" if default is None else f", default {default}")


def _default(field: Part) -> str | None:
    """Return a field's default as JSON; None if it has none."""
    return json.dumps(field["default"], ensure_ascii=False) if "default" in field else None
