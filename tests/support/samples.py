"""The samples as messages, the directory that the csv files seed, and the scenario's messages."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from broker.members.directory import Bureau, Directory
from broker.members.seed import Seed, seeds, seeds_of
from broker.model.change import BureauStatus, Subscription
from broker.model.message import Message
from broker.model.parsing import parse_message
from producers.completion import complete
from producers.files import expand, read
from tests.support.table import Change, Say

SAMPLES = Path(__file__).parents[2] / "samples"

_EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
_OF_ONE_MESSAGE = frozenset({"message_id", "number", "owner", "issuer", "region", "event", "revision", "reason"})
_REASONS = {
    "suspended": "validity_in_doubt",
    "reinstated": "doubt_resolved",
    "cancelled": "purpose_met",
    "expired": "not_renewed",
}


@cache
def seeded_directory(codes: Collection[str] | None = None) -> Directory:
    """Return the directory as an installation is founded with it: everyone, or a small world (a frozen set)."""
    chosen = seeds() if codes is None else seeds_of(codes)
    return Directory([_bureau(seed) for seed in chosen], offset=len(chosen), installation="tests")


def _bureau(seed: Seed) -> Bureau:
    facts = seed.facts
    return Bureau(
        code=seed.code,
        name=facts.name,
        kind=facts.kind,
        region=facts.region,
        city=facts.city,
        clearance=facts.clearance,
        subscriptions=seed.subscriptions,
        agreement=seed.agreement,
        reads=2,
        version=1,
    )


def changed(directory: Directory, change: Change) -> Directory:
    """Return a directory with one bureau's entry changed as a step of the scenario says."""
    bureau = directory.get(change.bureau)
    assert bureau is not None, change.bureau
    for field, value in change.entry.items():
        match field:
            case "subscriptions":
                bureau = replace(bureau, subscriptions=tuple(Subscription.model_validate(one) for one in value))
            case "reads":
                bureau = replace(bureau, reads=int(value))
            case "status":
                bureau = replace(bureau, status=BureauStatus(value))
            case _:
                raise ValueError(field)
    others = [other for other in directory.bureaus() if other.code != change.bureau]
    return Directory([*others, bureau], offset=directory.offset + 1, installation=directory.installation)


@cache
def sample_contents() -> tuple[dict[str, Any], ...]:
    """Return what the files hold, in the order of publishing."""
    entries = [entry for path in expand([SAMPLES]) for entry in read(path)]
    assert all(isinstance(entry.content, dict) for entry in entries), [entry.place for entry in entries]
    return tuple(entry.content for entry in entries if isinstance(entry.content, dict))


@cache
def sample_messages() -> tuple[Message, ...]:
    """Return the samples, completed as the producer does, in the order of publishing."""
    directory = seeded_directory()
    return tuple(parse_message(complete(content, directory=directory, now=_EPOCH)) for content in sample_contents())


def scenario_message(say: Say) -> Message:
    """Return a message of the scenario: a sample's content under another number, event and revision."""
    row = say.row
    like = next(content for content in sample_contents() if content["number"] == say.like)
    content = {name: value for name, value in like.items() if name not in _OF_ONE_MESSAGE} | say.differing
    content |= {"number": row.number, "event": row.event, "revision": row.revision, "reason": _REASONS.get(row.event)}
    content["issued_at"] = _EPOCH + timedelta(days=27, hours=row.revision)
    return parse_message(
        complete(content, directory=seeded_directory(), now=_EPOCH, new_id=lambda: uuid5(NAMESPACE_URL, str(row.key)))
    )
