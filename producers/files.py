"""Messages in files: JSON, JSON Lines and YAML, read one entry at a time, each with the place where it stands.

A file is a stranger's until it is checked. So: every size is bounded; an entry that cannot be read is yielded as a
refusal, and the entries after it go on.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from broker.errors import InvalidFieldError, RefusedError
from producers.entries import as_message
from producers.json_text import json_values, line_values
from producers.yaml_text import yaml_values

SUFFIXES = {".json": "json", ".jsonl": "lines", ".ndjson": "lines", ".yaml": "yaml", ".yml": "yaml"}
"""Which format a file's name promises."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a file, as it was read.

    Attributes:
        place: where it stands: `red.jsonl:12` (the line) or `red.yaml[entry 3]`.
        folder: where the file lies; what an entry names by a relative path is looked for here.
        content: the entry; or why it cannot be read.
    """

    place: str
    folder: Path
    content: dict[str, Any] | RefusedError


def expand(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the files meant: a folder stands for the message files in it and below, in the order of their names."""
    for path in paths:
        if path.is_dir():
            yield from (file for file in sorted(path.rglob("*")) if file.suffix in SUFFIXES and file.is_file())
        else:
            yield path


def read(path: Path) -> Iterator[Entry]:
    """Read the entries of one file lazily, in the file's order.

    Never raises for what a file holds: what cannot be read is an entry whose content is the refusal.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for somebody to write to it
            problem = InvalidFieldError("file", "is no regular file", "a readable file")
            yield Entry(str(path), path.parent, problem)
            return
        match SUFFIXES.get(path.suffix.lower()):
            case "json":
                found = _numbered(path, json_values(path))
            case "lines":
                found = _by_line(path, line_values(path))
            case "yaml":
                found = _numbered(path, yaml_values(path))
            case _:
                problem = InvalidFieldError("file", "is of no known format", f"the name ends in {', '.join(SUFFIXES)}")
                yield Entry(str(path), path.parent, problem)
                return
        yield from found
    except OSError as error:
        refusal = InvalidFieldError("file", f"cannot be read ({error.strerror})", "a readable file")
        yield Entry(str(path), path.parent, refusal)


def _by_line(path: Path, values: Iterable[tuple[int, Any]]) -> Iterator[Entry]:
    for line, value in values:
        yield Entry(f"{path}:{line}", path.parent, as_message(value))


def _numbered(path: Path, values: Iterable[Any]) -> Iterator[Entry]:
    for number, value in enumerate(values, start=1):
        yield Entry(f"{path}[entry {number}]", path.parent, as_message(value))


def attached_file(folder: Path, name: str, field: str) -> Path:
    """Return the local file that an attachment names by `path`.

    Raises:
        InvalidFieldError: it is no file, or lies outside of the folder of the messages: a file from a stranger must
            not make us read, and publish the digest of, whatever lies on this machine.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        _refuse(field, "lies outside of the message file's folder")
    if not path.is_file():
        _refuse(field, "is not there")
    return path


def _refuse(field: str, problem: str) -> NoReturn:
    raise InvalidFieldError(field, problem, "a path relative to the message file, of a file beside or below it")


def local_paths(content: Mapping[str, Any]) -> list[tuple[int, str, dict[str, Any]]]:
    """Return the attachments that name a local file: the place in the list, the path, the attachment without it."""
    found = []
    attachments = content.get("attachments")
    for at, attachment in enumerate(attachments if isinstance(attachments, list) else []):
        if isinstance(attachment, dict) and isinstance(attachment.get("path"), str):
            rest = {name: value for name, value in attachment.items() if name != "path"}
            found.append((at, attachment["path"], rest))
    return found
