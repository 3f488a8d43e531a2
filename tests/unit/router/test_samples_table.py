"""The decision against tables written by hand; and each rule, switched off, breaks a row that names it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

import pytest

import consumers.router.decide as decide_module
from broker.members.directory import SECRETARIAT, Directory, Group
from broker.model.change import Subscription
from broker.model.circulation import Scope
from broker.model.diffusion import Diffusion
from broker.model.message import Event, Message
from broker.trust import candidates as candidates_module
from broker.trust import entitlement as entitlement_module
from broker.trust.entitlement import withheld_reason
from consumers.router.decide import GOES_TO, TOLD_TO_EVERY_HOLDER, Audience, Reach, decide
from consumers.router.life import NoticeState, after, check_issuer, check_life
from tests.support.samples import changed, sample_messages, scenario_message, seeded_directory
from tests.support.table import RULES, Change, Row, plain_samples, samples_table, scenario

Decide = Callable[[Message, Directory, NoticeState | None], Audience]
After = Callable[..., NoticeState]


@dataclass(frozen=True, slots=True)
class Router:
    """The two pure functions that the tables are about, or one of them with a rule switched off."""

    decide: Decide = decide
    after: After = after


@dataclass(frozen=True, slots=True)
class Found:
    """What was decided for a row."""

    row: Row
    to: frozenset[str]
    ended: frozenset[str]
    withheld: dict[str, frozenset[str]]

    @property
    def is_as_expected(self) -> bool:
        """Whether it is what the table says."""
        return (self.to, self.ended, self.withheld) == (self.row.to, self.row.ended, self.row.withheld)


class World:
    """Routes messages one after another, each knowing its notice's past."""

    def __init__(self, router: Router, directory: Directory) -> None:
        self.router = router
        self.directory = directory
        self.found: list[Found] = []
        self._past: dict[str, NoticeState] = {}

    def route(self, message: Message, row: Row) -> None:
        """Decide a message and keep what was decided beside what was expected."""
        past = self._past.get(message.number)
        check_issuer(message)
        check_life(message, past)
        audience = self.router.decide(message, self.directory, past)
        self._past[message.number] = self.router.after(
            past, message.event, message.revision, owner=message.owner, issuer=message.issuer, given=audience.delivered
        )
        withheld = {str(reason): bureaus for reason, bureaus in audience.withheld.items()}
        self.found.append(Found(row, audience.delivered, audience.ended, withheld))


def route_everything(router: Router) -> list[Found]:
    """Route the samples, and then the scenario in its own small world."""
    rows = {row.key: row for row in samples_table()}
    world = World(router, seeded_directory())
    for message in sample_messages():
        world.route(message, rows[message.number, message.event.value, message.revision])
    small = World(router, seeded_directory(scenario().world))
    for step in scenario().steps:
        if isinstance(step, Change):
            small.directory = changed(small.directory, step)
        else:
            small.route(scenario_message(step), step.row)
    return world.found + small.found


@cache
def _as_it_is() -> dict[str, Found]:
    return {_name(found.row): found for found in route_everything(Router())}


def _name(row: Row) -> str:
    return f"{row.number} {row.event} {row.revision}"


_ROWS = [*samples_table(), *(step.row for step in scenario().steps if not isinstance(step, Change))]


def test_the_table_has_a_row_for_each_sample() -> None:
    """Each sample has one row, in the order in which its notice's messages are published."""
    for number in {sample.number for sample in plain_samples()}:
        published = [(one.number, one.event, one.revision) for one in plain_samples() if one.number == number]
        assert [row.key for row in samples_table() if row.number == number] == published
    assert len(samples_table()) == len(plain_samples())


@pytest.mark.parametrize("row", _ROWS, ids=_name)
def test_each_message_goes_to_whom_the_table_says(row: Row) -> None:
    """Recipients, notices of end and what is withheld, by which rule, are those of the hand-written row."""
    found = _as_it_is()[_name(row)]

    assert found.to == row.to
    assert found.ended == row.ended
    assert found.withheld == row.withheld


@pytest.mark.parametrize("row", _ROWS, ids=_name)
def test_the_outcome_goes_to_issuer_and_owner(row: Row) -> None:
    """Whoever the table tells the outcome is the owner, by the number, and who signs the event."""
    owner, kind = row.number.rsplit("-", 3)[:2]
    by_owner = {"requested", "withdrawn", "sent"} | ({"revised"} if kind == "d" else set())
    assert row.outcome == {owner, owner if row.event in by_owner else "ipsg"}


# ------------------------------------------------------------------------------------------- each rule, switched off

Switch = Callable[[pytest.MonkeyPatch], Router]


def _without_candidate_rule(name: str) -> Switch:
    def switch(monkeypatch: pytest.MonkeyPatch) -> Router:
        kept = tuple(rule for rule in candidates_module.RULES if rule.__name__ != name)
        assert len(kept) == len(candidates_module.RULES) - 1
        monkeypatch.setattr(candidates_module, "RULES", kept)
        return Router()

    return switch


def _instead(name: str, function: Callable[..., Any]) -> Switch:
    """Another function in place of one of the parts of the rules on candidates."""

    def switch(monkeypatch: pytest.MonkeyPatch) -> Router:
        for module in (candidates_module, entitlement_module):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, function)
        return Router()

    return switch


def _without_part(part: str) -> Switch:
    def matches(subscription: Subscription, message: Message, original: Any = candidates_module.matches) -> bool:
        return bool(original(subscription.model_copy(update={part: ()}), message))

    return _instead("matches", matches)


def _without_entitlement(reason: str) -> Switch:
    rules = tuple((named, rule) for named, rule in entitlement_module.RULES if named != reason)
    assert len(rules) == len(entitlement_module.RULES) - 1
    return lambda _: Router(decide=partial(decide, entitlement=partial(withheld_reason, rules=rules)))


def _gone_to(event: Event, reach: Reach) -> Switch:
    def switch(monkeypatch: pytest.MonkeyPatch) -> Router:
        assert GOES_TO[event] is not reach
        monkeypatch.setitem(GOES_TO, event, reach)
        return Router()

    return switch


def _told(events: frozenset[Event]) -> Switch:
    def switch(monkeypatch: pytest.MonkeyPatch) -> Router:
        monkeypatch.setattr(decide_module, "TOLD_TO_EVERY_HOLDER", events)
        return Router()

    return switch


def _no_copy(message: Message, directory: Directory, past: NoticeState | None) -> Audience:
    audience = decide(message, directory, past)
    return replace(audience, delivered=audience.delivered - {message.owner})


def _issuer_too(message: Message, directory: Directory, past: NoticeState | None) -> Audience:
    audience = decide(message, directory, past)
    return replace(audience, delivered=audience.delivered | {message.issuer})


def _filtered_review(message: Message, directory: Directory, past: NoticeState | None) -> Audience:
    reviewer = directory.get(SECRETARIAT)
    assert reviewer is not None
    if message.event is Event.REQUESTED and withheld_reason(message, reviewer) is not None:
        return Audience(delivered=frozenset())
    return decide(message, directory, past)


def _forgetful(_past: NoticeState | None, event: Event, revision: int, **parts: Any) -> NoticeState:
    return after(None, event, revision, **parts)


def _issuer_holds_nothing(past: NoticeState | None, event: Event, revision: int, **parts: Any) -> NoticeState:
    return after(past, event, revision, **{**parts, "issuer": parts["owner"]})


def _as_if_member(message: Message, group: Group, original: Any = candidates_module.addresses) -> bool:
    return bool(original(message, replace(group, is_member=True)))


_OPEN_SCOPES = {Scope.ALL, Scope.REGIONS}

SWITCHES: dict[str, Switch] = {
    "candidate.named": _without_candidate_rule("addressed_by_name"),
    "candidate.addressed": _without_candidate_rule("addressed_through_region_or_all"),
    "candidate.subscribed": _without_candidate_rule("subscribed_to_region"),
    "addresses.members_only": _instead("addresses", _as_if_member),
    "no_match.red": _instead("needs_no_match", lambda m: m.wire_type == "orange" or m.is_missing_child),
    "no_match.orange": _instead("needs_no_match", lambda m: m.wire_type == "red" or m.is_missing_child),
    "no_match.missing_child": _instead("needs_no_match", lambda m: m.wire_type in {"red", "orange"}),
    "open.closed": _instead(
        "open_to_subscribers", lambda m: not isinstance(m, Diffusion) and m.circulation.scope in _OPEN_SCOPES
    ),
    "open.bureaus": _instead(
        "open_to_subscribers", lambda m: not isinstance(m, Diffusion) and not m.circulation.closed
    ),
    "open.diffusion": _instead("open_to_subscribers", lambda m: m.circulation.open_to_subscribers),
    "names_region": _instead("names_region", lambda _subscription, _message: True),
    **{f"matches.{part}": _without_part(part) for part in Subscription.model_fields},
    **{f"withheld.{reason}": _without_entitlement(reason) for reason, _ in entitlement_module.RULES},
    "review.unfiltered": lambda _: Router(decide=_filtered_review),
    "owner.copy": lambda _: Router(decide=_no_copy),
    "issuer.outcome": lambda _: Router(decide=_issuer_too),
    "holders.kept": lambda _: Router(after=_forgetful),
    "holders.issuer": lambda _: Router(after=_issuer_holds_nothing),
    **{
        f"goes_to.{event}": _gone_to(event, Reach.CANDIDATES if reach is not Reach.CANDIDATES else Reach.HOLDERS)
        for event, reach in GOES_TO.items()
    },
    **{f"end.{event}": _told(TOLD_TO_EVERY_HOLDER - {event}) for event in sorted(TOLD_TO_EVERY_HOLDER)},
    "reinstated.withheld": _told(TOLD_TO_EVERY_HOLDER | {Event.REINSTATED}),
}
"""How each rule is switched off; made from the program's own tables, so a rule that is added asks for a row here."""


def test_every_rule_of_the_program_is_named_by_the_table() -> None:
    """Each rule of the program's tables has a name, and each name stands in a row."""
    assert SWITCHES.keys() == RULES.keys()
    assert {rule for row in _ROWS for rule in row.rules} == RULES.keys()


@pytest.mark.parametrize("rule", SWITCHES)
def test_switching_off_a_rule_breaks_a_row_that_names_it(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each rule matters, and the row that shows it says so."""
    router = SWITCHES[rule](monkeypatch)

    broken = [found for found in route_everything(router) if not found.is_as_expected]

    assert any(rule in found.row.rules for found in broken), [_name(found.row) for found in broken][:20]
