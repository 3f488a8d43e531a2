"""Open what a crash, or somebody else, has left: look at everything first, and only then cut."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import structlog

from broker.errors import CorruptHistoryError
from consumers.audit import checkpoint
from consumers.audit.files import size_of
from consumers.audit.merkle import CompactRange
from consumers.audit.state import TreeState

if TYPE_CHECKING:
    from pathlib import Path

    from consumers.audit.checkpoint import TreeHead
    from consumers.audit.files import Paths

logger = structlog.get_logger(__name__)


def load_state(paths: Paths, installation: str) -> TreeState:
    """Read the tree state; an empty one where nothing was ever committed.

    Raises:
        CorruptHistoryError: it is missing though something was signed, cannot be read, contradicts itself, or is
            another installation's.
    """
    if not paths.state.exists():
        if size_of(paths.checkpoints):
            raise CorruptHistoryError(str(paths.state), "is missing, though checkpoints were signed")
        return TreeState(installation, root=CompactRange().root())
    try:
        state = TreeState.from_json(paths.state.read_bytes())
        tree = CompactRange(state.size, state.subtrees)
    except ValueError as error:
        raise CorruptHistoryError(str(paths.state), str(error)) from error
    if state.installation != installation:
        raise CorruptHistoryError(str(paths.state), f"belongs to another installation ({state.installation})")
    if tree.root() != state.root:
        raise CorruptHistoryError(str(paths.state), "its root is not that of its subtrees")
    return state


def recover(paths: Paths, state: TreeState) -> bool:
    """Cut off what lies beyond the tree state.

    Returns:
        Whether the state still has to be signed.

    Raises:
        CorruptHistoryError: something that was committed is missing, or differs from what was signed; then nothing
            is changed.
    """
    beyond = [*_beyond_segments(paths, state)]
    newest, torn = _newest_checkpoint(paths, state)
    if torn:
        beyond.append((paths.checkpoints, size_of(paths.checkpoints) - torn))
    for path, length in beyond:
        logger.info("Cut off what was never committed", file=path.name, bytes=size_of(path) - length)
        os.truncate(path, length)
    known = {paths.segment(one.first_leaf) for one in state.segments}
    known |= {paths.bundle(one.first_leaf) for one in state.segments}
    for path in {*paths.segments.glob("*.avro"), *paths.leaves.glob("*.leaves")} - known:
        logger.info("Removed what was never committed", file=path.name)
        path.unlink()
    is_signed = newest is not None and newest.size == state.size and paths.checkpoint.exists()
    return state.size > 0 and not is_signed


def _beyond_segments(paths: Paths, state: TreeState) -> list[tuple[Path, int]]:
    """Return the files that are longer than what was committed, and how long that is."""
    beyond = []
    for known in state.segments:
        for path, length in (
            (paths.segment(known.first_leaf), known.segment_bytes),
            (paths.bundle(known.first_leaf), known.bundle_bytes),
        ):
            found = size_of(path)
            if found < length:
                raise CorruptHistoryError(str(path), f"holds {found} of {length} bytes that were committed")
            if found > length:
                beyond.append((path, length))
    return beyond


def _newest_checkpoint(paths: Paths, state: TreeState) -> tuple[TreeHead | None, int]:
    """Return the newest tree head that was signed, and how many torn bytes follow it."""
    notes = paths.checkpoints.read_bytes() if paths.checkpoints.exists() else b""
    if len(notes) < state.checkpoints_bytes:
        raise CorruptHistoryError(str(paths.checkpoints), "checkpoints that were signed are missing at its end")
    whole, torn = checkpoint.split(notes)
    try:
        newest = checkpoint.parse(whole[-1]) if whole else None
    except checkpoint.BadNoteError as error:
        raise CorruptHistoryError(str(paths.checkpoints), f"its newest note {error}") from error
    if newest and (newest.size > state.size or (newest.size == state.size and newest.root != state.root)):
        raise CorruptHistoryError(
            str(paths.state), f"differs from the newest checkpoint, which signed {newest.size} leaves"
        )
    return newest, len(torn)
