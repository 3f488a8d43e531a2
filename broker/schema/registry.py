"""An external schema registry: register the catalogue there, and learn which ids it gave.

A registry never changes what an id stands for, so what was learned lies in the data folder for good: it is asked only
for schemas whose ids are not there yet, at the start of a program, and may be away for the rest of the time.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from broker.errors import MisuseError, UnavailableError
from broker.schema.catalogue import Catalogue, SchemaVersion
from broker.schema.codec import Codec
from broker.schema.ids import SchemaIds
from broker.schema.subjects import subject_names
from broker.settings import SchemaRegistrySettings

if TYPE_CHECKING:
    from broker.schema.registry_client import RegistryClient

IDS = "schema-ids.json"
"""In a data folder: the external ids. It belongs to the history: without it, the log cannot be read if the registry is
lost, so backups hold it."""

_Given = tuple[str, SchemaVersion, int]
"""A subject's name in the registry, a version of ours, and the id that it has there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """What became of registering a catalogue."""

    subjects: tuple[str, ...]
    """The names under which it is there now."""
    ids: SchemaIds
    unsettled: tuple[str, ...]
    """Whose compatibility level the registry did not let us set."""


def load_codec(settings: SchemaRegistrySettings, data: Path, *, prefix: str = "") -> Codec:
    """Return the codec for an installation: with the catalogue's own ids, or with an external registry's.

    Args:
        settings: which registry, if any.
        data: the folder that keeps the ids.
        prefix: of the installation's topics.

    Raises:
        MisuseError: the catalogue is not registered there, or the registry's ids contradict the catalogue's.
        UnavailableError: the registry does not answer, and an id that is needed is not on the disk.
    """
    catalogue = Catalogue.load()
    return Codec(catalogue, load_ids(settings, data, catalogue=catalogue, prefix=prefix))


def load_ids(settings: SchemaRegistrySettings, data: Path, *, catalogue: Catalogue, prefix: str = "") -> SchemaIds:
    """Return what an external registry calls the catalogue's schemas.

    Where none is set, the catalogue's own ids are written; those of one that was set before can still be read.

    Raises:
        MisuseError: as `load_codec`.
        UnavailableError: as `load_codec`.
    """
    url, kept = _read(data / IDS)
    if settings.url is None:
        return SchemaIds(read=kept.read)
    if url == settings.url and all(one.id in kept.written for one in catalogue):
        return kept
    with _asking(settings) as registry:
        given = list(_found(registry, catalogue, prefix=prefix))
    return _keep(settings, data, given, catalogue=catalogue)


def register(settings: SchemaRegistrySettings, data: Path, *, catalogue: Catalogue, prefix: str = "") -> Registered:
    """Register every version of every subject, in order, and keep the ids; what is there already stays as it is.

    Raises:
        MisuseError: no registry is set, or it refuses a schema; or its ids contradict the catalogue's.
        UnavailableError: the registry does not answer. Again is safe.
    """
    names = subject_names(catalogue.subjects(), prefix=prefix)
    given: list[_Given] = []
    unsettled = []
    with _asking(settings) as registry:
        for name, subject in names.items():
            # First, so that the registry, too, holds each version against the ones before it.
            if not registry.has_set_level(name):
                unsettled.append(name)
            given += [(name, one, registry.register(name, one.text)) for one in catalogue.versions(subject)]
    ids = _keep(settings, data, given, catalogue=catalogue)
    return Registered(subjects=tuple(names), ids=ids, unsettled=tuple(unsettled))


def _asking(settings: SchemaRegistrySettings) -> AbstractContextManager[RegistryClient]:
    # By name: a program that asks no registry does not wait for httpx (measured: 0.2 to 0.3 s of CPU).
    module = importlib.import_module("broker.schema.registry_client")
    return cast("AbstractContextManager[RegistryClient]", module.asking(settings))


def _found(registry: RegistryClient, catalogue: Catalogue, *, prefix: str) -> Iterator[_Given]:
    """Ask for the id of each version under each name: some registries number by schema, others by subject."""
    for name, subject in subject_names(catalogue.subjects(), prefix=prefix).items():
        for version in catalogue.versions(subject):
            found = registry.find(name, version.text)
            if found is not None:
                yield name, version, found
            elif name == subject:
                raise MisuseError(
                    f"version {version.version} of {subject} is not in the schema registry: "
                    "`noticewire schema register` puts it there"
                )


def _keep(settings: SchemaRegistrySettings, data: Path, given: list[_Given], *, catalogue: Catalogue) -> SchemaIds:
    """Write down what was learned beside what was known: records with a former registry's ids stay readable.

    Raises:
        MisuseError: an id already stands for another schema, so that old records would be read as what they are not.
        UnavailableError: the folder cannot be written.
    """
    _, kept = _read(data / IDS)
    for _, version, external in given:
        own = version.id
        ours = catalogue.by_id(external)
        stood_for = kept.read.get(external, own if ours is None else ours.id)
        if stood_for != own:
            raise MisuseError(
                f"the schema registry's id {external} is that of schema {own} of the catalogue, and already stands for "
                f"schema {stood_for} here: use a registry (or a context of it) whose ids do not meet those in use"
            )
    ids = SchemaIds(
        written={version.id: external for name, version, external in given if name == version.subject},
        read={**kept.read, **{external: version.id for _, version, external in given}},
    )
    path = data / IDS
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # services that start at once learn the same at once
    text = json.dumps({"url": settings.url, "written": ids.written, "read": ids.read}, indent=1)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
    return ids


def _read(path: Path) -> tuple[str | None, SchemaIds]:
    """Return what is known, and of which registry."""
    try:
        found = json.loads(path.read_text("utf-8"))
        written, read = ({int(key): int(value) for key, value in found[part].items()} for part in ("written", "read"))
        return str(found["url"]), SchemaIds(written=written, read=read)
    except FileNotFoundError:
        return None, SchemaIds()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MisuseError(f"{path} is not what was written there ({type(error).__name__})") from error
