"""Why a reader that has one version of a schema cannot read what another version wrote, place by place.

This follows the two schemas as Avro's rules for resolution do (specification, "Schema Resolution"), and says in words
what Apache's own checker says in codes. The verdict is that checker's; a test holds this walk to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from broker.schema.rules import Rule
from broker.schema.shape import NAMED, Part, Shape, same_name, short

PROMOTIONS: Mapping[str, frozenset[str]] = {
    "long": frozenset({"int"}),
    "float": frozenset({"int", "long"}),
    "double": frozenset({"int", "long", "float"}),
    "string": frozenset({"bytes"}),
    "bytes": frozenset({"string"}),
}
"""What else each type reads (Avro's specification)."""

_Seen = set[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One place at which reading fails."""

    path: str
    """From the message down: `subject.person.documents[].number`; empty for the whole."""
    rule: Rule
    problem: str
    instead: str
    """What to do so that nothing breaks."""
    so: str = ""
    """Who cannot read what, where anybody cannot: `v1 cannot read what v2 writes`."""


def obstacles(*, reader: Shape, writer: Shape, reader_is_newer: bool) -> tuple[Obstacle, ...]:
    """Return everything that keeps one version from reading another's records; nothing if it reads all of them.

    A type that stands in several places is reported at the first.
    """
    return tuple(_Walk(reader, writer, reader_is_newer=reader_is_newer).at(reader.root, writer.root, "", set()))


class _Walk:
    """Compares part by part. `seen` holds the pairs of named types that were, or are being, compared."""

    def __init__(self, reader: Shape, writer: Shape, *, reader_is_newer: bool) -> None:
        self._reader, self._writer, self._newer = reader, writer, reader_is_newer
        self._so = f"{reader.label} cannot read what {writer.label} writes"

    def at(self, reader: Part, writer: Part, path: str, seen: _Seen) -> Iterator[Obstacle]:
        reader, writer = self._reader.follow(reader), self._writer.follow(writer)
        kind, written = self._reader.kind(reader), self._writer.kind(writer)
        if written == "union":
            for branch in writer:
                yield from self._branch(reader, branch, path, seen)
        elif kind == "union":
            yield from self._branch(reader, writer, path, seen)
        elif kind in NAMED and kind == written:
            pair = (reader["name"], writer["name"])
            if pair not in seen:
                seen.add(pair)
                yield from self._named(kind, reader, writer, path, seen)
        elif kind in {"array", "map"} and kind == written:
            inner, mark = ("items", "[]") if kind == "array" else ("values", "{}")
            yield from self.at(reader[inner], writer[inner], path + mark, seen)
        elif kind != written and written not in PROMOTIONS.get(kind, ()):
            yield self._type_changed(reader, writer, path)

    def _branch(self, reader: Part, branch: Part, path: str, seen: _Seen) -> Iterator[Obstacle]:
        """One branch that a writer may choose; some branch of the reader's must take it."""
        if self._reader.kind(reader) != "union":
            yield from self.at(reader, branch, path, seen)
            return
        if any(next(self.at(one, branch, path, set(seen)), None) is None for one in reader):
            return
        for one in reader:
            if self._alike(one, branch):
                yield from self.at(one, branch, path, seen)
                return
        name, reads = self._writer.describe(branch), self._reader.describe(reader)
        yield Obstacle(
            path=path,
            rule=Rule.BRANCH_UNKNOWN,
            problem=f"the union's branch {name} of {self._writer.label} is not in {self._reader.label},"
            f" which has {reads}",
            so=self._so,
            instead=f"keep the branch {name}; it may be left unused"
            if self._newer
            else f"leave the union as it is, and put {name} into a new field beside it, with null as its default;"
            " an enum with a default can say which of the two counts",
        )

    def _alike(self, reader: Part, writer: Part) -> bool:
        reader, writer = self._reader.follow(reader), self._writer.follow(writer)
        kind = self._reader.kind(reader)
        return kind == self._writer.kind(writer) and (kind not in NAMED or same_name(reader, writer))

    def _named(self, kind: str, reader: Part, writer: Part, path: str, seen: _Seen) -> Iterator[Obstacle]:
        if not same_name(reader, writer) and writer["name"] not in reader.get("aliases", ()):
            yield self._name_changed(kind, reader, writer, path)
        if kind == "record":
            yield from self._fields(reader, writer, path, seen)
        elif kind == "fixed" and reader["size"] != writer["size"]:
            sides = ((self._reader.label, reader), (self._writer.label, writer))
            sizes = [f"{part['size']} bytes in {label}" for label, part in (reversed(sides) if self._newer else sides)]
            yield Obstacle(
                path=path,
                rule=Rule.TYPE_CHANGED,
                problem=f"fixed {short(reader['name'])} has {' and '.join(sizes)}",
                so=self._so,
                instead="keep the size, and add a new field with a default for the other",
            )
        elif kind == "enum":
            unknown = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            if unknown and reader.get("default") not in reader["symbols"]:
                yield self._symbols_unknown(reader, unknown, path)

    def _fields(self, reader: Part, writer: Part, path: str, seen: _Seen) -> Iterator[Obstacle]:
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            where = f"{path}.{field['name']}" if path else field["name"]
            names = [name for name in (field["name"], *field.get("aliases", ())) if name in written]
            if names:
                yield from self.at(field["type"], written[names[0]]["type"], where, seen)
            elif "default" not in field:
                yield self._no_default(reader, writer, field, where)

    def _no_default(self, reader: Part, writer: Part, field: Part, path: str) -> Obstacle:
        me, other, name = self._reader.label, self._writer.label, field["name"]
        renamed = self._renamed(reader, writer, field)
        if renamed is not None:
            old, new = (renamed, name) if self._newer else (name, renamed)
            return Obstacle(
                path=path,
                rule=Rule.FIELD_RENAMED,
                problem=f"{name} is called {renamed} in {other} and has no default in {me}",
                so=self._so,
                instead=f"keep the name {old}: on the wire it is for ever, and its doc can say the better one. If {new}"
                f" is something else, keep {old} and add {new} with a default beside it. (An alias on {new} lets new"
                f" programs read old records; old programs still wait for {old})",
            )
        if self._newer:
            return Obstacle(
                path=path,
                rule=Rule.FIELD_NEEDS_DEFAULT,
                problem=f"{name} is new in {me} and has no default",
                so=self._so,
                instead=f"give {name} a default; where no other fits, make it a union that begins with null, with null"
                " as the default, and let the model ask for it where it is required",
            )
        kind = self._reader.describe(field["type"])
        return Obstacle(
            path=path,
            rule=Rule.FIELD_NEEDS_DEFAULT,
            problem=f"{name} is gone in {other} and has no default in {me}",
            so=self._so,
            instead=f"keep {name} ({kind}): programs with {me} wait for it for ever. If it means nothing any more, say"
            " so in its doc and write an empty value",
        )

    def _renamed(self, reader: Part, writer: Part, field: Part) -> str | None:
        """Return what a field seems to be called in the other version: by alias, or as the one new name of its type."""
        known = {name for one in reader["fields"] for name in (one["name"], *one.get("aliases", ()))}
        mine = self._reader.describe(field["type"])
        others = [other for other in writer["fields"] if other["name"] not in known]
        for other in others:
            if field["name"] in other.get("aliases", ()):
                return str(other["name"])
        same = [other["name"] for other in others if self._writer.describe(other["type"]) == mine]
        theirs = {one["name"] for one in writer["fields"]}
        rivals = [one for one in reader["fields"] if one["name"] not in theirs and "default" not in one]
        rivals = [one for one in rivals if self._reader.describe(one["type"]) == mine]
        return str(same[0]) if len(same) == len(rivals) == 1 else None

    def _type_changed(self, reader: Part, writer: Part, path: str) -> Obstacle:
        reads, writes = self._reader.describe(reader), self._writer.describe(writer)
        old, new = (writes, reads) if self._newer else (reads, writes)
        narrowed = self._reader.kind(reader) in PROMOTIONS.get(self._writer.kind(writer), ())
        change = ("narrowed" if self._newer else "widened") if narrowed else "changed"
        return Obstacle(
            path=path,
            rule=Rule.TYPE_CHANGED,
            problem=f"its type is {change} from {old} to {new}",
            so=self._so,
            instead=f"keep {old}; a narrower range is the model's to check"
            if narrowed and self._newer
            else f"keep {old}, and put {new} into a new field with a default beside it",
        )

    def _name_changed(self, kind: str, reader: Part, writer: Part, path: str) -> Obstacle:
        mine, theirs = short(reader["name"]), short(writer["name"])
        old, new = (theirs, mine) if self._newer else (mine, theirs)
        return Obstacle(
            path=path,
            rule=Rule.TYPE_RENAMED,
            problem=f"the {kind} {old} is renamed to {new}",
            so=self._so,
            instead=f"keep the name {old}: only a new program could know an alias. Its doc can say the better name",
        )

    def _symbols_unknown(self, reader: Part, unknown: list[str], path: str) -> Obstacle:
        symbols, enum = ", ".join(unknown), short(reader["name"])
        if self._newer:
            return Obstacle(
                path=path,
                rule=Rule.SYMBOL_REMOVED,
                problem=f"enum {enum} no longer has {symbols} and has no default",
                so=self._so,
                instead=f"keep {symbols}; a symbol that is not used any more does no harm",
            )
        return Obstacle(
            path=path,
            rule=Rule.SYMBOL_NEEDS_DEFAULT,
            problem=f"enum {enum} has the new symbol {symbols}, and no default in {self._reader.label} to read it as",
            so=self._so,
            instead=f"leave {enum} as it is and add a new field with an enum of its own, which has a default symbol"
            ' from its first version on ("default": "unknown"); a default that is added now does not reach the programs'
            f" that have {self._reader.label}",
        )
