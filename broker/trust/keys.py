"""Private keys in files that only their owner can read, and the key ring that signs with them.

A bureau keeps its own key and nobody else's. Only a demo's data folder holds everybody's.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from broker.model.change import PublicKey
from broker.trust.private_files import KeyFileError, make_private, read_private, sync_folder, write_private
from broker.trust.signing import Signer

__all__ = ["KeyFileError", "KeyRing", "generate", "load", "public_key", "store"]


def generate(code: str) -> Signer:
    """Return a signer with a fresh key; nothing is written."""
    return Signer.of(code, Ed25519PrivateKey.generate())


def public_key(signer: Signer, *, valid_from: datetime, valid_until: datetime | None = None) -> PublicKey:
    """Return what the directory holds of a signer's key."""
    return PublicKey(key_id=signer.key_id, public=signer.public, valid_from=valid_from, valid_until=valid_until)


def load(path: Path) -> Signer:
    """Read the private key `<code>.pem` (PKCS #8, no passphrase).

    Raises:
        KeyFileError: it is missing, is no Ed25519 key, or others than its owner may read it; says how to mend that.
    """
    pem = read_private(path, what="The bureau's private key")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is no Ed25519 private key in PEM (PKCS #8, without a passphrase)")
    return Signer.of(path.stem, key)


def store(signer: Signer, folder: Path) -> Path:
    """Write a private key to `<folder>/<code>.pem`, readable by its owner alone; it is on disk once this returns.

    Raises:
        FileExistsError: there is one already; a key is never overwritten.
    """
    make_private(folder)
    path = _write(signer, folder)
    sync_folder(folder)
    return path


class KeyRing:
    """The private keys of a folder; each is read once, when first needed.

    Args:
        folder: usually `<data>/keys`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._signers: dict[str, Signer] = {}

    def __contains__(self, code: object) -> bool:
        """Whether the folder holds a bureau's key."""
        return code in self._signers or (self.folder / f"{code}.pem").exists()

    def signer(self, code: str) -> Signer:
        """Return who signs as a bureau.

        Raises:
            KeyFileError: the folder holds no key of it, or one that others can read.
        """
        if code not in self._signers:
            self._refuse_open_folder()
            self._signers[code] = load(self.folder / f"{code}.pem")
        return self._signers[code]

    def make(self, codes: Iterable[str]) -> None:
        """Make the keys that are not there yet (228 in about a second, which is the disk's); durable once this returns.

        Raises:
            KeyFileError: the folder can be read by others.
        """
        make_private(self.folder)
        self._refuse_open_folder()
        for code in codes:
            if code not in self:
                signer = generate(code)
                try:
                    _write(signer, self.folder)
                except FileExistsError:
                    continue  # another process was faster: its key counts, and is read when needed
                self._signers[code] = signer
        sync_folder(self.folder)

    def _refuse_open_folder(self) -> None:
        try:
            mode = stat.S_IMODE(self.folder.stat().st_mode)
        except OSError as error:
            raise KeyFileError(f"{self.folder}: {error.strerror}. Private keys are expected there") from error
        if mode & 0o077:
            raise KeyFileError(
                f"{self.folder} can be read by others (mode {mode:04o}); mend it with: chmod 700 {self.folder}"
            )


def _write(signer: Signer, folder: Path) -> Path:
    path = folder / f"{signer.bureau}.pem"
    write_private(path, signer.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path
