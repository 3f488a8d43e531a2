from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.trust.keys import KeyFileError, KeyRing, generate, load, store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data" / "keys"


def test_a_key_comes_back_from_its_file(folder: Path) -> None:
    """What was stored is loaded as the same signer."""
    signer = generate("zw")

    assert store(signer, folder) == folder / "zw.pem"

    loaded = load(folder / "zw.pem")
    assert (loaded.bureau, loaded.key_id, loaded.public) == ("zw", signer.key_id, signer.public)


def test_only_the_owner_can_read_keys(folder: Path) -> None:
    """Folder 0700, files 0600, and nothing else is left behind."""
    KeyRing(folder).make(["zw", "fr"])

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        "zw.pem": 0o600,
        "fr.pem": 0o600,
    }


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(folder: Path, mode: int) -> None:
    """Any right of group or others on the file refuses it, and the error says how to mend that."""
    store(generate("zw"), folder)
    (folder / "zw.pem").chmod(mode)

    with pytest.raises(KeyFileError, match=r"can be read by others \(mode 06\d\d\).*chmod 600"):
        KeyRing(folder).signer("zw")


def test_a_folder_that_others_can_read_is_refused(folder: Path) -> None:
    """Names of keys are nobody's business either."""
    store(generate("zw"), folder)
    folder.chmod(0o755)

    with pytest.raises(KeyFileError, match="chmod 700"):
        KeyRing(folder).signer("zw")


def test_a_missing_key_is_named(folder: Path) -> None:
    """The error names the file that was looked for."""
    KeyRing(folder).make(["fr"])

    with pytest.raises(KeyFileError, match=r"zw\.pem"):
        KeyRing(folder).signer("zw")


def test_what_is_no_ed25519_key_is_refused(folder: Path) -> None:
    """Another kind of key, or no key at all, is refused by name."""
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (other, b"no key"):
        KeyRing(folder).make([])
        path = folder / "zw.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(KeyFileError, match="no Ed25519 private key"):
            load(path)


def test_a_key_is_never_overwritten(folder: Path) -> None:
    """Making keys again keeps those that are there; storing over one is refused."""
    KeyRing(folder).make(["zw"])
    first = KeyRing(folder).signer("zw").key_id

    KeyRing(folder).make(["zw", "fr"])
    with pytest.raises(FileExistsError):
        store(generate("zw"), folder)

    assert KeyRing(folder).signer("zw").key_id == first
    assert sorted(path.name for path in folder.iterdir()) == ["fr.pem", "zw.pem"]
