"""Deciding by groups of bureaus, held against the same rules asked of each bureau alone."""

from __future__ import annotations

from itertools import product

import pytest

from broker.members.directory import Directory
from broker.model.change import BureauStatus, Subscription
from broker.model.message import Classification, Message, Status
from broker.trust.entitlement import withheld_reason
from consumers.router.decide import decide
from consumers.router.life import NoticeState, Phase
from tests.support.builders import ALL, a_person, a_purple_notice, a_red_notice, bureaus
from tests.support.directories import ACTUAL, a_directory, a_member

_CODES = (f"{first}{second}" for first in "abcdefgh" for second in "abcdefgh")

# Two bureaus of each sort, and all sorts at home in one region: whatever a group forgot would mix two sorts.
DIRECTORY: Directory = a_directory(
    *(
        a_member(next(_CODES), "europe", *subscriptions, clearance=clearance, status=status)
        for clearance, status, subscriptions, _ in product(
            (Classification.FOR_OFFICIAL_USE_ONLY, Classification.RESTRICTED, Classification.CONFIDENTIAL),
            (BureauStatus.ACTIVE, BureauStatus.SUSPENDED),
            ((ACTUAL,), (Subscription(),), (ACTUAL, Subscription(statuses=(Status.EXERCISE,)))),
            range(2),
        )
    )
)
EVERYBODY = tuple(bureau.code for bureau in DIRECTORY.bureaus())
PAST = NoticeState(Phase.IN_FORCE, 1, frozenset(EVERYBODY))
VICTIM = {"subject": a_person("victim"), "classification": "restricted"}

MESSAGES = {
    "to all": a_red_notice(circulation=ALL),
    "restricted": a_red_notice(circulation=ALL, classification="restricted"),
    "confidential": a_red_notice(circulation=ALL, classification="confidential"),
    "exercise": a_purple_notice(circulation=ALL, status="EXERCISE"),
    "exercise, by name": a_purple_notice(circulation=bureaus(*EVERYBODY), status="EXERCISE"),
    "half excluded": a_red_notice(circulation=ALL, exclusions=set(EVERYBODY[::2])),
    "victim, all by name": a_red_notice(circulation=bureaus(*EVERYBODY), **VICTIM),
    "victim, to all": a_red_notice(circulation=ALL, **VICTIM),
    "victim, half of the holders by name": a_red_notice(
        event="suspended", circulation=bureaus(*EVERYBODY[::2]), **VICTIM
    ),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_groups_decide_as_each_bureau_alone(name: str) -> None:
    """Entitlement takes away from each bureau of a group what its rules take away from that bureau."""
    message: Message = MESSAGES[name]

    audience = decide(message, DIRECTORY, PAST)

    by_group = {code: reason for reason, codes in audience.withheld.items() for code in codes}
    reached = (audience.delivered | by_group.keys()) - {message.owner, message.issuer}
    alone = {bureau.code: withheld_reason(message, bureau) for bureau in DIRECTORY.bureaus() if bureau.code in reached}
    assert reached
    assert by_group == {code: reason for code, reason in alone.items() if reason is not None}


def test_each_bureau_is_in_one_group() -> None:
    """Groups overlap nowhere, and hold everybody who has an inbox."""
    grouped = [code for group in DIRECTORY.groups() for code in group.codes]

    assert sorted(grouped) == sorted(DIRECTORY.recipients())
    assert 1 < len(DIRECTORY.groups()) < len(grouped)
