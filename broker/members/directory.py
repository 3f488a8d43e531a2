"""Bureaus, entities, regions, subscriptions and keys, as of one version of the directory.

`Directory` is what deciders read; `broker.members.fold` makes it from the log of changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Self

from broker.members.bureau import SECRETARIAT, Bureau, is_valid_at, key_id_of
from broker.model.change import BureauStatus, PublicKey, Subscription
from broker.model.message import Classification
from broker.model.naming import Region

__all__ = ["SECRETARIAT", "Bureau", "Directory", "Group", "is_valid_at", "key_id_of"]


@dataclass(frozen=True, slots=True)
class Group:
    """Bureaus that the rules on who gets a message cannot tell apart, unless a message names one of them.

    Nearly all members of a region keep the subscription that they began with, so a message is held against some ten
    groups, not against 226 bureaus. A rule that looks at more of a bureau than this, and its code, adds it here.
    """

    is_member: bool
    region: Region
    subscriptions: tuple[Subscription, ...]
    clearance: Classification
    status: BureauStatus
    reads: int
    codes: frozenset[str]


class Directory:
    """The directory at one version: immutable, and every look-up is one in a dictionary."""

    __slots__ = ("_bureaus", "_groups", "_keys", "_members", "installation", "offset")

    def __init__(self, bureaus: Iterable[Bureau], *, offset: int, installation: str | None) -> None:
        self.offset = offset
        """The directory's topic up to here: every record before this offset is applied."""
        self.installation = installation
        """The installation's id, once it is founded."""
        self._bureaus: Mapping[str, Bureau] = MappingProxyType(
            {bureau.code: bureau for bureau in sorted(bureaus, key=lambda bureau: bureau.code)}
        )
        self._members = frozenset(bureau.code for bureau in self._bureaus.values() if bureau.is_member)
        self._keys = {key.key_id: (bureau.code, key) for bureau in self._bureaus.values() for key in bureau.keys}
        self._groups = _grouped(self._bureaus.values())

    @classmethod
    def empty(cls) -> Self:
        """Return the directory before its first record."""
        return cls((), offset=0, installation=None)

    def get(self, code: str) -> Bureau | None:
        """Return a bureau, an entity or a service by its code."""
        return self._bureaus.get(code)

    def __contains__(self, code: object) -> bool:
        """Whether a code is entered."""
        return code in self._bureaus

    def __len__(self) -> int:
        """How many are entered, services among them."""
        return len(self._bureaus)

    def bureaus(self) -> Iterator[Bureau]:
        """Return everyone entered, services among them, sorted by code."""
        return iter(self._bureaus.values())

    def members(self) -> frozenset[str]:
        """Return the codes of the member countries' bureaus."""
        return self._members

    def recipients(self) -> tuple[str, ...]:
        """Return the codes of whoever has an inbox: everyone but our own services; sorted."""
        return tuple(bureau.code for bureau in self._bureaus.values() if not bureau.is_service)

    def groups(self) -> tuple[Group, ...]:
        """Return everyone but our own services, grouped by all that the rules look at; each bureau is in one group."""
        return self._groups

    def readers_below(self, version: int) -> Mapping[int, frozenset[str]]:
        """Return the codes of those who read only what is older than a version, by the newest version that they read.

        Empty once everybody reads that version: what this costs, it costs only while somebody lags behind.
        """
        found: dict[int, frozenset[str]] = {}
        for group in self._groups:
            if group.reads < version:
                found[group.reads] = found.get(group.reads, frozenset()) | group.codes
        return found

    def key(self, key_id: str) -> tuple[str, PublicKey] | None:
        """Return whose key this is, and the key, whether it counts now or not."""
        return self._keys.get(key_id)

    def key_at(self, key_id: str, at: datetime) -> PublicKey | None:
        """Return a key that counts at a moment (the append time of the record that it signed)."""
        found = self._keys.get(key_id)
        return found[1] if found is not None and is_valid_at(found[1], at) else None


def _grouped(bureaus: Iterable[Bureau]) -> tuple[Group, ...]:
    groups: dict[tuple[bool, Region, tuple[Subscription, ...], Classification, BureauStatus, int], set[str]] = {}
    for bureau in bureaus:
        if not bureau.is_service:
            alike = (
                bureau.is_member,
                bureau.region,
                bureau.subscriptions,
                bureau.clearance,
                bureau.status,
                bureau.reads,
            )
            groups.setdefault(alike, set()).add(bureau.code)
    return tuple(Group(*alike, frozenset(codes)) for alike, codes in groups.items())
