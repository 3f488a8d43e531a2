"""A process's place among its kind: the lowest one free, held by a lock on a file, inherited by its replacement."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from broker.errors import UnavailableError

_SLOTS_MAX = 64
"""More members than there are shards (12) would have nothing to do."""


class Slot:
    """A place that this process holds until it ends or leaves: no other process has the same name."""

    def __init__(self, instance: str, descriptor: int) -> None:
        self.instance = instance
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Leave the place; the end of the process does the same, whatever ends it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def __enter__(self) -> Self:
        """Hold the place for a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave it."""
        self.release()


def claim_slot(folder: Path, kind: str) -> Slot:
    """Take the lowest free place of a kind, `<folder>/router-0.lock`.

    The kernel drops the lock when the process ends, also by SIGKILL, so a replacement takes the dead one's place, and
    with it, as the same static member of the group, its shards.

    Args:
        folder: on this machine; made if it is not there.
        kind: of service, such as `router`.

    Raises:
        UnavailableError: all places are taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(_SLOTS_MAX):
        instance = f"{kind}-{number}"
        # Not inheritable: a child that outlives us must not keep the place.
        descriptor = os.open(folder / f"{instance}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return Slot(instance, descriptor)
    raise UnavailableError(f"all {_SLOTS_MAX} places for a {kind} are taken in {folder}")
