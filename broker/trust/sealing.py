"""Encryption at rest: AES-256-GCM under a key in a file that only its owner can read."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.errors import CorruptHistoryError
from broker.trust.private_files import KeyFileError, make_private, read_private, sync_folder, write_private

_KEY_BYTES = 32
_NONCE_BYTES = 12
"""Chosen at random for each sealing: good for 2^32 of them under one key (NIST SP 800-38D)."""


class Seal:
    """Seals and opens values with one key.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key file: 32 bytes in hexadecimal.

        Raises:
            KeyFileError: it is missing, is none, or others than its owner may read it; says how to mend that.
        """
        text = read_private(path, what="The key that values at rest are sealed with")
        try:
            key = bytes.fromhex(text.decode("ascii").strip())
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise KeyFileError(f"{path} is no key: 32 bytes in hexadecimal are expected there")
        return cls(key)

    @classmethod
    def load_or_make(cls, path: Path) -> Self:
        """Read a key file, or make it, mode 0600, with a fresh key; it is on disk once this returns.

        Raises:
            KeyFileError: as `load`.
        """
        make_private(path.parent)
        if not path.exists():
            with contextlib.suppress(FileExistsError):  # another process was faster: its key counts
                write_private(path, secrets.token_hex(_KEY_BYTES).encode() + b"\n")
            sync_folder(path.parent)
        return cls.load(path)

    def seal(self, plain: bytes, about: bytes) -> bytes:
        """Return a value sealed: nonce, ciphertext and tag.

        Args:
            plain: what nobody may read.
            about: what is stored beside it in the clear; it cannot be exchanged without being noticed.
        """
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, about)

    def open(self, sealed: bytes, about: bytes, *, place: str) -> bytes:
        """Return what was sealed.

        Args:
            sealed: as `seal` returned it.
            about: as it was given then.
            place: where it lies, for the error.

        Raises:
            CorruptHistoryError: it was sealed with another key, or it or what is beside it was changed.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)
        except (InvalidTag, ValueError):
            raise CorruptHistoryError(place, "was sealed with another key, or was changed since") from None
