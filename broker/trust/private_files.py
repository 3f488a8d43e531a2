"""Files that only their owner can read: private keys, and keys that values at rest are sealed with."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from broker.errors import RefusedError

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600


class KeyFileError(RefusedError):
    """A key file is missing, is none, or can be read by others."""

    code = "key_file"


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter; one that is there stays as it is."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=_FOLDER_MODE, exist_ok=True)


def read_private(path: Path, *, what: str) -> bytes:
    """Read a file that only its owner may read.

    Args:
        path: the file.
        what: is expected there, in words.

    Raises:
        KeyFileError: it is missing, or others than its owner may read it; says how to mend that.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise KeyFileError(f"{path} can be read by others (mode {mode:04o}); mend it with: chmod 600 {path}")
            return file.read()
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}. {what} is expected there") from error


def write_private(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; the first of two writers wins, since a link fails where a name is taken.

    The content is on disk once this returns, the name once `sync_folder` does.

    Raises:
        FileExistsError: there is one already; a key is never overwritten.
    """
    temporary = path.parent / f".{path.stem}.{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make a folder's names durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
