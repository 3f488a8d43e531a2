"""What an installation starts with: the member countries, the entities, and our own two services."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files

from broker.members.bureau import SECRETARIAT
from broker.model.base import new_message_id
from broker.model.change import BureauFacts, BureauKind, ChangeKind, DirectoryChange, PublicKey, Subscription
from broker.model.message import Classification, Status
from broker.model.naming import Region
from broker.model.outcome import BROKER
from broker.model.versions import FORMAT_VERSION

AUDIT = "audit"
"""Who signs the archive's tree roots."""

EVERYTHING_ACTUAL = (Subscription(statuses=(Status.ACTUAL,)),)
"""What a member starts with: whatever addresses its region or all, if it is the real thing."""

EVERY_REGION_ACTUAL = (Subscription(regions=tuple(Region), statuses=(Status.ACTUAL,)),)
"""What the Secretariat starts with: it names every region, so it gets what is open to subscribers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A bureau to be entered, without its key."""

    code: str
    facts: BureauFacts
    subscriptions: tuple[Subscription, ...] = ()
    agreement: tuple[Subscription, ...] = ()

    @property
    def is_service(self) -> bool:
        """Whether it is one of our own, which sign and have no inbox."""
        return self.facts.kind is BureauKind.SERVICE


@cache
def seeds() -> tuple[Seed, ...]:
    """Return whom an installation starts with: the Secretariat first, then everybody else, then the services."""
    everybody = [*_members(), *_entities()]
    everybody.sort(key=lambda seed: (seed.code != SECRETARIAT, seed.code))
    return (*everybody, *(_service(code, name) for code, name in _SERVICES.items()))


def seeds_of(codes: Collection[str]) -> tuple[Seed, ...]:
    """Return the seeds of some bureaus, for a small world; the Secretariat and the services always belong to it.

    Raises:
        KeyError: a code stands in neither of the files.
    """
    wanted = {*codes, SECRETARIAT, *_SERVICES}
    chosen = tuple(seed for seed in seeds() if seed.code in wanted)
    missing = wanted - {seed.code for seed in chosen}
    if missing:
        raise KeyError(*sorted(missing))
    return chosen


def founding_changes(
    seeds: Iterable[Seed], *, installation: str, keys: Mapping[str, PublicKey], at: datetime
) -> list[DirectoryChange]:
    """Return the changes, all by the Secretariat and not yet signed, that found an installation.

    Args:
        seeds: whom to enter; the Secretariat's founds, whatever its place.
        installation: the new installation's id.
        keys: the first key of each, by code.
        at: when the changes are made.
    """
    ordered = sorted(seeds, key=lambda seed: seed.code != SECRETARIAT)
    return [entering(seed, key=keys[seed.code], at=at, installation=installation) for seed in ordered]


def entering(seed: Seed, *, key: PublicKey, at: datetime, installation: str) -> DirectoryChange:
    """Return the change that enters a bureau; the Secretariat's own founds the installation."""
    founds = seed.code == SECRETARIAT
    return DirectoryChange(
        change_id=new_message_id(),
        kind=ChangeKind.FOUNDED if founds else ChangeKind.ENTERED,
        code=seed.code,
        author=SECRETARIAT,
        base_version=0,
        changed_at=at,
        installation=installation if founds else None,
        bureau=seed.facts,
        keys=(key,),
        agreement=seed.agreement,
        subscriptions=seed.subscriptions,
        reads=None if seed.is_service else FORMAT_VERSION,  # whoever starts today runs today's programs
    )


_SERVICES = {BROKER: "Noticewire broker", AUDIT: "Noticewire archive"}


def _members() -> list[Seed]:
    return [
        Seed(
            code=row["iso2"].lower(),
            facts=BureauFacts(
                name=row["name"],
                kind=BureauKind.MEMBER,
                region=Region(row["region"]),
                city=row["ncb_city"],
                clearance=Classification.CONFIDENTIAL,
            ),
            subscriptions=EVERYTHING_ACTUAL,
        )
        for row in _rows("members.csv")
    ]


def _entities() -> list[Seed]:
    return [
        Seed(
            code=row["code"],
            facts=BureauFacts(
                name=row["name"],
                kind=BureauKind(row["kind"].replace("-", "_")),
                region=Region(row["region"]),
                city=row["host_city"],
                clearance=Classification.CONFIDENTIAL
                if row["code"] == SECRETARIAT
                else Classification.FOR_OFFICIAL_USE_ONLY,
            ),
            subscriptions=EVERY_REGION_ACTUAL if row["code"] == SECRETARIAT else (),
        )
        for row in _rows("entities.csv")
    ]


def _service(code: str, name: str) -> Seed:
    return Seed(
        code=code,
        facts=BureauFacts(
            name=name,
            kind=BureauKind.SERVICE,
            region=Region.GLOBAL,
            city="",
            clearance=Classification.FOR_OFFICIAL_USE_ONLY,
        ),
    )


def _rows(name: str) -> list[dict[str, str]]:
    text = (files("broker.members") / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
