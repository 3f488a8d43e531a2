from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.trust.signing import RecordKind, Signer, verify

# RFC 8032, section 7.1, test 1: a secret key and its public key.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

VALUE = b"\x00\x00\x00\x00\x01body\n"
BY_HAND = b"noticewire/1" + b"\n" + b"message" + b"\n" + b"6d1f" + b"\n" + b"\x00\x00\x00\x00\x01body\n"


@pytest.fixture
def signer() -> Signer:
    return Signer.of("zw", Ed25519PrivateKey.from_private_bytes(SECRET))


def test_known_answer(signer: Signer) -> None:
    """A signature is plain Ed25519 (RFC 8032) over the design's bytes, put together here by hand (section 3)."""
    expected = Ed25519PrivateKey.from_private_bytes(SECRET).sign(BY_HAND)

    assert signer.sign(RecordKind.MESSAGE, "6d1f", VALUE) == expected
    assert signer.public == PUBLIC
    assert verify(PUBLIC, expected, RecordKind.MESSAGE, "6d1f", VALUE)


def test_a_key_is_named_after_its_bureau_and_public_bytes(signer: Signer) -> None:
    """`<code>.<16 hex digits of the public key's SHA-256>`."""
    assert signer.key_id == "zw." + sha256(PUBLIC).hexdigest()[:16]


@pytest.mark.parametrize("kind", [kind for kind in RecordKind if kind is not RecordKind.MESSAGE])
def test_a_signature_counts_for_its_kind_only(signer: Signer, kind: RecordKind) -> None:
    """What was signed as a message verifies as nothing else, and the reverse."""
    as_message = signer.sign(RecordKind.MESSAGE, "6d1f", VALUE)

    assert not verify(PUBLIC, as_message, kind, "6d1f", VALUE)
    assert not verify(PUBLIC, signer.sign(kind, "6d1f", VALUE), RecordKind.MESSAGE, "6d1f", VALUE)


def test_a_signature_counts_in_its_installation_only(signer: Signer) -> None:
    """A trial system's record is nothing in production."""
    signature = signer.sign(RecordKind.MESSAGE, "trial", VALUE)

    assert verify(PUBLIC, signature, RecordKind.MESSAGE, "trial", VALUE)
    assert not verify(PUBLIC, signature, RecordKind.MESSAGE, "production", VALUE)


@pytest.mark.parametrize("at", [0, 4, len(VALUE) - 1])
def test_one_changed_bit_is_noticed(signer: Signer, at: int) -> None:
    """A value with one bit changed does not verify."""
    signature = signer.sign(RecordKind.MESSAGE, "i", VALUE)
    changed = VALUE[:at] + bytes([VALUE[at] ^ 1]) + VALUE[at + 1 :]

    assert not verify(PUBLIC, signature, RecordKind.MESSAGE, "i", changed)


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\xff" * 64, b"\0" * 63, b"\0" * 65])
def test_nonsense_does_not_verify(signature: bytes) -> None:
    """Bytes that are no signature are simply not right, whatever their number."""
    assert not verify(PUBLIC, signature, RecordKind.MESSAGE, "i", VALUE)


@pytest.mark.parametrize("public", [b"", b"\xff" * 32, PUBLIC[:31]])
def test_nonsense_is_no_key(signer: Signer, public: bytes) -> None:
    """Bytes that are no public key verify nothing, and raise nothing."""
    assert not verify(public, signer.sign(RecordKind.MESSAGE, "i", VALUE), RecordKind.MESSAGE, "i", VALUE)


def test_a_private_key_is_not_shown(signer: Signer) -> None:
    """Neither a log nor an error can show a key by printing its signer."""
    assert "rivate" not in repr(signer)
