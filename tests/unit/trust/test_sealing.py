from __future__ import annotations

import stat
from pathlib import Path

import pytest

from broker.errors import CorruptHistoryError
from broker.trust.private_files import KeyFileError
from broker.trust.sealing import Seal


def test_what_is_sealed_opens_only_with_its_key_and_surroundings(tmp_path: Path) -> None:
    """The key, the bytes and what stands beside them must all be those of the sealing."""
    seal = Seal.load_or_make(tmp_path / "a.key")
    other = Seal.load_or_make(tmp_path / "b.key")
    sealed = seal.seal(b"a name", b"entry 1")

    assert b"a name" not in sealed
    assert seal.open(sealed, b"entry 1", place="here") == b"a name"
    assert seal.seal(b"a name", b"entry 1") != sealed
    for opens, data, about in (
        (other, sealed, b"entry 1"),
        (seal, sealed, b"entry 2"),
        (seal, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"entry 1"),
        (seal, b"", b"entry 1"),
    ):
        with pytest.raises(CorruptHistoryError, match="here"):
            opens.open(data, about, place="here")


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """The file has mode 0600, and a second call reads the same key."""
    path = tmp_path / "keys" / "journal.key"
    sealed = Seal.load_or_make(path).seal(b"a name", b"")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Seal.load_or_make(path).open(sealed, b"", place="here") == b"a name"


@pytest.mark.parametrize("content", [b"", b"zz", b"00" * 31, b"\xff" * 64])
def test_what_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    """A file that holds something else is named."""
    path = tmp_path / "journal.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="is no key"):
        Seal.load(path)


def test_a_missing_key_is_not_made_by_reading(tmp_path: Path) -> None:
    """`load` says what is expected there."""
    with pytest.raises(KeyFileError, match="is expected there"):
        Seal.load(tmp_path / "journal.key")
