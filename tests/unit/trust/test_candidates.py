"""Rules 1, 2 and 3 of the design's section 2, each row written by hand from its text."""

from __future__ import annotations

import pytest

from broker.members.directory import Directory
from broker.members.seed import seeds
from broker.model.change import Subscription
from broker.model.circulation import Circulation, Scope
from broker.model.message import Message, Status
from broker.model.naming import Region
from broker.trust import candidates as rules
from broker.trust.candidates import candidates, matches
from tests.support.builders import (
    ALL,
    a_blue_notice,
    a_missing_child_notice,
    a_missing_diffusion,
    a_red_notice,
    a_yellow_notice,
    an_arrest_diffusion,
    an_orange_notice,
    bureaus,
    regions,
)
from tests.support.directories import ACTUAL, a_directory, a_member, an_entity, subscription

EVERY_REGION = Subscription(regions=tuple(Region), statuses=(Status.ACTUAL,))

# Seven bureaus that differ in what the rules look at.
DIRECTORY = a_directory(
    a_member("zw", "africa"),  # as a member starts: everything ACTUAL
    a_member("ng", "africa", subscription(types=("yellow",))),
    a_member("ke", "africa", subscription(regions=("europe",))),  # nothing of its own region
    a_member("fr", "europe", ACTUAL, subscription(regions=("africa",), offences=("thb",))),
    a_member("de", "europe", subscription(types=("green",))),
    an_entity("iom", "europe", subscription(regions=("africa",), offences=("thb",))),
    an_entity("wco", "europe", ACTUAL),  # names no region
    an_entity("ipsg", "europe", EVERY_REGION),
)

CLOSED = Circulation(scope=Scope.ALL, closed=True)
MISSING_CHILD = a_missing_diffusion(
    owner="zw", subject={"kind": "person", "role": "missing", "person": {"born": "2018"}}, circulation=regions("africa")
)
DRILL = a_blue_notice(owner="zw", status="EXERCISE")
BLUE_THB = a_blue_notice(owner="zw", offences=["thb.labour.mining"])

ROWS: list[tuple[str, Message, str]] = [
    # Rule 1: "it is addressed by name". No subscription is asked, and entities are in.
    ("1: named", a_blue_notice(owner="zw", circulation=bureaus("de", "wco")), "de wco"),
    ("1: named by a diffusion", an_arrest_diffusion(owner="zw", circulation=bureaus("ng", "iom")), "iom ng"),
    ("1: named, unknown", a_blue_notice(owner="zw", circulation=bureaus("xx", "fr")), "fr"),
    # Rule 2: "a member country addressed through its home region or through all, and one of its subscriptions matches"
    ("2: region", a_blue_notice(owner="zw", circulation=regions("africa")), "ipsg zw"),
    ("2: region, and what it asked for", a_yellow_notice(owner="zw", circulation=regions("africa")), "ipsg ng zw"),
    ("2: region, a diffusion", a_missing_diffusion(owner="zw", circulation=regions("africa")), "zw"),
    ("2: all", a_blue_notice(owner="zw", circulation=ALL), "fr ipsg zw"),
    ("2: all, of another region", a_blue_notice(owner="fr", circulation=ALL), "fr ipsg ke zw"),
    ("2: all is no entity", an_arrest_diffusion(owner="zw", circulation=ALL), "fr zw"),
    # Rule 2, second sentence: "Red, orange and missing-child messages need no match."
    ("2: red", a_red_notice(owner="zw", circulation=ALL, offences=["fraud"]), "de fr ipsg ke ng zw"),
    ("2: orange", an_orange_notice(owner="zw", circulation=regions("africa")), "ipsg ke ng zw"),
    ("2: missing child", a_missing_child_notice(owner="zw", circulation=ALL), "de fr ipsg ke ng zw"),
    ("2: missing child, a diffusion", MISSING_CHILD, "ke ng zw"),
    ("2: an arrest diffusion is not red", an_arrest_diffusion(owner="zw", circulation=regions("africa")), "zw"),
    # Rule 3: "not addressed, one of its subscriptions names the notice's region and matches, and the circulation is
    # open to subscribers (notices to all or to regions: by default; to named bureaus, and diffusions: never)"
    ("3: names the region", a_blue_notice(owner="fr", circulation=regions("europe")), "fr ipsg ke"),
    ("3: and the offence matches", BLUE_THB, "fr iom ipsg zw"),
    ("3: red, too, must match", a_red_notice(owner="zw", circulation=regions("europe")), "de fr iom ipsg"),
    ("3: red of no agreed offence", a_red_notice(owner="zw", circulation=regions("europe"), offences=["fraud"]),
     "de fr ipsg"),
    ("3: never for named bureaus", a_blue_notice(owner="zw", circulation=bureaus("de"), offences=["thb"]), "de"),
    ("3: never for diffusions", an_arrest_diffusion(owner="zw", circulation=regions("americas")), ""),
    ("3: not if closed", a_blue_notice(owner="zw", circulation=CLOSED, offences=["thb"]), "fr zw"),
    ("3: not if addressed and unmatched", a_blue_notice(owner="fr", circulation=regions("africa")), "ipsg ke zw"),
    # "status" is a part of a subscription like any other
    ("2: a drill that nobody asked for", DRILL, ""),
]  # fmt: skip


@pytest.mark.parametrize(("message", "expected"), [pytest.param(*row[1:], id=row[0]) for row in ROWS])
def test_candidates(message: Message, expected: str) -> None:
    """Each row: these bureaus, all of them, and nobody else."""
    assert candidates(message, DIRECTORY) == frozenset(expected.split())


@pytest.mark.parametrize("number", [1, 2, 3])
def test_each_rule_matters(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of the three rules, a row that names it fails."""
    monkeypatch.setattr(rules, "RULES", tuple(rule for at, rule in enumerate(rules.RULES, 1) if at != number))

    failed = {name for name, message, expected in ROWS if candidates(message, DIRECTORY) != set(expected.split())}

    assert any(name.startswith(f"{number}:") for name in failed)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (Subscription(), True),
        (Subscription(regions=(Region.EUROPE, Region.AFRICA)), True),
        (Subscription(regions=(Region.EUROPE,)), False),
        (Subscription(types=("red", "blue")), True),
        (Subscription(types=("red",)), False),
        (Subscription(offences=("thb",)), True),
        (Subscription(offences=("thb.labour",)), True),
        (Subscription(offences=("thb.labour.mining",)), True),
        (Subscription(offences=("thb.lab",)), False),
        (Subscription(offences=("thb.labour.mining.gold",)), False),
        (Subscription(offences=("fraud", "thb")), True),
        (Subscription(operations=("akoma",)), False),
        (Subscription(statuses=(Status.ACTUAL,)), True),
        (Subscription(statuses=(Status.EXERCISE,)), False),
        (Subscription(regions=(Region.AFRICA,), types=("blue",), offences=("thb",)), True),
        (Subscription(regions=(Region.AFRICA,), types=("blue",), offences=("fraud",)), False),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else value.model_dump_json(exclude_defaults=True),
)
def test_every_part_must_match(one: Subscription, expected: bool) -> None:  # noqa: FBT001 - a table's cell
    """A blue notice of Africa about `thb.labour.mining`: each absent part matches everything, the others must hold."""
    assert matches(one, BLUE_THB) is expected


def test_an_operation_matches_by_its_code() -> None:
    """A subscription to an operation takes its messages, and no others."""
    akoma = Subscription(operations=("akoma",))

    assert matches(akoma, a_blue_notice(operation="akoma"))
    assert not matches(akoma, a_blue_notice(operation="nawa"))


def test_our_own_services_are_sent_nothing() -> None:
    """Of the whole directory, addressed by a red notice to all, the 196 members are candidates, and `ipsg`."""
    directory = _whole()
    everybody = {bureau.code for bureau in directory.bureaus()}

    reached = candidates(a_red_notice(circulation=ALL), directory)

    assert len(reached) == 197
    assert reached <= everybody - {"broker", "audit"}
    assert candidates(a_blue_notice(circulation=bureaus("broker", "fr")), directory) == {"fr"}


def _whole() -> Directory:
    return a_directory(
        *(a_member(seed.code, seed.facts.region, *seed.subscriptions, kind=seed.facts.kind) for seed in seeds())
    )
