"""Signed tree heads: C2SP tlog-checkpoint inside C2SP signed-note, so that strangers' tools can check them.

    noticewire/<installation>                     the origin: whose log this is, and the name of the key
    <tree size, decimal>
    <root, base64>
    <empty line>
    — noticewire/<installation> <base64 of 4 bytes of key id and 64 of Ed25519 signature>

The signature covers the first three lines with their line feeds. The key id is the start of SHA-256 over the key's
name, a line feed, the byte 1 (Ed25519) and the public key.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

LINES = 5
"""Lines of a note as we write it."""

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_ROOT_BYTES = 32


class NoteSigner(Protocol):
    """Who signs tree heads: anything that signs bytes with Ed25519, as `Ed25519PrivateKey` does."""

    def sign(self, data: bytes, /) -> bytes:
        """Return the 64 bytes of an Ed25519 signature over exactly these bytes."""
        ...

    def public_key(self) -> Ed25519PublicKey:
        """Return the key that the signature is checked with."""
        ...


class BadNoteError(ValueError):
    """A checkpoint is not one, is about another log, or its signature does not hold."""


@dataclass(frozen=True, slots=True)
class TreeHead:
    """How large a log was, and its root then."""

    origin: str
    size: int
    root: bytes

    def body(self) -> bytes:
        """Write the lines that are signed."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n".encode()


def origin_of(installation: str) -> str:
    """Return the origin line of an installation's log."""
    return f"noticewire/{installation}"


def key_id(name: str, public: bytes) -> bytes:
    """Return the 4 bytes by which a signature line names its key (C2SP signed-note, Ed25519)."""
    return sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:_KEY_ID_BYTES]


def sign(head: TreeHead, signer: NoteSigner) -> bytes:
    """Return a tree head as a signed note."""
    body = head.body()
    proof = key_id(head.origin, signer.public_key().public_bytes_raw()) + signer.sign(body)
    return body + f"\n— {head.origin} {b64encode(proof).decode()}\n".encode()


def parse(note: bytes) -> TreeHead:
    """Read the tree head of a note, without checking who signed it.

    Raises:
        BadNoteError: the bytes are no checkpoint.
    """
    try:
        body, _, _ = note.partition(b"\n\n")
        origin, size, root = body.decode().split("\n")
        head = TreeHead(origin, int(size), b64decode(root, validate=True))
    except (ValueError, binascii.Error) as error:
        raise BadNoteError("is no checkpoint") from error
    if len(head.root) != _ROOT_BYTES or head.body() != body + b"\n":
        raise BadNoteError("is no checkpoint in its canonical form")
    return head


def verify(note: bytes, *, origin: str, public: bytes) -> TreeHead:
    """Read a note and check that the log's own key signed it; other keys' lines (witnesses) are passed over.

    Raises:
        BadNoteError: it is none, is of another log, or no line of this key holds.
    """
    head = parse(note)
    if head.origin != origin:
        raise BadNoteError(f"is about another log ({head.origin})")
    expected = key_id(origin, public)
    *lines, rest = note.partition(b"\n\n")[2].decode(errors="replace").split("\n")
    if rest:
        raise BadNoteError("does not end with a line feed")
    for line in lines:
        dash, _, words = line.partition(" ")
        name, _, text = words.partition(" ")
        if dash != "—" or name != origin:
            continue
        try:
            proof = b64decode(text, validate=True)
        except binascii.Error:
            continue
        if proof[:_KEY_ID_BYTES] != expected:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(proof[_KEY_ID_BYTES:], head.body())
        except InvalidSignature:
            raise BadNoteError(f"its signature does not hold (tree size {head.size})") from None
        return head
    raise BadNoteError(f"is not signed with the log's key (tree size {head.size})")


def split(notes: bytes) -> tuple[list[bytes], bytes]:
    """Cut a file of notes, one after the other, into notes; and what is left at its end, torn by a crash."""
    *lines, torn = notes.split(b"\n")
    count = len(lines) // LINES
    left = [line + b"\n" for line in lines[count * LINES :]]
    whole = [b"\n".join(lines[at * LINES : (at + 1) * LINES]) + b"\n" for at in range(count)]
    return whole, b"".join(left) + torn
