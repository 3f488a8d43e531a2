from __future__ import annotations

from base64 import b64decode, b64encode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consumers.audit import checkpoint
from consumers.audit.checkpoint import BadNoteError, TreeHead
from tests.support.archives import KEY, PUBLIC

HEAD = TreeHead("noticewire/abc", 1234, bytes(range(32)))
NOTE = checkpoint.sign(HEAD, KEY)


def test_a_checkpoint_is_written_as_c2sp_says() -> None:
    """Origin, size, root; an empty line; a dash, the key's name, and key id with signature in base64."""
    lines = NOTE.decode().split("\n")
    assert lines[:4] == ["noticewire/abc", "1234", b64encode(bytes(range(32))).decode(), ""]
    assert lines[4].startswith("— noticewire/abc ")
    assert len(lines) == 6
    assert lines[5] == ""


def test_the_key_id_is_that_of_the_specifications_example() -> None:
    """C2SP signed-note's example key, PeterNeumann+c74f20a3, has the id that stands in its name."""
    public = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    raw = b64decode(public)
    assert raw[0] == 1  # Ed25519
    assert checkpoint.key_id("PeterNeumann", raw[1:]).hex() == "c74f20a3"


def test_a_signed_tree_head_verifies() -> None:
    """What was signed comes back."""
    assert checkpoint.verify(NOTE, origin=HEAD.origin, public=PUBLIC) == HEAD


def test_no_byte_of_a_checkpoint_can_be_changed() -> None:
    """One changed byte, wherever it is, and the checkpoint does not hold."""
    for at in range(len(NOTE)):
        changed = bytearray(NOTE)
        changed[at] ^= 0x01
        with pytest.raises(BadNoteError):
            checkpoint.verify(bytes(changed), origin=HEAD.origin, public=PUBLIC)


def test_another_key_does_not_sign_for_the_log() -> None:
    """A checkpoint under somebody else's key is not the log's."""
    note = checkpoint.sign(HEAD, Ed25519PrivateKey.generate())
    with pytest.raises(BadNoteError, match="not signed with the log's key"):
        checkpoint.verify(note, origin=HEAD.origin, public=PUBLIC)


def test_a_witness_may_add_its_line() -> None:
    """A line of another key beside the log's own changes nothing."""
    note = NOTE + "— witness.example/w1 AAAAAAAAAAAA\n".encode()
    assert checkpoint.verify(note, origin=HEAD.origin, public=PUBLIC) == HEAD


def test_another_installations_checkpoint_is_refused() -> None:
    """The origin line keeps a trial system's tree out of production's."""
    with pytest.raises(BadNoteError, match="another log"):
        checkpoint.verify(NOTE, origin="noticewire/other", public=PUBLIC)


def test_a_torn_note_at_the_end_is_left_over() -> None:
    """Notes are cut whole; what a crash left of the last one is returned apart."""
    assert checkpoint.split(NOTE + NOTE + NOTE[:50]) == ([NOTE, NOTE], NOTE[:50])
    assert checkpoint.split(b"") == ([], b"")
