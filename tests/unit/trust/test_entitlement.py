"""What entitlement takes away, each row written by hand from design section 2 and the articles that it cites."""

from __future__ import annotations

import pytest

from broker.members.bureau import Bureau
from broker.model.change import BureauStatus, Subscription
from broker.model.ledger import WithheldReason
from broker.model.message import Classification, Message, Status
from broker.model.naming import Region
from broker.trust.entitlement import RULES, withheld_reason
from tests.support.builders import (
    ALL,
    a_blue_notice,
    a_locate_diffusion,
    a_missing_child_notice,
    a_person,
    a_red_notice,
    a_silver_diffusion,
    a_silver_notice,
    bureaus,
    regions,
)
from tests.support.directories import ACTUAL, a_member, subscription

EXCLUDED, CLEARANCE, VICTIM, SUSPENDED, NOT_ASKED_FOR, UNREADABLE = (
    WithheldReason.EXCLUDED,
    WithheldReason.CLEARANCE,
    WithheldReason.VICTIM,
    WithheldReason.SUSPENDED,
    WithheldReason.NOT_ASKED_FOR,
    WithheldReason.UNREADABLE,
)
FR = a_member("fr", "europe")
LOW = a_member("fr", "europe", clearance=Classification.FOR_OFFICIAL_USE_ONLY)
MIDDLE = a_member("fr", "europe", clearance=Classification.RESTRICTED)
OUT = a_member("fr", "europe", status=BureauStatus.SUSPENDED)
DRILLS = a_member("fr", "europe", ACTUAL, Subscription(statuses=(Status.EXERCISE,)))
YELLOW_DRILLS = a_member("fr", "europe", ACTUAL, Subscription(types=("yellow",), statuses=(Status.EXERCISE,)))
EVERYTHING = a_member("fr", "europe", Subscription())
AFRICA = a_member("fr", "europe", subscription(regions=(Region.AFRICA,)))

OLD = a_member("fr", "europe", reads=1)

VICTIM_TO_ALL = a_blue_notice(circulation=ALL, subject=a_person("victim"), classification="restricted")
WITNESS_TO_EUROPE = a_blue_notice(
    circulation=regions("europe"), subject=a_person("witness"), classification="restricted"
)

ROWS: list[tuple[str, Message, Bureau, WithheldReason | None]] = [
    ("nothing stands in the way", a_red_notice(circulation=ALL), FR, None),
    # "exclusions" (RPD article 58): they outrank being named, too.
    ("excluded", a_red_notice(circulation=ALL, exclusions={"fr"}), FR, EXCLUDED),
    ("excluded by name", a_red_notice(circulation=bureaus("fr", "de"), exclusions={"fr"}), FR, EXCLUDED),
    ("another is excluded", a_red_notice(circulation=ALL, exclusions={"de"}), FR, None),
    # "classification above the bureau's clearance" (RPD article 112)
    ("above clearance", a_red_notice(classification="restricted"), LOW, CLEARANCE),
    ("far above clearance", a_red_notice(classification="confidential"), LOW, CLEARANCE),
    ("just above clearance", a_red_notice(classification="confidential"), MIDDLE, CLEARANCE),
    ("at clearance", a_red_notice(classification="restricted"), MIDDLE, None),
    ("below clearance", a_red_notice(), MIDDLE, None),
    # "a victim or witness as subject unless the bureau is addressed by its own code" (domain section 6, rule 4)
    ("victim, to all", VICTIM_TO_ALL, FR, VICTIM),
    ("witness, to a region", WITNESS_TO_EUROPE, FR, VICTIM),
    ("victim, by its own code", a_locate_diffusion(circulation=bureaus("fr")), FR, None),
    ("victim, by another's code", a_locate_diffusion(circulation=bureaus("de")), FR, VICTIM),
    # "minority alone withholds nothing"
    ("missing child", a_missing_child_notice(circulation=ALL), FR, None),
    # "suspended bureaus"
    ("suspended", a_red_notice(), OUT, SUSPENDED),
    ("suspended, by name", a_red_notice(circulation=bureaus("fr")), OUT, SUSPENDED),
    # "EXERCISE and TEST unless asked for" (rule 6): asked for by a subscription that matches and names the status.
    ("drill, not asked for", a_red_notice(status="EXERCISE"), FR, NOT_ASKED_FOR),
    ("drill, by name", a_red_notice(status="EXERCISE", circulation=bureaus("fr")), FR, NOT_ASKED_FOR),
    ("drill, asked for", a_red_notice(status="EXERCISE"), DRILLS, None),
    ("trial, drills asked for", a_red_notice(status="TEST"), DRILLS, NOT_ASKED_FOR),
    ("drill, another kind asked for", a_red_notice(status="EXERCISE"), YELLOW_DRILLS, NOT_ASKED_FOR),
    ("drill of the kind asked for", a_missing_child_notice(status="EXERCISE"), YELLOW_DRILLS, None),
    ("drill, everything asked for", a_red_notice(status="EXERCISE"), EVERYTHING, NOT_ASKED_FOR),
    ("the real thing, unmatched", a_red_notice(owner="fr"), AFRICA, None),
    # "the router writes an older version for those that need it ... else withholds" (design section 3)
    ("silver, read by version 1", a_silver_notice(), OLD, UNREADABLE),
    ("silver diffusion, read by version 1", a_silver_diffusion(), OLD, UNREADABLE),
    ("silver, read by version 2", a_silver_notice(), FR, None),
    ("assets in another colour", a_blue_notice(asked=["assets"]), OLD, UNREADABLE),
    ("what version 1 can say", a_red_notice(), OLD, None),
    ("silver and excluded", a_silver_notice(circulation=ALL, exclusions={"fr"}), OLD, EXCLUDED),
    # The first rule in the design's order is the one that is named.
    ("excluded and suspended", a_red_notice(exclusions={"fr"}), OUT, EXCLUDED),
    ("suspended and a victim", VICTIM_TO_ALL, OUT, VICTIM),
    ("above clearance and a victim", VICTIM_TO_ALL, LOW, CLEARANCE),
]


@pytest.mark.parametrize(("message", "bureau", "expected"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_withheld_reason(message: Message, bureau: Bureau, expected: WithheldReason | None) -> None:
    """Each row: this rule, or none, takes the message away from this bureau."""
    assert withheld_reason(message, bureau) is expected


@pytest.mark.parametrize("reason", [reason for reason, _ in RULES])
def test_each_rule_matters(reason: WithheldReason) -> None:
    """Without any one rule, a row that expects it fails."""
    fewer = tuple(rule for rule in RULES if rule[0] is not reason)

    failed = {
        expected for _, message, bureau, expected in ROWS if withheld_reason(message, bureau, rules=fewer) != expected
    }

    assert reason in failed


def test_every_reason_on_the_wire_has_its_rule() -> None:
    """The table is complete, in the order of the design."""
    assert [reason for reason, _ in RULES] == [reason for reason in WithheldReason if reason.value != "unknown"]
