"""What a schema registry is asked for, answered from the catalogue; `registry.py` speaks the protocol around it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from fastavro.schema import to_parsing_canonical_form
from pydantic import BaseModel, Field

from broker.schema.catalogue import Catalogue, SchemaVersion
from broker.schema.ids import SchemaIds
from broker.schema.reading import Obstacle, obstacles
from broker.schema.shape import Shape
from broker.schema.subjects import subject_names

SUBJECT_NOT_FOUND = 40401
VERSION_NOT_FOUND = 40402
SCHEMA_NOT_FOUND = 40403
NO_LEVEL_OF_ITS_OWN = 40408
NO_MODE_OF_ITS_OWN = 40409
INVALID_SCHEMA = 42201
INVALID_VERSION = 42202
NOT_PERMITTED = 42205
"""The protocol's error codes: the first three digits are the status."""

_VERSION_MAX = 2**31 - 1
_SCHEMA_CHARS_MAX = 1_000_000


class RegistryError(Exception):
    """What the protocol answers in place of a result.

    Attributes:
        error_code: of the protocol.
    """

    def __init__(self, error_code: int, message: str) -> None:
        super().__init__(message)
        self.error_code = error_code


class SchemaRequest(BaseModel):
    """A schema that somebody asks about; whatever else the protocol has for it is of no matter here."""

    schema_text: str = Field(alias="schema", max_length=_SCHEMA_CHARS_MAX)
    schema_type: str = Field("AVRO", alias="schemaType")


class Lookup:
    """What the protocol is asked for, answered from a catalogue.

    Args:
        catalogue: the schemas.
        prefix: of the installation's topics.
        ids: what an external registry calls them.
    """

    def __init__(self, catalogue: Catalogue, *, prefix: str = "", ids: SchemaIds | None = None) -> None:
        self._catalogue = catalogue
        self._ids = ids or SchemaIds()
        self._names = subject_names(catalogue.subjects(), prefix=prefix)
        self._canonical = {one.id: canonical(one.text) for one in catalogue}

    def subjects(self, *, starting: str = "") -> list[str]:
        """Return the names of subjects; a topic's stands beside the one that the catalogue has."""
        return [name for name in self._names if name.startswith(starting)]

    def by_id(self, schema_id: str) -> SchemaVersion:
        """Return the schema that an id stands for: on new records, or on old ones.

        Raises:
            RegistryError: there is none.
        """
        number = int(schema_id) if _is_number(schema_id) else 0
        found = self._catalogue.by_id(self._ids.read.get(number, number))
        if found is None:
            raise RegistryError(SCHEMA_NOT_FOUND, f"Schema {schema_id} not found")
        return found

    def id_of(self, version: SchemaVersion) -> int:
        """Return the id that new records have."""
        return self._ids.on_the_wire(version.id)

    def names_of(self, version: SchemaVersion) -> list[str]:
        """Return every name under which a schema is to be found."""
        return [name for name, subject in self._names.items() if subject == version.subject]

    def versions(self, name: str) -> tuple[SchemaVersion, ...]:
        """Return a subject's versions, oldest first.

        Raises:
            RegistryError: there is no such subject.
        """
        subject = self._names.get(name)
        if subject is None:
            raise RegistryError(SUBJECT_NOT_FOUND, f"Subject '{name}' not found.")
        return self._catalogue.versions(subject)

    def version(self, name: str, version: str) -> SchemaVersion:
        """Return one version of a subject: a number, or `latest`.

        Raises:
            RegistryError: no such subject or version, or it is no number.
        """
        versions = self.versions(name)
        if version in {"latest", "-1"}:
            return versions[-1]
        if not _is_number(version) or not 0 < int(version) <= _VERSION_MAX:
            raise RegistryError(
                INVALID_VERSION,
                f"The specified version '{version}' is not a valid version id. "
                'Allowed values are between [1, 2^31-1] and the string "latest"',
            )
        if int(version) > len(versions):
            raise RegistryError(VERSION_NOT_FOUND, f"Version {version} not found.")
        return versions[int(version) - 1]

    def find(self, name: str, asked: SchemaRequest) -> SchemaVersion:
        """Return the version of a subject that a schema is, however it is written.

        The same text is found first, then what has the same parsing canonical form: white space, the order of
        attributes, documentation and defaults make no difference to what lies on a topic.

        Raises:
            RegistryError: no such subject, the schema is none, or it is not among the subject's.
        """
        versions = self.versions(name)
        form = _understood(asked)
        for version in reversed(versions):
            if version.text == asked.schema_text:
                return version
        for version in reversed(versions):
            if self._canonical[version.id] == form:
                return version
        raise RegistryError(SCHEMA_NOT_FOUND, "Schema not found")

    def obstacles(self, asked: SchemaRequest, versions: Iterable[SchemaVersion]) -> list[str]:
        """Return what keeps a schema from reading what versions write, or any of them from reading what it writes.

        Raises:
            RegistryError: the schema is none.
        """
        _understood(asked)
        new = Shape(asked.schema_text, label="the schema")
        found: list[Obstacle] = []
        for version in versions:
            old = Shape(version.text, label=f"version {version.version}")
            found += obstacles(reader=new, writer=old, reader_is_newer=True)
            found += obstacles(reader=old, writer=new, reader_is_newer=False)
        return [f"{one.path or 'the whole'}: {one.problem}" for one in found]


def canonical(text: str) -> str:
    """Return the parsing canonical form of an Avro schema.

    Raises:
        ValueError: it is none.
    """
    try:
        return to_parsing_canonical_form(json.loads(text))
    except Exception as error:  # a stranger's text: fastavro raises whatever it stumbles over
        raise ValueError(f"not an Avro schema ({type(error).__name__})") from error


def _understood(asked: SchemaRequest) -> str:
    if asked.schema_type != "AVRO":
        raise RegistryError(INVALID_SCHEMA, f"Invalid schema of type {asked.schema_type}: only AVRO is served")
    try:
        return canonical(asked.schema_text)
    except ValueError as error:
        raise RegistryError(INVALID_SCHEMA, f"Invalid schema: {error}") from error


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= len(str(_VERSION_MAX))
