"""Ed25519 signatures (RFC 8032) over a record's value, bound to its kind and to the installation.

What is signed: `noticewire/1`, the kind of record and the installation's id, each with a line feed after it, then the
value's bytes. So a receipt can never pass for a message, nor a trial system's record for one of production.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.members.bureau import key_id_of


class RecordKind(StrEnum):
    """What sort of record is signed; part of what is signed, so never rename one."""

    MESSAGE = "message"
    """A notice or a diffusion, by its issuer."""
    RECEIPTS = "receipts"
    """Acknowledgements, by the bureau that gives them."""
    DIRECTORY = "directory"
    """A change of the directory, by its author."""
    BROKER = "broker"
    """What the broker makes itself: outcomes, notices of end, commands."""


def signed_bytes(kind: RecordKind, installation: str, value: bytes) -> bytes:
    """Return what a signature is made over."""
    return f"noticewire/1\n{kind}\n{installation}\n".encode() + value


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs as one bureau."""

    bureau: str
    key_id: str
    """`<code>.<16 hex digits of the public key's SHA-256>`; travels in the header `key-id`."""
    private_key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def of(cls, bureau: str, private_key: Ed25519PrivateKey) -> Signer:
        """Return the signer of a bureau's private key."""
        return cls(bureau, key_id_of(bureau, private_key.public_key().public_bytes_raw()), private_key)

    @property
    def public(self) -> bytes:
        """The 32 public bytes, as in the directory."""
        return self.private_key.public_key().public_bytes_raw()

    def sign(self, kind: RecordKind, installation: str, value: bytes) -> bytes:
        """Return the 64 bytes of a signature, at a third of what it costs to verify one (`bench/routing.py`)."""
        return self.private_key.sign(signed_bytes(kind, installation, value))


def verify(public: bytes, signature: bytes, kind: RecordKind, installation: str, value: bytes) -> bool:
    """Whether a signature is right; takes some 0.1 ms (`bench/routing.py`).

    The interpreter's lock is free meanwhile: on a loop, use a thread.

    Never raises: 32 bytes that are no key and a signature of another length are simply not right.
    """
    try:
        _public_key(public).verify(signature, signed_bytes(kind, installation, value))
    except (InvalidSignature, ValueError):
        return False
    return True


@lru_cache(maxsize=4096)
def _public_key(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)
