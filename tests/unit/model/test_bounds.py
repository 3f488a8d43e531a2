"""Lists that others fill are bounded, in what is made here and in what is read."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from broker.errors import RejectedRecordError
from broker.members.seed import seeds
from broker.model.base import Model
from broker.model.change import ChangeKind, DirectoryChange, PublicKey, Subscription
from broker.model.circulation import Circulation
from broker.model.command import Command, CommandKind
from broker.schema.codec import Codec

NOW = datetime(2026, 5, 1, tzinfo=UTC)
CODEC = Codec.load()


def _codes(many: int) -> list[str]:
    return [f"b{number}" for number in range(many)]


def _change(**parts: Any) -> DirectoryChange:
    said = {"change_id": UUID(int=1), "kind": ChangeKind.ENTERED, "code": "zw", "author": "ipsg", "base_version": 0}
    return DirectoryChange.model_validate(said | {"changed_at": NOW} | parts)


def _command(many: int) -> Command:
    return Command.model_validate(
        {
            "command_id": UUID(int=1),
            "kind": CommandKind.REMINDER,
            "number": "zw-n-2026-000001",
            "bureaus": _codes(many),
            "asked_by": "tracker",
            "asked_at": NOW,
        }
    )


def _subscription(part: str, word: str) -> Callable[[int], Model]:
    return lambda many: Subscription.model_validate({part: [word] * many})


KEY = PublicKey(key_id="zw.0", public=bytes(32), valid_from=NOW)
BOUNDED: dict[str, tuple[int, Callable[[int], Model]]] = {
    "circulation.bureaus": (1_000, lambda many: Circulation.model_validate({"scope": "all", "bureaus": _codes(many)})),
    "circulation.exclusions": (
        1_000,
        lambda many: Circulation.model_validate({"scope": "all", "exclusions": _codes(many)}),
    ),
    "circulation.regions": (
        100,
        lambda many: Circulation.model_validate({"scope": "all", "regions": ["africa"] * many}),
    ),
    "command.bureaus": (1_000, _command),
    "change.subscriptions": (50, lambda many: _change(subscriptions=[{}] * many)),
    "change.agreement": (50, lambda many: _change(agreement=[{}] * many)),
    "change.keys": (100, lambda many: _change(keys=[KEY] * many)),
    "subscription.regions": (100, _subscription("regions", "africa")),
    "subscription.types": (100, _subscription("types", "red")),
    "subscription.offences": (100, _subscription("offences", "thb")),
    "subscription.operations": (100, _subscription("operations", "spartacus-iii")),
    "subscription.statuses": (100, _subscription("statuses", "ACTUAL")),
    "a word of a subscription": (64, lambda many: Subscription.model_validate({"operations": ["x" * many]})),
}


@pytest.mark.parametrize("name", BOUNDED)
def test_a_list_has_a_longest(name: str) -> None:
    """As many as the bound allows, and not one more."""
    most, make = BOUNDED[name]
    make(most)
    with pytest.raises(ValidationError):
        make(most + 1)


def test_everybody_can_be_named() -> None:
    """The bound leaves room for each bureau that there is, several times."""
    everybody = [seed.code for seed in seeds()]
    assert len(everybody) * 4 < 1_000
    Circulation.model_validate({"scope": "bureaus", "bureaus": everybody})


def test_a_record_with_a_longer_list_is_undecodable() -> None:
    """Whoever reads what a stranger wrote is held to the same bound, and the reason quotes nothing of it."""
    whole = _change(subscriptions=[Subscription()] * 50)
    longer = whole.model_copy(update={"subscriptions": (*whole.subscriptions, Subscription())})

    assert CODEC.decode(CODEC.encode(whole), DirectoryChange) == whole
    with pytest.raises(RejectedRecordError, match="subscriptions"):
        CODEC.decode(CODEC.encode(longer), DirectoryChange)
