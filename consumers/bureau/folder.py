"""Deliveries into a folder, a file for each, and receipts out of one: for systems that watch files.

    DIR/000000000042-message-zw-n-2026-000123-0197a3c2-….json    what `consumers.bureau.letter` says
    DIR/receipts/*.json                                          answers (`consumers.bureau.answers`), to be picked up
    DIR/receipts/done/  DIR/receipts/failed/                     where they are moved; beside a failed one, the reason

A file is there whole or not at all: it is written under a hidden name, synced, renamed, and the folder synced, before
the delivery counts as taken. The name has codes only. A delivery that comes again (we were killed before it was
acknowledged) is written again under the same name. Whoever writes receipts should rename them into place as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker.errors import InvalidFieldError, MisuseError, UnavailableError
from broker.transport.inbox import Delivery
from consumers.bureau.answers import ANSWER_BYTES_MAX, Answer, parse_answer
from consumers.bureau.letter import as_json

_TAKEN = Answer()


@dataclass(frozen=True, slots=True)
class PickedUp:
    """A file in `receipts/`: what it says, or why it says nothing."""

    path: Path
    content: Answer | InvalidFieldError


class Folder:
    """A folder that takes deliveries.

    Raises:
        MisuseError: it cannot be made or written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._receipts = path / "receipts"
        try:
            for folder in (path, self._receipts, self._receipts / "done", self._receipts / "failed"):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # the files hold personal data
        except OSError as error:
            raise MisuseError(f"{path} cannot take deliveries ({error.strerror})") from None

    async def take(self, delivery: Delivery) -> Answer:
        """Write a delivery; it is on the disk once this returns.

        Raises:
            UnavailableError: it cannot be written now.
        """
        text = json.dumps(as_json(delivery), ensure_ascii=False, indent=2).encode() + b"\n"
        try:
            await asyncio.to_thread(write_whole, self.path / name_of(delivery), text)
        except OSError as error:
            raise UnavailableError(f"the folder cannot be written to ({error.strerror})") from None
        return _TAKEN

    async def close(self) -> None:
        """Nothing is kept open."""

    def receipts(self) -> Iterator[PickedUp]:
        """Yield what waits in `receipts/`, in the order of the names; what is moved away does not come again."""
        for path in sorted(self._receipts.glob("*.json")):
            with contextlib.suppress(FileNotFoundError):  # taken back meanwhile
                yield PickedUp(path, _read(path))

    def done(self, picked: PickedUp) -> None:
        """Move a receipt that was acknowledged."""
        _move(picked.path, self._receipts / "done")

    def failed(self, picked: PickedUp, reason: str) -> None:
        """Move a receipt that cannot be acknowledged, and write the reason beside it."""
        write_whole(self._receipts / "failed" / f"{picked.path.name}.reason", f"{reason}\n".encode())
        _move(picked.path, self._receipts / "failed")


def name_of(delivery: Delivery) -> str:
    """Return a delivery's file name: in the inbox's order when sorted, the same when it comes again, codes only."""
    return f"{delivery.offset:012d}-{delivery.kind}-{delivery.number}-{delivery.id}.json"


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all, and lasts once this returns.

    Raises:
        OSError: it is not there, or an earlier one of the name still is.
    """
    hidden = path.with_name(f".{path.name}.part")
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _read(path: Path) -> Answer | InvalidFieldError:
    """Read an answer from a file.

    Raises:
        FileNotFoundError: it is gone.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe of that name must not hang us
        with os.fdopen(descriptor, "rb") as file:
            answer = parse_answer(file.read(ANSWER_BYTES_MAX + 1) or b"")
    except FileNotFoundError:
        raise
    except OSError as error:
        return InvalidFieldError("file", f"cannot be read ({error.strerror})", "a readable file")
    except InvalidFieldError as error:
        return error
    if answer.id is None or answer.stage is None:
        missing = "id" if answer.id is None else "stage"
        return InvalidFieldError(missing, "is missing", "a receipt says which delivery, and how far the bureau is")
    return answer


def _move(path: Path, folder: Path) -> None:
    path.replace(folder / path.name)
    _sync(folder)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
