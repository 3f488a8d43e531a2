"""Copy an archive while its service goes on writing: what one tree state commits, and nothing after it."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

from broker.errors import CorruptHistoryError
from consumers.audit import checkpoint
from consumers.audit.files import Paths, size_of
from consumers.audit.state import TreeState

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINT_PATIENCE_SECONDS = 2.0
"""How long the signature of a tree state may follow it in a service that is running; without it, it is signed anew
when the copy is opened."""

_CHUNK_BYTES = 1 << 20


def copy_archive(source: Path, target: Path) -> None:
    """Copy an archive as of now: segments and leaves up to their committed lengths, the state, its checkpoints.

    Committed bytes never change and the state is replaced whole, so nobody has to stop.

    Raises:
        CorruptHistoryError: the state cannot be read, or something that it commits is not there.
    """
    there, here = Paths(source), Paths(target)
    for folder in (here.segments, here.leaves):
        folder.mkdir(parents=True)
    if not there.state.exists():
        return  # nothing was ever committed
    data = there.state.read_bytes()
    try:
        state = TreeState.from_json(data)
    except ValueError as error:
        raise CorruptHistoryError(str(there.state), str(error)) from error
    for known in state.segments:
        _copy_up_to(there.segment(known.first_leaf), here.segment(known.first_leaf), known.segment_bytes)
        _copy_up_to(there.bundle(known.first_leaf), here.bundle(known.first_leaf), known.bundle_bytes)
    notes = _notes_up_to(there, state.size)
    here.checkpoints.write_bytes(b"".join(notes))
    if notes:
        here.checkpoint.write_bytes(notes[-1])
    here.state.write_bytes(data)


def _copy_up_to(source: Path, target: Path, length: int) -> None:
    if size_of(source) < length:
        raise CorruptHistoryError(str(source), f"holds {size_of(source)} of {length} bytes that were committed")
    with source.open("rb") as reading, target.open("wb") as writing:
        shutil.copyfileobj(reading, writing, _CHUNK_BYTES)
        writing.truncate(length)


def _notes_up_to(paths: Paths, size: int) -> list[bytes]:
    """Return the signed heads of trees of at most so many leaves, oldest first; wait a little for the newest."""
    deadline = time.monotonic() + CHECKPOINT_PATIENCE_SECONDS
    while True:
        whole, _ = checkpoint.split(paths.checkpoints.read_bytes() if paths.checkpoints.exists() else b"")
        try:
            sizes = [checkpoint.parse(note).size for note in whole]
        except checkpoint.BadNoteError as error:
            raise CorruptHistoryError(str(paths.checkpoints), f"a note {error}") from error
        if size == 0 or size in sizes or time.monotonic() > deadline:
            return [note for note, signed in zip(whole, sizes, strict=True) if signed <= size]
        time.sleep(0.05)
