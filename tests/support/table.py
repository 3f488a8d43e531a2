"""The hand-written tables of who is given what, expanded: an oracle that shares no code with what it tests.

It reads the csv files, the samples and the tables with plain csv and yaml, and imports nothing of ours. A set of
bureaus is written as words, read from left to right: `xx` adds a code, `@all` every member country, `@africa` the
members at home there, `-xx` takes away a code or a group.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

_ROOT = Path(__file__).parents[2]
_DATA = _ROOT / "tests" / "data"

RULES: dict[str, str] = {
    "candidate.named": "2.1: addressed by name",
    "candidate.addressed": "2.2: a member addressed through its home region or all, and a subscription matches",
    "candidate.subscribed": "2.3: not addressed, a subscription names the region and matches",
    "addresses.members_only": "2.2: all and a region address member countries, no entity",
    "no_match.red": "2.2: red needs no match",
    "no_match.orange": "2.2: orange needs no match",
    "no_match.missing_child": "2.2: a missing child needs no match",
    "open.closed": "2.3: the circulation is open to subscribers, unless it is closed",
    "open.bureaus": "2.3: never open: a message to named bureaus",
    "open.diffusion": "2.3: never open: a diffusion",
    "names_region": "2.3: the subscription must name the notice's region",
    "matches.regions": "2.2: feed regions; an absent part matches everything",
    "matches.types": "2.2: kind and type",
    "matches.offences": "2.2: offence category",
    "matches.operations": "2.2: operation",
    "matches.statuses": "2.2: status",
    "withheld.excluded": "RPD 58: exclusions",
    "withheld.clearance": "RPD 112: classification above the clearance",
    "withheld.victim": "domain 6, victim rule 4: unless the bureau is addressed by its own code",
    "withheld.suspended": "2: suspended bureaus",
    "withheld.not_asked_for": "design rule 6: EXERCISE and TEST unless asked for",
    "withheld.unreadable": "3: it reads an older version, which cannot say the message without loss",
    "review.unfiltered": "2: a request goes to ipsg for review, whatever it is",
    "owner.copy": "2: the owner always gets a copy",
    "issuer.outcome": "2: the issuer gets only the outcome",
    "holders.kept": "2: a holder is a bureau that was given any revision",
    "holders.issuer": "2: the issuer counts as a holder",
    "reinstated.withheld": "2: only reinstated is simply withheld from who may not see it",
    "goes_to.requested": "2, first table: ipsg for review",
    "goes_to.refused": "2, first table: the owner",
    "goes_to.published": "2, first table: recipients",
    "goes_to.sent": "2, first table: recipients",
    "goes_to.revised": "2, first table: recipients",
    "goes_to.suspended": "2, first table: holders",
    "goes_to.reinstated": "2, first table: holders",
    "goes_to.cancelled": "2, first table: holders",
    "goes_to.withdrawn": "2, first table: holders",
    "goes_to.expired": "2, first table: holders",
    "end.revised": "2, first table: a holder who is no longer a recipient gets a notice of end",
    "end.suspended": "2: ends and suspensions reach every holder; a notice of end, where it may not see the message",
    "end.cancelled": "2: ends and suspensions reach every holder",
    "end.withdrawn": "2: ends and suspensions reach every holder",
    "end.expired": "2: ends and suspensions reach every holder",
}
"""Every rule that a row may name, and where it stands (a bare number is a section of the design)."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is expected of one message."""

    number: str
    event: str
    revision: int
    to: frozenset[str]
    """Given the message itself."""
    ended: frozenset[str]
    """Given a notice of end."""
    withheld: dict[str, frozenset[str]]
    """Rule of entitlement to the bureaus from whom it took the message."""
    outcome: frozenset[str]
    """Told what became of it."""
    rules: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, int]:
        """By which a message finds its row: number, event and revision."""
        return self.number, self.event, self.revision


@dataclass(frozen=True, slots=True)
class Change:
    """A bureau's entry in the directory, from now on; fields as strings, lists and objects."""

    bureau: str
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Say:
    """A message of the scenario and what is expected of it."""

    row: Row
    like: str
    """The notice number of the sample whose content it has."""
    differing: dict[str, Any]
    """Fields that differ from the sample; `None` leaves one out."""


class Scenario(NamedTuple):
    """A small world, and what happens in it."""

    world: frozenset[str]
    steps: tuple[Change | Say, ...]


class Groups:
    """What `@all` and `@<region>` mean, in the whole directory or in a small world."""

    def __init__(self, world: frozenset[str] | None = None) -> None:
        folder = _ROOT / "broker" / "members"
        homes = {row["iso2"].lower(): row["region"] for row in _csv(folder / "members.csv")}
        everybody = homes.keys() | {row["code"] for row in _csv(folder / "entities.csv")}
        self._everybody = everybody if world is None else everybody & world
        self._groups: dict[str, set[str]] = defaultdict(set)
        for code in homes.keys() & self._everybody:
            self._groups["all"].add(code)
            self._groups[homes[code]].add(code)

    def expand(self, text: str) -> frozenset[str]:
        """Return the bureaus that some words mean.

        Raises:
            ValueError: a word means nobody, or takes away who is not there: a slip of the pen in the table.
        """
        found: set[str] = set()
        for word in text.split():
            name = word.removeprefix("-")
            meant = self._groups.get(name[1:], set()) if name.startswith("@") else {name} & self._everybody
            if not meant or (word.startswith("-") and not meant <= found):
                msg = f"{word!r} in {text!r}"
                raise ValueError(msg)
            found = found - meant if word.startswith("-") else found | meant
        return frozenset(found)


@cache
def samples_table() -> tuple[Row, ...]:
    """Return the rows of the samples, expanded, in the table's order."""
    groups = Groups()
    return tuple(
        _row(block["notice"], row["on"], row, groups) for block in _yaml("samples_table.yaml") for row in block["rows"]
    )


@cache
def scenario() -> Scenario:
    """Return the scenario, expanded in its small world."""
    data = _yaml("scenario_table.yaml")
    world = frozenset(data["world"])
    groups = Groups(world)
    return Scenario(world, tuple(_step(step, groups) for step in data["steps"]))


def _step(step: Mapping[str, Any], groups: Groups) -> Change | Say:
    if "change" in step:
        return Change(step["change"], {name: value for name, value in step.items() if name != "change"})
    number, _, on = step["say"].partition(" ")
    differing = {name: None if value == "null" else value for name, value in step.get("with", {}).items()}
    return Say(_row(number, on, step, groups), step["like"], differing)


def _row(number: str, on: str, row: Mapping[str, Any], groups: Groups) -> Row:
    event, revision = on.split()
    unknown = set(row["rules"]) - RULES.keys()
    if unknown:
        msg = f"{number} {on} names rules that there are not: {unknown}"
        raise ValueError(msg)
    return Row(
        number=number,
        event=event,
        revision=int(revision),
        to=groups.expand(row.get("to", "")),
        ended=groups.expand(row.get("ended", "")),
        withheld={reason: groups.expand(bureaus) for reason, bureaus in row.get("withheld", {}).items()},
        outcome=groups.expand(row["outcome"]),
        rules=tuple(row["rules"]),
    )


class Sample(NamedTuple):
    """What identifies a sample, read plainly from its file."""

    number: str
    event: str
    revision: int
    message_id: str
    file: str


@cache
def plain_samples() -> tuple[Sample, ...]:
    """Return every sample in the order of publishing: files by name, entries as they stand."""
    return tuple(
        Sample(entry["number"], entry["event"], int(entry["revision"]), entry["message_id"], path.name)
        for path in sorted((_ROOT / "samples").glob("*.yaml"))
        for entry in yaml.load_all(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    )


def expected_inboxes(samples: Iterable[Sample] | None = None) -> dict[str, list[tuple[str, str]]]:
    """Return what each bureau's inbox holds once the samples are routed.

    Args:
        samples: some of them, in the order of publishing; all, unless given.

    Returns:
        By bureau: message id and what of it was given, `message`, `end` or `outcome`. Only the order within one notice
        is promised: other notices of the same inbox may come from other shards. Who is given nothing is not there.
    """
    rows = {row.key: row for row in samples_table()}
    inboxes: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for sample in plain_samples() if samples is None else samples:
        row = rows[sample.number, sample.event, sample.revision]
        for kind, bureaus in (("message", row.to), ("end", row.ended), ("outcome", row.outcome)):
            for bureau in sorted(bureaus):
                inboxes[bureau].append((sample.message_id, kind))
    return dict(inboxes)


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _yaml(name: str) -> Any:
    text = (_DATA / name).read_text(encoding="utf-8")
    return yaml.load(text, yaml.BaseLoader)  # noqa: S506 - strings only: `no` is Norway, and `on` is no truth
