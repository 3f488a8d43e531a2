"""Which schema has which id: fixed for ever, because records on the log carry the ids."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Self

from typing_extensions import override

from broker.errors import MisuseError

SHIPPED = files("schemas") / "avro"
"""The folder of the schemas that the program ships."""

CATALOGUE_FILE = "catalogue.json"
"""What lists a folder's schemas: subject, version, id and file of each."""


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """One version of one subject's schema."""

    subject: str
    version: int
    id: int
    """What the framing carries; unique over all subjects."""
    text: str
    """The schema as it stands in the file: Avro's JSON."""

    @override
    def __str__(self) -> str:
        return f"{self.subject} v{self.version}"


class Catalogue:
    """Every schema that was ever written with, by id and by subject."""

    def __init__(self, versions: Iterable[SchemaVersion]) -> None:
        """Check that ids and versions are what readers of old records rely on.

        Raises:
            MisuseError: an id is used twice, or a subject's versions do not run 1, 2, 3 ...
        """
        self._by_id: dict[int, SchemaVersion] = {}
        self._by_subject: dict[str, list[SchemaVersion]] = {}
        for version in versions:
            if (other := self._by_id.get(version.id)) is not None:
                raise MisuseError(f"schema id {version.id} is used twice: by {other} and by {version}")
            if not 0 < version.id < 2**31:
                raise MisuseError(f"schema id {version.id} of {version} is not a positive 32-bit number")
            self._by_id[version.id] = version
            earlier = self._by_subject.setdefault(version.subject, [])
            if version.version != len(earlier) + 1:
                raise MisuseError(f"version {version.version} of {version.subject} does not follow the one before it")
            earlier.append(version)

    @classmethod
    def load(cls, folder: Traversable | None = None) -> Self:
        """Read the catalogue that the program ships, or another folder of the same layout.

        Raises:
            MisuseError: it contradicts itself, or a file is missing or not JSON.
        """
        folder = SHIPPED if folder is None else folder
        at = CATALOGUE_FILE
        try:
            listed: Mapping[str, Any] = json.loads((folder / at).read_text("utf-8"))
            versions = []
            for entry in listed["schemas"]:
                at = entry["file"]
                text = folder.joinpath(*entry["file"].split("/")).read_text("utf-8")
                json.loads(text)
                versions.append(SchemaVersion(entry["subject"], entry["version"], entry["id"], text))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MisuseError(f"the catalogue of schemas cannot be read: {at}: {error!r}") from error
        return cls(versions)

    def __iter__(self) -> Iterator[SchemaVersion]:
        """Go through every version of every subject."""
        return iter(self._by_id.values())

    def by_id(self, schema_id: int) -> SchemaVersion | None:
        """Return the schema that an id stands for, if any."""
        return self._by_id.get(schema_id)

    def subjects(self) -> tuple[str, ...]:
        """Return every subject, in the catalogue's order."""
        return tuple(self._by_subject)

    def versions(self, subject: str) -> tuple[SchemaVersion, ...]:
        """Return a subject's versions, oldest first; none for a subject that is not there."""
        return tuple(self._by_subject.get(subject, ()))

    def newest(self, subject: str) -> SchemaVersion:
        """Return what is written today.

        Raises:
            MisuseError: there is no such subject.
        """
        versions = self._by_subject.get(subject)
        if versions is None:
            raise MisuseError(f"the catalogue of schemas has no subject {subject}")
        return versions[-1]
