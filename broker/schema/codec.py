"""From a model to framed Avro bytes and back: `0x00`, the schema's id (4 bytes, big-endian), the Avro body.

Model and schema correspond field by field, under the same names, in the same order:

| model                          | Avro                                        | absent          |
|--------------------------------|---------------------------------------------|-----------------|
| a model class                  | record `noticewire.<class>`                 | a required part |
| `X` or None                    | union of null and X                         | null            |
| `tuple[X, ...]`                | array                                       | []              |
| `dict[str, str]`               | map                                         | {}              |
| an enum                        | enum with the values as symbols             | `unknown`, for a later symbol |
| `Region`, str                  | string (a symbol cannot hold the `-` of `asia-pacific`) | |
| int                            | long                                        | |
| bool, bytes                    | boolean, bytes                              | |
| UUID                           | string, logical type uuid                   | |
| datetime, date                 | long timestamp-millis, int date             | |

A default of the model is the schema's default too. A test holds every schema against its model by this table.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from datetime import date, datetime
from enum import StrEnum
from io import BytesIO
from types import UnionType
from typing import Annotated, Any, NamedTuple, TypeVar, Union, cast, get_args, get_origin
from uuid import UUID

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from pydantic import ValidationError

from broker.errors import InvalidFieldError, MisuseError, RejectedRecordError
from broker.model.base import Model
from broker.model.change import DirectoryChange
from broker.model.command import Command
from broker.model.diffusion import Diffusion
from broker.model.ledger import LedgerEntry
from broker.model.naming import Region
from broker.model.notice import Notice
from broker.model.outcome import NoticeOfEnd, Outcome
from broker.model.parsing import shape_problems
from broker.model.receipt import Receipts
from broker.model.rejection import Rejection, RejectReason
from broker.schema.catalogue import Catalogue, SchemaVersion
from broker.schema.ids import SchemaIds
from broker.schema.older import OlderVersion

SUBJECTS: dict[str, type[Model]] = {
    "notice": Notice,
    "diffusion": Diffusion,
    "receipts": Receipts,
    "ledger-entry": LedgerEntry,
    "rejection": Rejection,
    "outcome": Outcome,
    "notice-of-end": NoticeOfEnd,
    "directory-change": DirectoryChange,
    "command": Command,
}
"""Which model is written by which subject's schema."""

VALUE_BYTES_MAX = 990_000
"""The largest message: with 10 kB of headers it fits into the record that a feed takes unless the settings say less."""

READ_BYTES_MAX = 2 * 1024 * 1024
"""The largest value that is decoded at all: far above what the topics let in, and small enough to bound the memory
that hostile bytes can claim (every item of an array takes at least one byte of the record)."""

_FRAME = struct.Struct(">BI")
_MAGIC = 0

_PROBLEMS_SHOWN = 5

_BRANCHES: dict[type, str] = {
    bool: "boolean",
    bytes: "bytes",
    date: "int",
    datetime: "long",
    int: "long",
    Region: "string",
    str: "string",
    UUID: "string",
}
"""What fastavro calls the types that may stand in a union."""

T = TypeVar("T", bound=Model)


class _Writer(NamedTuple):
    """How one model is written by one version of its schema."""

    frame: bytes
    schema: Any
    plain: Callable[[Any], Any]
    older: OlderVersion | None = None
    """What this version lacks; None for the newest."""


class Codec:
    """Encodes with each subject's newest schema or an older one, decodes what any version wrote.

    Holds no state between calls.
    """

    def __init__(self, catalogue: Catalogue, ids: SchemaIds | None = None) -> None:
        """Parse every schema of a catalogue once.

        Args:
            catalogue: every schema that there is.
            ids: what an external registry calls them; the catalogue's own ids are read in any case.
        """
        ids = ids or SchemaIds()
        self._writers: dict[type[Model], _Writer] = {}
        self._older: dict[tuple[type[Model], int], _Writer] = {}
        self._readers: dict[int, tuple[type[Model], Any, Any]] = {}
        self._versions: dict[int, int] = {}
        self._ids = ids
        self._newest: dict[type[Model], int] = {}
        for subject, model in SUBJECTS.items():
            newest = catalogue.newest(subject)
            reader_schema, plain = _parsed(newest), _plain(model)
            for version in catalogue.versions(subject):
                same = version.id == newest.id
                schema = reader_schema if same else _parsed(version)
                writer = _Writer(_FRAME.pack(_MAGIC, ids.on_the_wire(version.id)), schema, plain)
                if same:
                    self._writers[model], self._newest[model] = writer, version.id
                else:
                    self._older[model, version.version] = writer._replace(older=OlderVersion.of(version))
                self._readers[version.id] = (model, schema, reader_schema)
                self._versions[version.id] = version.version
        self._own = frozenset(self._versions)
        clashing = sorted(
            external for external, own in ids.read.items() if self._versions.get(external) and external != own
        )
        if clashing:
            raise MisuseError(f"the registry's id {clashing[0]} stands for another schema in the catalogue")
        for external, own in ids.read.items():
            self._readers[external], self._versions[external] = self._readers[own], self._versions[own]

    @classmethod
    def load(cls, ids: SchemaIds | None = None) -> Codec:
        """Return a codec for the schemas that the program ships."""
        return cls(Catalogue.load(), ids)

    def encode(self, value: Model, *, version: int | None = None, bytes_max: int | None = VALUE_BYTES_MAX) -> bytes:
        """Return the framed bytes of a value.

        Args:
            value: one of `SUBJECTS`.
            version: of its subject's schema; the newest one where left out.
            bytes_max: the largest message; None where one that lies on a feed is written again: a feed takes a little
                more, which strangers' programs may use.

        Raises:
            InvalidFieldError: a message is larger than a feed takes, or something in it than Avro's types are; or it
                states what the older version has no place for.
            TypeError: the model has no subject.
        """
        writer = self._writers.get(type(value)) if version is None else self._writer_of(type(value), version)
        if writer is None:
            msg = f"{type(value).__name__} has no schema"
            raise TypeError(msg)
        if writer.older is not None:
            lost = next(writer.older.losses(value), None)
            if lost is not None:
                problem = f"cannot be said in version {version}"
                raise InvalidFieldError(lost, problem, "an older version holds only what it has words for")
        out = BytesIO()
        out.write(writer.frame)
        try:
            schemaless_writer(out, writer.schema, writer.plain(value))
        except (OverflowError, UnicodeEncodeError) as error:  # a number of over 64 bits; half a surrogate pair
            problem = f"holds what Avro cannot carry ({type(error).__name__})"
            raise InvalidFieldError("message", problem, "64-bit numbers and Unicode text") from None
        data = out.getvalue()
        if bytes_max is not None and len(data) > bytes_max and isinstance(value, Notice | Diffusion):
            raise InvalidFieldError("message", f"takes {len(data)} bytes", f"at most {bytes_max} bytes")
        return data

    def encode_as_beside(self, value: Model, record: bytes) -> bytes:
        """Return the framed bytes of a value as whoever wrote another record wrote them: under the same ids.

        The bytes are the same but for the id: the catalogue's, or that of the schema registry of that time. After the
        third registry that is a guess.
        """
        own, beside = self._newest[type(value)], _FRAME.unpack_from(record)[1]
        if beside in self._own:
            schema_id = own
        elif beside in self._ids.written.values():
            schema_id = self._ids.on_the_wire(own)
        else:
            former = {external for external, ours in self._ids.read.items() if ours == own}
            schema_id = min(former - {self._ids.written.get(own)}, default=own)
        return _FRAME.pack(_MAGIC, schema_id) + self.encode(value)[_FRAME.size :]

    def _writer_of(self, model: type[Model], version: int) -> _Writer | None:
        newest = self._writers.get(model)
        if newest is not None and self.version_of(newest.frame) == version:
            return newest
        writer = self._older.get((model, version))
        if writer is None and newest is not None:
            raise InvalidFieldError("version", f"{model.__name__} has no version {version}", "one of the catalogue's")
        return writer

    def version_of(self, data: bytes) -> int:
        """Return by which version of its subject's schema framed bytes were written; 0 for what nothing can read."""
        schema_id = _FRAME.unpack_from(data)[1] if len(data) >= _FRAME.size else 0
        return self._versions.get(schema_id, 0)

    def decode(self, data: bytes, *expected: type[T]) -> T:
        """Return the value that framed bytes hold; it must be of one of the expected models, if any are named.

        Only the shape is checked. Safe on hostile bytes: time and memory are bounded by their number.

        Raises:
            RejectedRecordError: `undecodable`, saying what is wrong without any value of the record.
        """
        if len(data) > READ_BYTES_MAX:
            raise _undecodable(f"{len(data)} bytes are more than the {READ_BYTES_MAX} that any value takes")
        if len(data) < _FRAME.size:
            raise _undecodable(f"{len(data)} bytes are too few for the magic byte and a schema id")
        magic, schema_id = _FRAME.unpack_from(data)
        if magic != _MAGIC:
            raise _undecodable(f"the magic byte is 0x{data[0]:02x}; it must be 0x00 (Confluent framing)")
        known = self._readers.get(schema_id)
        if known is None:
            raise _undecodable(f"unknown schema id {schema_id}; the ids are in the catalogue of schemas")
        model, writer_schema, reader_schema = known
        if expected and model not in expected:
            names = " or ".join(one.__name__ for one in expected)
            raise _undecodable(f"schema id {schema_id} is of {model.__name__}, where {names} belongs")
        body = BytesIO(data)
        body.seek(_FRAME.size)
        try:
            plain = schemaless_reader(body, writer_schema, None if writer_schema is reader_schema else reader_schema)
        except EOFError:
            raise _undecodable(f"the Avro body of schema id {schema_id} ends too early") from None
        except Exception as error:  # noqa: BLE001 - hostile bytes raise whatever they like in fastavro; none may escape
            raise _undecodable(f"not an Avro body of schema id {schema_id} ({type(error).__name__})") from None
        trailing = len(data) - body.tell()
        if trailing:
            raise _undecodable(f"{trailing} bytes follow the Avro body of schema id {schema_id}")
        try:
            return cast("T", model.model_validate(plain))
        except ValidationError as error:
            problems = shape_problems(error)
            first = "; ".join(str(problem) for problem in problems[:_PROBLEMS_SHOWN])
            more = f"; and {len(problems) - _PROBLEMS_SHOWN} more" if len(problems) > _PROBLEMS_SHOWN else ""
            raise _undecodable(first + more) from None


def _undecodable(detail: str) -> RejectedRecordError:
    return RejectedRecordError(RejectReason.UNDECODABLE.value, detail)


def _parsed(version: SchemaVersion) -> Any:
    return parse_schema(json.loads(version.text), named_schemas={})


def _plain(model: type[Model]) -> Callable[[Any], dict[str, Any]]:
    """Compile the function that turns a model into what fastavro writes.

    A union's value goes as (branch, value): fastavro otherwise validates the whole value against each branch at each
    level to find the right one, which took ten times as long.
    """
    steps = []
    for name, field in model.model_fields.items():
        step = _step(field.annotation)
        if step is not None:
            steps.append((name, step))

    def plain(value: Model) -> dict[str, Any]:
        fields = dict(value.__dict__)
        for name, step in steps:
            given = fields[name]
            if given is not None:
                fields[name] = step(given)
        return fields

    return plain


def _step(annotation: Any) -> Callable[[Any], Any] | None:
    """Return what turns a field's value, where there is one, into what fastavro writes; None if it is that already."""
    if get_origin(annotation) is Annotated:
        return _step(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        (inner,) = (one for one in get_args(annotation) if one is not type(None))
        branch, step = _branch(inner), _step(inner)
        if step is None:
            return lambda value: (branch, value)
        return lambda value: (branch, step(value))
    if get_origin(annotation) is tuple:
        item = _step(get_args(annotation)[0])
        if item is None:
            return None
        return lambda values: [item(value) for value in values]
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return _plain(annotation)
    return None


def _branch(annotation: Any) -> str:
    """Return the name by which fastavro finds a type in a union."""
    if get_origin(annotation) is Annotated:
        return _branch(get_args(annotation)[0])
    if issubclass(annotation, Model) or (issubclass(annotation, StrEnum) and annotation is not Region):
        return f"noticewire.{annotation.__name__}"
    return _BRANCHES[annotation]
