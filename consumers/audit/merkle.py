"""The Merkle tree over the archive's leaves, as RFC 6962 section 2.1 and RFC 9162 section 2.1 define it.

The root is kept incrementally: a tree of n leaves is described by the roots of its perfect subtrees, one for each bit
that is set in n, so adding a leaf costs about two hashes and the memory is the logarithm of the tree.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf; the first byte keeps it from ever being taken for a node (RFC 6962, 2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node over its two children."""
    return sha256(b"\x01" + left + right).digest()


class CompactRange:
    """A growing tree, as the roots of its perfect subtrees, largest (leftmost) first."""

    __slots__ = ("_roots", "_size")

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        if size < 0 or len(roots) != size.bit_count():
            msg = (
                f"a tree of {size} leaves has {size.bit_count() if size > 0 else 0} perfect subtrees, not {len(roots)}"
            )
            raise ValueError(msg)
        self._size = size
        self._roots = list(roots)

    @property
    def size(self) -> int:
        """How many leaves it has."""
        return self._size

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The roots of its perfect subtrees, largest first: all that is needed to go on from here."""
        return tuple(self._roots)

    def append(self, entry: bytes) -> None:
        """Add a leaf."""
        self.append_hash(leaf_hash(entry))

    def append_hash(self, top: bytes) -> None:
        """Add a leaf by its hash: it joins with every perfect subtree of its own size, as a carry does in addition."""
        size, roots = self._size, self._roots
        while size & 1:
            top = node_hash(roots.pop(), top)
            size >>= 1
        roots.append(top)
        self._size += 1

    def root(self) -> bytes:
        """Return the root of the tree as it is now."""
        if not self._roots:
            return EMPTY_ROOT
        top = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            top = node_hash(left, top)
        return top
