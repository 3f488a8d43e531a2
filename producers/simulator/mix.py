"""How much of what: the proportions of the simulated network, each with where it comes from.

Figures of domain section 9 where there is one, ours where there is none. They are shares of the *cases that begin*; how
many messages a case takes follows from its life (`producers.simulator.life`).
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import TypeVar

from broker.model.circulation import Scope
from broker.model.content import Language
from broker.model.diffusion import DiffusionKind
from broker.model.message import Status
from broker.model.naming import Region
from broker.model.notice import NoticeType

T = TypeVar("T")

NOTICE_SHARE = 25_000 / (25_000 + 42_000)
"""About 25,000 notices a year now, over 42,000 diffusions in 2021 (domain section 9)."""

TYPES: Mapping[NoticeType, float] = {
    NoticeType.RED: 0.62,  # 15,548 of some 25,000 (2024)
    NoticeType.BLUE: 0.15,  # about 3,700 (2024)
    NoticeType.YELLOW: 0.09,
    NoticeType.GREEN: 0.06,
    NoticeType.BLACK: 0.025,
    NoticeType.PURPLE: 0.02,
    NoticeType.SPECIAL: 0.02,
    NoticeType.ORANGE: 0.015,
}
"""Shares of the notices; where no comment names a figure, our choice."""

KINDS: Mapping[DiffusionKind, float] = {
    DiffusionKind.ARREST: 0.31,  # 12,940 wanted of 42,000 (2021)
    DiffusionKind.INFORMATION: 0.30,
    DiffusionKind.LOCATE: 0.16,
    DiffusionKind.MISSING: 0.09,
    DiffusionKind.IDENTIFICATION: 0.08,
    DiffusionKind.WARNING: 0.06,
}
"""Shares of the diffusions."""

STATUSES: Mapping[Status, float] = {Status.ACTUAL: 0.96, Status.EXERCISE: 0.03, Status.TEST: 0.01}
"""Training comes before operations, and its messages are exercises (domain section 6)."""

NOTICE_SCOPES: Mapping[Scope, float] = {Scope.ALL: 0.85, Scope.REGIONS: 0.10, Scope.BUREAUS: 0.05}
DIFFUSION_SCOPES: Mapping[Scope, float] = {Scope.BUREAUS: 0.75, Scope.REGIONS: 0.15, Scope.ALL: 0.10}
"""A notice goes to all; a diffusion to whom the sender names (domain sections 2 and 3)."""

VICTIM_SHARE = 0.15
"""Of the blue notices and of the diffusions that locate somebody: victims and witnesses who are sought."""

CHILD_SHARE = 0.4
"""Of the missing."""

EXCLUSION_SHARE = 0.04
"""Of whatever does not name its recipients: somebody is barred."""

REFUSED_SHARE = 0.04
CANCELLED_SHARE = 0.06
"""Refused or cancelled: 2,462 of some 25,000 (2024)."""

WITHDRAWN_REQUEST_SHARE = 0.01
SUSPENDED_SHARE = 0.04
WITHDRAWN_SHARE = 0.12
EXPIRED_SHARE = 0.05
"""How those that were published or sent end; the others stay in force."""

REVISED_SHARES = (0.70, 0.22, 0.08)
"""Never, once, twice."""

LANGUAGES: Mapping[Region, tuple[Language, ...]] = {
    Region.AFRICA: (Language.FR, Language.EN),
    Region.AMERICAS: (Language.ES, Language.EN),
    Region.ASIA_PACIFIC: (Language.EN, Language.FR),
    Region.EUROPE: (Language.EN, Language.FR),
    Region.MIDDLE_EAST_NORTH_AFRICA: (Language.AR, Language.FR),
    Region.GLOBAL: (Language.EN, Language.FR),
}
"""What a region's bureaus write in, of the four working languages, the usual one first."""

BODY_CHARS_MEDIAN = 420
BODY_CHARS_SIGMA = 0.9
BODY_CHARS_MAX = 12_000
"""Sizes of texts are log-normal: most are short, and one in a hundred is eight times as long."""


def chosen(random: Random, shares: Mapping[T, float]) -> T:
    """Return one of several, as often as its share says."""
    return random.choices(list(shares), list(shares.values()))[0]


def happens(random: Random, share: float) -> bool:
    """Return whether something happens that happens so often: 0 never, 1 always."""
    return random.random() < share
