"""Notices as they may go on, from a seed: steps that their issuers may say, and changes of the directory between them.

Every message keeps the rules of the domain, so what a router does with it is decided by section 2 of the design alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from broker.model.change import BureauStatus, ChangeKind, Subscription
from broker.model.message import Classification, Message, Status
from broker.model.naming import Region
from tests.support.builders import DIFFUSION_BUILDERS, NOTICE_BUILDERS, a_missing_child_notice, a_person

MEMBERS = {"zw": "africa", "ng": "africa", "fr": "europe", "de": "europe", "br": "americas"}
ENTITIES = {"europol": "europe", "afripol": "africa"}
CODES = (*MEMBERS, *ENTITIES, "ipsg")
"""Eight bureaus."""

OWNERS = ("zw", "zw", "ng", "fr", "br", "europol", "ipsg")
OPERATIONS = (None, None, "harmattan-2026")

AFTER: Mapping[str, tuple[str, ...]] = {
    "": ("requested", "requested", "requested", "sent", "sent"),
    "requested": ("published", "published", "published", "published", "refused", "withdrawn"),
    "in force": ("revised", "revised", "revised", "suspended", "cancelled", "withdrawn", "expired"),
    "suspended": ("reinstated", "reinstated", "cancelled", "withdrawn", "expired"),
}
"""What may come next, by where a notice stands; the usual more often."""

LEADS_TO = {
    "requested": "requested",
    "published": "in force",
    "sent": "in force",
    "revised": "in force",
    "reinstated": "in force",
    "suspended": "suspended",
}
"""Where an event leads; the others end the notice."""

_VICTIM: dict[str, Any] = {
    "subject": a_person("victim"),
    "contacts": [{"kind": "bureau", "name": "The owner's bureau"}],
}
_LEVELS = ("for_official_use_only",) * 3 + ("restricted", "confidential")


class Story:
    """One notice or diffusion: each step is a message that may follow the one before."""

    def __init__(self, serial: int, chance: Random) -> None:
        self._chance = chance
        self._is_notice = chance.random() < 0.7
        self._owner = chance.choice(OWNERS)
        self._number = f"{self._owner}-{'n' if self._is_notice else 'd'}-2026-{serial:06d}"
        self._stands = ""
        self._revision = 0
        kinds = NOTICE_BUILDERS | {"child": a_missing_child_notice} if self._is_notice else DIFFUSION_BUILDERS
        self._kind = chance.choice(sorted(kinds))
        self._build = kinds[self._kind]
        self._is_victim = self._kind in {"blue", "yellow", "information", "locate"} and chance.random() < 0.4
        self._status = chance.choice(("ACTUAL",) * 5 + ("EXERCISE", "EXERCISE", "TEST"))
        self._offences = chance.choice((["thb.labour"], ["thb.labour.mining"], ["fraud"]))

    @property
    def is_over(self) -> bool:
        """Whether nothing may follow."""
        return self._stands not in AFTER

    def next(self) -> Message:
        """The next message, its circulation and classification as they come."""
        event = self._next_event()
        if event in {"published", "sent", "revised"}:
            self._revision += 1
        message = self._build(
            number=self._number,
            owner=self._owner,
            event=event,
            revision=self._revision,
            issued_at="2026-05-01T12:00:00Z",
            status=self._status,
            operation=self._chance.choice(OPERATIONS),
            offences=self._offences,
            circulation=self._circulation(),
            **self._protection(),
        )
        self._stands = LEADS_TO.get(event, "ended")
        return message

    def _next_event(self) -> str:
        if self._stands:
            return self._chance.choice(AFTER[self._stands])
        if not self._is_notice:
            return "sent"
        return "published" if self._owner == "ipsg" else "requested"

    def _protection(self) -> dict[str, Any]:
        """What a victim as subject asks for (domain section 6), or a classification as it comes."""
        if self._is_victim or self._kind == "locate":
            return {**_VICTIM, "classification": self._chance.choice(_LEVELS[-2:])}
        return {"classification": self._chance.choice(_LEVELS)}

    def _circulation(self) -> dict[str, Any]:
        chance = self._chance
        scope = chance.choice(("all", "all", "regions", "bureaus"))
        named: dict[str, Any] = {}
        if scope == "regions":
            named["regions"] = sorted(chance.sample(("africa", "americas", "europe"), chance.randint(1, 2)))
        if scope == "bureaus":
            named["bureaus"] = sorted(chance.sample(CODES, chance.randint(2, 5)))
        excluded = sorted(chance.sample(CODES, chance.choice((0, 0, 1, 1, 2))))
        if set(named.get("bureaus", ("anybody",))) <= set(excluded):
            excluded = []  # a circulation that reaches nobody is refused at the door
        return {"scope": scope, **named, "exclusions": excluded, "closed": chance.random() < 0.2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A change of the directory by the Secretariat."""

    code: str
    kind: ChangeKind
    parts: dict[str, Any]


def a_turn(chance: Random, suspended: frozenset[str]) -> Turn:
    """A bureau subscribes anew, is suspended or comes back, or is cleared for more or less.

    Args:
        chance: where it comes from.
        suspended: who is, at the moment: they come back soon, for suspension hides every other rule.
    """
    code = chance.choice(sorted(set(CODES) - {"ipsg"}))
    if suspended and chance.random() < 0.5:
        code = chance.choice(sorted(suspended))
        return Turn(code=code, kind=ChangeKind.STATUS_SET, parts={"status": BureauStatus.ACTIVE})
    match chance.choice(("subscribe", "subscribe", "subscribe", "suspend", "clear")):
        case "suspend":
            return Turn(code=code, kind=ChangeKind.STATUS_SET, parts={"status": BureauStatus.SUSPENDED})
        case "clear":
            clearance = chance.choice((Classification.CONFIDENTIAL, Classification.CONFIDENTIAL, *_lower()))
            return Turn(code=code, kind=ChangeKind.CLEARANCE_SET, parts={"clearance": clearance})
        case _:
            wanted = tuple(_subscription(chance) for _ in range(chance.choice((0, 1, 1, 2))))
            return Turn(code=code, kind=ChangeKind.SUBSCRIPTIONS_SET, parts={"subscriptions": wanted})


def _lower() -> tuple[Classification, ...]:
    return (Classification.RESTRICTED, Classification.FOR_OFFICIAL_USE_ONLY)


def _subscription(chance: Random) -> Subscription:
    return Subscription(
        regions=chance.choice(((), (Region.AFRICA,), (Region.EUROPE, Region.AMERICAS), (Region.GLOBAL,))),
        types=chance.choice(((), (), ("red", "blue", "arrest"), ("yellow", "purple", "locate", "missing"))),
        offences=chance.choice(((), (), (), ("thb",), ("fraud",))),
        operations=chance.choice(((), (), (), ("harmattan-2026",))),
        statuses=chance.choice(
            ((Status.ACTUAL,), (Status.ACTUAL,), (), (Status.ACTUAL, Status.EXERCISE), (Status.EXERCISE, Status.TEST))
        ),
    )
