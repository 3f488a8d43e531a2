"""Who takes part in a simulation: whose cases they are, and whom they address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Self

from broker.errors import MisuseError
from broker.members.bureau import SECRETARIAT
from broker.members.directory import Directory
from broker.model.naming import Region
from producers.simulator.mix import happens


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The bureaus of a simulation.

    Attributes:
        members: member countries, with the region of each, sorted by code; at least two.
        entities: who else may own a case: the Secretariat, and such of `icc` and `un` as take part.
    """

    members: Mapping[str, Region]
    entities: frozenset[str] = frozenset({SECRETARIAT})

    @classmethod
    def of(cls, directory: Directory, codes: Iterable[str] | None = None) -> Self:
        """Choose from a directory.

        Args:
            directory: at its end.
            codes: who takes part; everybody if left out. The Secretariat always does: it signs the notices.

        Raises:
            MisuseError: a code is nobody's, or fewer than two member countries are left.
        """
        recipients = directory.recipients()
        wanted = {*(recipients if codes is None else codes), SECRETARIAT}
        if unknown := sorted(wanted - set(recipients)):
            raise MisuseError(f"not in the directory: {', '.join(unknown)}")
        members = {one.code: one.region for one in directory.bureaus() if one.is_member and one.code in wanted}
        if len(members) < 2:  # noqa: PLR2004 - one who asks, one who answers
            raise MisuseError("a simulation needs at least two member countries")
        return cls(members=dict(sorted(members.items())), entities=frozenset(wanted & {SECRETARIAT, "icc", "un"}))

    @property
    def codes(self) -> tuple[str, ...]:
        """Everybody who signs or is played, sorted."""
        return tuple(sorted({*self.members, *self.entities}))

    def region_of(self, owner: str) -> Region:
        """Return where a bureau's own cases live."""
        return self.members.get(owner, Region.GLOBAL)

    def member(self, random: Random) -> str:
        """Return a member country."""
        return random.choice(list(self.members))

    def others(self, random: Random, owner: str, count: int) -> list[str]:
        """Return up to so many member countries besides one, its neighbours of the region more often."""
        home = self.region_of(owner)
        others = [code for code in self.members if code != owner]
        near = [code for code in others if self.members[code] is home]
        pool = near if len(near) >= count and happens(random, 0.5) else others  # half and half
        return sorted(random.sample(pool, min(count, len(pool))))

    def regions_besides(self, owner: str) -> list[Region]:
        """Return the regions in which somebody besides a bureau is at home, in a fixed order."""
        there = {region for code, region in self.members.items() if code != owner}
        return [region for region in Region if region in there]
