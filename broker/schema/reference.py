"""A reference of every field of every record for people, made from the models' docstrings and the schemas' versions.

`docs/reference.md` is what this makes of the catalogue that the program ships, and a test holds it to that.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin
from uuid import UUID

from broker.model.base import UNKNOWN, Model
from broker.model.naming import Region
from broker.model.subject import Build, DocumentKind, EyeColour, HairColour
from broker.schema.catalogue import Catalogue
from broker.schema.codec import SUBJECTS

Kind: TypeAlias = type[Model] | type[StrEnum]

PLAIN_WORDS: frozenset[type[StrEnum]] = frozenset({Build, DocumentKind, EyeColour, HairColour, Region})
"""Enums whose symbols are everyday words, and mean what they say."""

OF_UNKNOWN = "What an older reader sees in place of a symbol that came later; nobody may write it."

_SOURCE = re.compile(r"\s*\(([^()]*\b(?:RPD|RFC|ISO|domain|design|rules? [0-9])[^()]*)\)")
"""A docstring names its source in brackets."""

_PUBLIC = re.compile(r"RPD articles? [0-9, and-]+|RFC [0-9]+|ISO [0-9-]+|ANSI/NIST-ITL")
"""Sources that a reader of the reference can look up."""

_HEAD = """\
# Reference

Every field of everything that lies on the topics, as the newest version of its schema has it. Made from the code by
`noticewire schema reference`: change a meaning where the field is declared, in `broker/model/`.

*Since* is the version of the schema that brought the field or the symbol. *Source* is the rule behind it, where there
is one: RPD are INTERPOL's Rules on the Processing of Data. `broker/schema/codec.py` says how each type lies on the
wire; [asyncapi.yaml](asyncapi.yaml) says which topic holds what, with which headers.
"""

_WORDS: Mapping[type, str] = {
    bool: "yes or no",
    bytes: "bytes",
    date: "day",
    datetime: "moment",
    int: "whole number",
    str: "text",
    UUID: "UUID",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One field or symbol.

    Attributes:
        name: as on the wire.
        type: of a field, as a reader needs it; empty for a symbol.
        meaning: in words; empty where nobody has said it.
        source: what the meaning rests on, where a reader can look it up.
        since: by subject, the version that brought it.
    """

    name: str
    type: str
    meaning: str
    source: str
    since: Mapping[str, int]


def reference(catalogue: Catalogue) -> str:
    """Return the whole reference, in Markdown."""
    lines = [_HEAD]
    for subject, model in SUBJECTS.items():
        newest = catalogue.newest(subject)
        lines += [f"- [`{subject}`](#{model.__name__.lower()}): version {newest.version}, schema id {newest.id}"]
    lines.append("")
    since = brought(catalogue)
    for kind in kinds():
        lines += _section(kind, since)
    return "\n".join(lines)


def kinds() -> list[Kind]:
    """Return every model and enum on the wire: each subject's, then what it is made of, in the order of the fields."""
    found: list[Kind] = []
    for model in SUBJECTS.values():
        _collect(model, found)
    return found


def entries(kind: Kind, versions: Mapping[tuple[str, str], Mapping[str, int]]) -> Iterator[Entry]:
    """Yield the fields of a model or the symbols of an enum.

    Args:
        kind: which.
        versions: by type and name, the version of each subject that brought it.
    """
    said = _docstrings(kind)
    if issubclass(kind, Model):
        for name, field in kind.model_fields.items():
            meaning, source = _parted(said.get(name, ""))
            yield Entry(name, _type(field.annotation), meaning, source, versions.get((kind.__name__, name), {}))
    else:
        for symbol in kind:
            text = said.get(symbol.name, "")
            if not text and symbol.value == UNKNOWN:
                text = OF_UNKNOWN
            if not text and kind in PLAIN_WORDS:
                text = f"{symbol.value.replace('_', ' ').replace('-', ' ').capitalize()}."
            meaning, source = _parted(text)
            yield Entry(symbol.value, "", meaning, source, versions.get((kind.__name__, symbol.value), {}))


# ----------------------------------------------------------------------------------------------------- from the models


def _collect(annotation: Any, found: list[Kind]) -> None:
    if get_origin(annotation) is not None:
        for part in get_args(annotation):
            _collect(part, found)
    elif isinstance(annotation, type) and issubclass(annotation, Model | StrEnum) and annotation not in found:
        found.append(annotation)
        if issubclass(annotation, Model):
            for field in annotation.model_fields.values():
                _collect(field.annotation, found)


def _docstrings(kind: Kind) -> dict[str, str]:
    """Return the docstring below each field or symbol of a class and of what it derives from."""
    said: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if one.__module__.startswith("broker."):
            said |= _module_docstrings(one.__module__).get(one.__name__, {})
    return said


@cache
def _module_docstrings(name: str) -> dict[str, dict[str, str]]:
    tree = ast.parse(inspect.getsource(sys.modules[name]))
    return {node.name: dict(_said_in(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _said_in(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for statement, below in zip(node.body, node.body[1:], strict=False):
        match statement, below:
            case (
                (ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)])),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text)
            case _:
                pass


def _parted(text: str) -> tuple[str, str]:
    """Part a docstring into what it says and where that comes from."""
    cited = [match.group(1) for match in _SOURCE.finditer(text)]
    source = "; ".join(found.group().strip(" ,") for one in cited for found in _PUBLIC.finditer(one))
    return " ".join(_SOURCE.sub("", text).split()), source


def _type(annotation: Any) -> str:
    """Return a field's type in Markdown; what is on the page is linked."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(args[0])
    if origin in {Union, UnionType}:
        (inner,) = (one for one in args if one is not type(None))
        return f"{_type(inner)}, optional"
    if origin is tuple:
        return f"list of {_type(args[0])}"
    if origin is dict:
        return f"map to {_type(args[1])}"
    if issubclass(annotation, Model | StrEnum):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return _WORDS[annotation]


# ---------------------------------------------------------------------------------------------------- from the schemas


def brought(catalogue: Catalogue) -> dict[tuple[str, str], dict[str, int]]:
    """Return, by record or enum and field or symbol, the first version of each subject that has it."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    for subject in catalogue.subjects():
        for version in catalogue.versions(subject):
            for place in _places(json.loads(version.text)):
                found.setdefault(place, {}).setdefault(subject, version.version)
    return found


def _places(schema: Any) -> Iterator[tuple[str, str]]:
    """Yield every field and symbol of an Avro schema, by the short name of what has it."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _places(branch)
    elif isinstance(schema, dict):
        short = str(schema.get("name", "")).rpartition(".")[2]
        for symbol in schema.get("symbols", ()):
            yield short, symbol
        for field in schema.get("fields", ()):
            yield short, field["name"]
            yield from _places(field["type"])
        for inner in ("items", "values", "type"):
            if isinstance(schema.get(inner), dict | list):
                yield from _places(schema[inner])


# ----------------------------------------------------------------------------------------------------------- the page


def _section(kind: Kind, versions: Mapping[tuple[str, str], Mapping[str, int]]) -> Iterator[str]:
    meaning, source = _parted(inspect.cleandoc(kind.__doc__ or "").partition("\n\n")[0])
    yield f"## {kind.__name__}\n"
    yield meaning + (f" Source: {source}." if source else "") + "\n"
    is_model = issubclass(kind, Model)
    yield "| field | type | meaning | source | since |" if is_model else "| symbol | meaning | source | since |"
    yield "|---|---|---|---|---|" if is_model else "|---|---|---|---|"
    for one in entries(kind, versions):
        since = _since(one.since)
        cells = [f"`{one.name}`", one.type, one.meaning.replace("|", r"\|"), one.source, since]
        yield f"| {' | '.join(cells if is_model else [cells[0], *cells[2:]])} |"
    yield ""


def _since(since: Mapping[str, int]) -> str:
    versions = sorted(set(since.values()))
    if len(versions) <= 1:
        return "".join(map(str, versions))
    return ", ".join(f"{version} ({' '.join(s for s, v in since.items() if v == version)})" for version in versions)
