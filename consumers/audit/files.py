"""Where what lies in an archive, and how a file is put in another's place so that a crash leaves one of the two."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Paths:
    """The files of an archive; `archive` draws the picture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = folder / "lock"
        self.state = folder / "state.json"
        self.segments = folder / "segments"
        self.leaves = folder / "leaves"
        self.checkpoints = folder / "checkpoints.notes"
        self.checkpoint = folder / "checkpoint"

    def segment(self, first_leaf: int) -> Path:
        """Return the segment that begins with a leaf."""
        return self.segments / f"{first_leaf:012d}.avro"

    def bundle(self, first_leaf: int) -> Path:
        """Return the bundle that begins with a leaf."""
        return self.leaves / f"{first_leaf:012d}.leaves"


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in another's place: afterwards it is the old one or the new one, whole, whatever happens."""
    fresh = path.with_name(path.name + ".new")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    sync_folder(path.parent)


def append_bytes(path: Path, data: bytes) -> int:
    """Append to a file and return its length; durable on return."""
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def size_of(path: Path) -> int:
    """Return a file's length; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a new file's, a replaced one's."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
