from __future__ import annotations

from collections import Counter

import pytest

from broker.members.seed import founding_changes, seeds, seeds_of
from broker.model.change import ChangeKind
from broker.model.message import Classification, Status
from broker.model.naming import Region
from broker.trust.keys import generate, public_key
from tests.support.directories import NOW


def test_an_installation_starts_with_196_members_30_entities_and_two_services() -> None:
    """Domain section 1 (196 members) and `entities.csv` (30): 226 have an inbox, and broker and audit sign."""
    kinds = Counter(seed.facts.kind.value for seed in seeds())

    assert kinds["member"] == 196
    assert sum(kinds.values()) - kinds["member"] - kinds["service"] == 30
    assert [seed.code for seed in seeds() if seed.facts.kind.value == "service"] == ["broker", "audit"]
    assert len({seed.code for seed in seeds()}) == 228


def test_members_by_region() -> None:
    """As counted by hand in `members.csv`."""
    counted = Counter(seed.facts.region for seed in seeds() if seed.facts.kind.value == "member")

    assert counted == {
        Region.AFRICA: 47,
        Region.AMERICAS: 38,
        Region.ASIA_PACIFIC: 36,
        Region.EUROPE: 55,
        Region.MIDDLE_EAST_NORTH_AFRICA: 20,
    }


def test_what_they_start_with() -> None:
    """Design sections 2 and 11: default subscriptions and clearances."""
    by_code = {seed.code: seed for seed in seeds()}
    zw, ipsg, iom = by_code["zw"], by_code["ipsg"], by_code["iom"]

    assert [one.model_dump(exclude_defaults=True) for one in zw.subscriptions] == [{"statuses": (Status.ACTUAL,)}]
    assert [set(one.regions) for one in ipsg.subscriptions] == [set(Region)]
    assert iom.subscriptions == iom.agreement == ()
    assert zw.facts.clearance is ipsg.facts.clearance is Classification.CONFIDENTIAL
    assert iom.facts.clearance is Classification.FOR_OFFICIAL_USE_ONLY


def test_the_founding_comes_first_and_every_change_brings_a_key() -> None:
    """The Secretariat's own change founds; everybody else is entered by it, with a first key."""
    chosen = seeds_of(["zw", "iom"])
    keys = {seed.code: public_key(generate(seed.code), valid_from=NOW) for seed in chosen}

    changes = founding_changes(reversed(chosen), installation="i", keys=keys, at=NOW)

    assert [change.kind for change in changes] == [ChangeKind.FOUNDED] + [ChangeKind.ENTERED] * 4
    assert {change.code for change in changes} == {"ipsg", "zw", "iom", "broker", "audit"}
    assert {change.author for change in changes} == {"ipsg"}
    assert all(change.keys == (keys[change.code],) for change in changes)
    assert [change.installation for change in changes] == ["i", None, None, None, None]


def test_an_unknown_code_is_named() -> None:
    """A small world of a bureau that is nowhere is a mistake."""
    with pytest.raises(KeyError, match="atlantis"):
        seeds_of(["zw", "atlantis"])
