"""A data folder copied while it is in use, with a manifest; and put back.

    backup/
      manifest.json     what this is, when it was made, what was left out, and of each file: mode, size, SHA-256
      data/             the files

A store in SQLite is copied through SQLite, so that the copy is what one transaction left, write-ahead log included.
Other files are copied as they are. Left out is what is rebuilt, or means nothing elsewhere: the routers' caches, logs,
locks, and where everything listens.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from pydantic import BaseModel, ValidationError

from broker.errors import CorruptHistoryError, MisuseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

MANIFEST = "manifest.json"
DATA = "data"
FORMAT = 1

_SQLITE = b"SQLite format 3\0"
_REBUILT = {"router", "logs"}
_OF_THIS_RUN = {"endpoints.json", "up.lock", "lock"}
_PARTS = ("-wal", "-shm", "-journal", ".new", ".lock")
_CHUNK_BYTES = 1 << 20


class SavedFile(BaseModel, frozen=True, extra="forbid"):
    """A file of a backup."""

    path: str
    """Below the data folder, with `/`."""
    size_bytes: int
    sha256: str
    mode: int
    """Permissions, as the original had them."""


class Manifest(BaseModel, frozen=True, extra="forbid"):
    """What a backup holds."""

    format: int = FORMAT
    made_at: str
    installation: str | None = None
    """Whose data they are, where something running said so."""
    has_kafka: bool
    """Whether Kafka's own data are in it."""
    files: tuple[SavedFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be backed up, and how.

    Args:
        data: the data folder.
        has_kafka: copy `kafka/`, too; only while nothing writes there.
        folders: how to copy folders that are more than their files, by name: from, to.
        installation: whose data they are.
        made_at: now.
    """

    data: Path
    has_kafka: bool
    folders: Mapping[str, Callable[[Path, Path], None]]
    installation: str | None
    made_at: datetime


def back_up(plan: Plan, target: Path) -> Manifest:
    """Copy a data folder to a new folder, which appears whole or not at all.

    Raises:
        MisuseError: there is no data folder, or the target is in use or lies within it.
        CorruptHistoryError: what is to be copied contradicts itself.
    """
    data, target = plan.data.absolute(), target.absolute()
    if not data.is_dir():
        raise MisuseError(f"{data} is no data folder")
    if target.resolve().is_relative_to(data.resolve()):
        raise MisuseError(f"{target} lies within {data}: a backup of a backup would follow")
    _refuse_in_use(target)
    part = _fresh_part(target)
    try:
        whole = part / DATA
        whole.mkdir()
        for name, copy in plan.folders.items():
            if (data / name).is_dir():
                copy(data / name, whole / name)
        for path in _files(data, skip={*plan.folders, *(() if plan.has_kafka else ("kafka",))}):
            _copy(path, whole / path.relative_to(data))
        files = tuple(_saved(path, whole, data) for path in sorted(_all_files(whole)))
        manifest = Manifest(
            made_at=plan.made_at.isoformat(), installation=plan.installation, has_kafka=plan.has_kafka, files=files
        )
        _write(part / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
        _put_in_place(part, target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return manifest


def restore(source: Path, data: Path) -> Manifest:
    """Put a backup back into a folder that holds nothing, which appears whole or not at all.

    Raises:
        MisuseError: the source is no backup, or of a newer program; or the folder holds something.
        CorruptHistoryError: a file of the backup is missing or is not what the manifest says; nothing was written.
    """
    manifest = read_manifest(source)
    data = data.absolute()
    _refuse_in_use(data)
    part = _fresh_part(data)
    try:
        for saved in manifest.files:
            _put_back(saved, source / DATA / saved.path, part / saved.path)
        _put_in_place(part, data)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return manifest


def _put_back(saved: SavedFile, source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if source.is_symlink() or not source.is_file():
        raise CorruptHistoryError(str(source), "is missing from the backup")
    _copy_plain(source, target)
    if (target.stat().st_size, _sha256(target)) != (saved.size_bytes, saved.sha256):
        raise CorruptHistoryError(str(source), "is not the file that the manifest names: its SHA-256 differs")
    target.chmod(saved.mode & 0o777)


def read_manifest(source: Path) -> Manifest:
    """Read what a backup says of itself.

    Raises:
        MisuseError: it is none, is of a newer program, or names files outside of itself.
    """
    try:
        manifest = Manifest.model_validate_json((source / MANIFEST).read_bytes())
    except OSError as error:
        raise MisuseError(f"{source} is no backup: {MANIFEST}: {error.strerror}") from None
    except ValidationError:
        raise MisuseError(f"{source} is no backup that this Noticewire knows: {MANIFEST} is of another form") from None
    if manifest.format > FORMAT:
        raise MisuseError(
            f"{source} was made by a newer Noticewire (format {manifest.format}); restore it with that one"
        )
    for saved in manifest.files:
        path = PurePosixPath(saved.path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise MisuseError(f"{source} names a file outside of itself: nothing was restored")
    return manifest


def _refuse_in_use(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MisuseError(f"{folder} is there and holds something: name a new folder")


def _fresh_part(folder: Path) -> Path:
    """Make the folder that becomes another one once it is whole; keys and personal data will lie in it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a try that was killed
    part.mkdir(mode=0o700)
    return part


def _put_in_place(part: Path, folder: Path) -> None:
    if folder.exists():
        folder.rmdir()
    part.rename(folder)
    _sync(folder.parent)


def _files(data: Path, *, skip: set[str]) -> Iterator[Path]:
    for top in sorted(data.iterdir()):
        if top.name in skip | _REBUILT | _OF_THIS_RUN or top.is_symlink():
            continue
        for path in [top] if top.is_file() else _all_files(top):
            is_kafkas = path.relative_to(data).parts[0] == "kafka"  # every file of its log counts, whatever its name
            if is_kafkas or not (path.name.endswith(_PARTS) or path.name in _OF_THIS_RUN or path.name[0] == "."):
                yield path


def _all_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with source.open("rb") as file:
            is_store = file.read(len(_SQLITE)) == _SQLITE
        if is_store:
            _copy_store(source, target)
        else:
            _copy_plain(source, target)
    except FileNotFoundError:
        target.unlink(missing_ok=True)  # removed meanwhile: it is no longer part of the folder


def _copy_store(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IMODE(source.stat().st_mode)))
    with closing(sqlite3.connect(source, timeout=30)) as there, closing(sqlite3.connect(target)) as here:
        there.backup(here)
        here.execute("PRAGMA journal_mode = DELETE")  # one file, which can be digested; its service sets it back
        if here.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise CorruptHistoryError(str(source), "the store is damaged")
    _sync(target)


def _copy_plain(source: Path, target: Path) -> None:
    mode = stat.S_IMODE(source.stat().st_mode)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o700)
    with source.open("rb") as reading, os.fdopen(handle, "wb") as writing:
        shutil.copyfileobj(reading, writing, _CHUNK_BYTES)
        writing.flush()
        os.fsync(writing.fileno())
    target.chmod(mode)


def _saved(path: Path, whole: Path, data: Path) -> SavedFile:
    name = path.relative_to(whole)
    original = data / name
    mode = stat.S_IMODE((original if original.exists() else path).stat().st_mode)
    return SavedFile(path=name.as_posix(), size_bytes=path.stat().st_size, sha256=_sha256(path), mode=mode)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
