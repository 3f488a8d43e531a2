from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.audit.merkle import CompactRange

# Leaves and roots of the reference implementation's tests (google/certificate-transparency, merkle_tree_test).
LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 section 2.1 writes it: recursive, splitting at the largest power of two below n."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def test_an_empty_tree_has_the_hash_of_nothing_as_its_root() -> None:
    """The root without leaves is SHA-256 of the empty string (RFC 6962, 2.1)."""
    assert CompactRange().root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_the_reference_implementation(size: int) -> None:
    """The published vectors come out, for every size up to eight."""
    tree = CompactRange()
    for leaf in LEAVES[:size]:
        tree.append(leaf)
    assert tree.root().hex() == ROOTS[size - 1]


@given(st.lists(st.binary(max_size=8), max_size=70), st.integers(0, 70))
def test_a_tree_can_be_put_down_and_taken_up_anywhere(leaves: list[bytes], pause: int) -> None:
    """Going on from the roots of the perfect subtrees gives the root of the RFC's own recursive definition."""
    first = CompactRange()
    for leaf in leaves[:pause]:
        first.append(leaf)
    second = CompactRange(first.size, first.roots)
    for leaf in leaves[pause:]:
        second.append(leaf)
    assert (second.size, second.root()) == (len(leaves), naive_root(leaves))


@pytest.mark.parametrize(("size", "subtrees"), [(3, 1), (0, 1), (4, 2), (-1, 0)])
def test_a_state_that_describes_no_tree_is_refused(size: int, subtrees: int) -> None:
    """A tree of n leaves has as many perfect subtrees as n has bits set; anything else is damage."""
    with pytest.raises(ValueError, match="perfect subtrees"):
        CompactRange(size, [bytes(32)] * subtrees)
