"""Do all versions of each subject read one another, and does each keep to what lets the next one do so?

The verdict on a pair is Apache Avro's own (`avro.compatibility`), asked both ways for every pair: FULL_TRANSITIVE. Our
walk (`reading`) only says it in words; where it has none, the checker's own are shown. Some rules are ours and
stricter: Avro lets these changes pass, yet what old records say would be lost, or read as something else (each `Rule`
says why).
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import combinations
from typing import Any

from broker.errors import MisuseError
from broker.schema.catalogue import Catalogue, SchemaVersion
from broker.schema.differences import Change, Difference, differences
from broker.schema.reading import Obstacle, obstacles
from broker.schema.rules import Breach, Rule
from broker.schema.shape import Shape, short

_KEPT = "keep {old}, and put {new} into a new field with a default beside it"


def check(catalogue: Catalogue) -> list[Breach]:
    """Return what keeps any version from reading any other of its subject, and what would keep the next one from it.

    Raises:
        MisuseError: Apache's package `avro` is not installed.
    """
    return [breach for subject in catalogue.subjects() for breach in check_subject(catalogue.versions(subject))]


def check_subject(versions: Iterable[SchemaVersion]) -> Iterator[Breach]:
    """Yield what is wrong with the versions of one subject: each by itself, then every pair.

    Raises:
        MisuseError: Apache's package `avro` is not installed.
    """
    shapes: list[tuple[SchemaVersion, Shape]] = []
    for version in versions:
        shape, found = _alone(version.text, label=f"v{version.version}")
        if shape is not None:
            shapes.append((version, shape))
        for one in found:
            yield _breach(one, version)
    for (older, old), (newer, new) in combinations(shapes, 2):
        for one in check_pair(old, new):
            yield _breach(one, older, newer)


def check_pair(old: Shape, new: Shape) -> list[Obstacle]:
    """Return what keeps either version from reading what the other writes, and what would be read as something else.

    Raises:
        MisuseError: Apache's package `avro` is not installed, or cannot parse one of the two.
    """
    found: dict[Obstacle, Obstacle] = {}
    for one in (*_refused(reader=old, writer=new, newer=False), *_refused(reader=new, writer=old, newer=True)):
        alike = replace(one, so="", instead="")
        before = found.get(alike)
        found[alike] = one if before is None else replace(before, so="neither reads what the other writes")
    said = {one.path for one in found}
    return [*found.values(), *(one for one in _stricter(old, new) if one.path not in said)]


def avro_refusal(*, reader: str, writer: str) -> str | None:
    """Return Apache's word on whether one schema reads what another wrote; None if it does.

    Raises:
        MisuseError: Apache's package `avro` is not installed, or cannot parse one of the two.
    """
    checker = _avro("compatibility")
    result = checker.ReaderWriterCompatibilityChecker().get_compatibility(_parsed(reader), _parsed(writer))
    if result.compatibility is checker.SchemaCompatibilityType.compatible:
        return None
    kinds = ", ".join(sorted({kind.name for kind in result.incompatibilities}))
    return f"{kinds} at {', '.join(sorted(result.locations))}: {'; '.join(sorted(result.messages))}"


def _breach(one: Obstacle, *versions: SchemaVersion) -> Breach:
    return Breach(
        subject=versions[0].subject,
        versions=tuple(version.version for version in versions),
        path=one.path,
        rule=one.rule,
        problem=f"{one.problem}, so {one.so}" if one.so else one.problem,
        instead=one.instead,
    )


def _refused(*, reader: Shape, writer: Shape, newer: bool) -> tuple[Obstacle, ...]:
    refusal = avro_refusal(reader=reader.text, writer=writer.text)
    if refusal is None:
        return ()
    return obstacles(reader=reader, writer=writer, reader_is_newer=newer) or (
        Obstacle(
            path="",
            rule=Rule.AVRO,
            problem=f"Apache Avro's checker says: {refusal}",
            so=f"{reader.label} cannot read what {writer.label} writes",
            instead="leave what is at that place as it was, and put what changes into a new field with a default",
        ),
    )


def _alone(text: str, *, label: str) -> tuple[Shape | None, list[Obstacle]]:
    """Return a version parsed, if it can be, and what is wrong with it by itself."""
    _avro("schema")  # not there: that is no fault of the schema's
    try:
        shape = Shape(text, label=label)
        _parsed(text)
    except MisuseError as error:
        return None, [Obstacle(path="", rule=Rule.AVRO, problem=str(error), instead="mend the file")]
    enums = (short(enum["name"]) for enum in shape.named("enum") if "default" not in enum)
    return shape, [
        Obstacle(
            path="",
            rule=Rule.ENUM_NEEDS_DEFAULT,
            problem=f"enum {name} has no default in {label}, so it can never get another symbol",
            instead='add the symbol "unknown", and "default": "unknown", before the version is released',
        )
        for name in enums
    ]


def _stricter(old: Shape, new: Shape) -> Iterator[Obstacle]:
    """Yield what Avro lets pass, and we do not."""
    changed = differences(old, new)
    yield from _renamed(new, changed)
    for one in changed:
        was, now = one.old or "", one.new or ""
        if one.change is Change.SYMBOL_REMOVED:
            yield Obstacle(
                path=one.path,
                rule=Rule.SYMBOL_REMOVED,
                problem=f"symbol {was} is gone in {new.label}, which reads the default where {old.label} wrote it",
                instead=f"keep {was}; a symbol that is not used any more does no harm",
            )
        elif one.change is Change.LOGICAL_TYPE:
            yield Obstacle(
                path=one.path,
                rule=Rule.MEANING_CHANGED,
                problem=f"its type is changed from {was} to {now}: the same bytes would mean something else",
                instead=_KEPT.format(old=was, new=now),
            )
        elif one.change is Change.TYPE and {was, now} == {"string", "bytes"}:
            yield Obstacle(
                path=one.path,
                rule=Rule.TYPE_CHANGED,
                problem=f"its type is changed from {was} to {now}: Avro reads either as the other, but not all bytes"
                " are text",
                instead=_KEPT.format(old=was, new=now),
            )
        elif one.change in {Change.BRANCH_ADDED, Change.BRANCH_REMOVED}:
            verb = "new" if one.change is Change.BRANCH_ADDED else "gone"
            yield Obstacle(
                path=one.path,
                rule=Rule.BRANCH_UNKNOWN,
                problem=f"the union's branch {now or was} is {verb} in {new.label}; Avro reads it as another branch",
                instead="leave the union as it is, and put what changes into a new field with a default beside it",
            )


def _renamed(new: Shape, changed: Iterable[Difference]) -> Iterator[Obstacle]:
    """Yield fields that seem to be renamed without an alias: one is gone, and one just like it stands in its place.

    Where the old name has no default, Avro refuses it anyway. Where it has one, Avro sees a field that went and another
    that came, and a value that is there would be read as absent.
    """
    left: defaultdict[tuple[str, int | None, str | None], list[Difference]] = defaultdict(list)
    for one in changed:
        if one.change is Change.REMOVED:
            left[_place(one, one.old)].append(one)
    for one in changed:
        if one.change is Change.ADDED and (alike := left[_place(one, one.new)]):
            gone = alike.pop(0)
            was, now = gone.path.rpartition(".")[2], one.path.rpartition(".")[2]
            yield Obstacle(
                path=gone.path,
                rule=Rule.FIELD_RENAMED,
                problem=f"{was} seems to be called {now} in {new.label}, without an alias, so each version reads the"
                " default where the other wrote a value",
                instead=f'keep the name {was}; or add "aliases": ["{was}"] to {now}, so that new programs read old'
                f" records (old programs will read {was}'s default). If {now} is something else, move it to the end of"
                " its record",
            )


def _place(one: Difference, described: str | None) -> tuple[str, int | None, str | None]:
    return one.path.rpartition(".")[0], one.place, described


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """Return a schema as Apache's package has it."""
    schema, errors = _avro("schema"), _avro("errors")
    try:
        return schema.parse(text)
    except errors.AvroException as error:
        raise MisuseError(f"it is not a schema to Apache Avro: {error}") from error


def _avro(module: str) -> Any:
    """Return a module of Apache's package `avro`; only this check needs it, no program that carries messages does."""
    try:
        return importlib.import_module(f"avro.{module}")
    except ModuleNotFoundError as error:
        raise MisuseError(
            "the check needs Apache Avro's own checker, the package `avro`: `make setup` installs it with the other"
            " development tools, and so does `pip install avro`"
        ) from error
