from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from broker.members.fold import NoEffect
from broker.model.change import ChangeKind, DirectoryChange, PublicKey
from broker.transport.directory import LoggedChange
from consumers.tracker.keys import ReceiptKeys

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def a_key(valid_from: datetime, valid_until: datetime | None = None) -> PublicKey:
    return PublicKey(key_id="ao.1", public=b"\x01" * 32, valid_from=valid_from, valid_until=valid_until)


def logged(at: datetime, kind: ChangeKind, key: PublicKey, **more: Any) -> LoggedChange:
    change = DirectoryChange(
        change_id=UUID(int=1), kind=kind, code="ao", author="ipsg", base_version=1, changed_at=at, keys=(key,)
    )
    return LoggedChange(offset=0, appended_at=at, change=change, **more)


ADDED = logged(NOON, ChangeKind.KEY_ADDED, a_key(NOON - 60 * MINUTE))


@pytest.mark.parametrize(
    ("log", "at", "counts"),
    [
        ([ADDED], NOON + MINUTE, True),
        ([], NOON + MINUTE, False),
        ([ADDED], NOON - MINUTE, False),  # valid by its own word, but nobody could know it then
        ([ADDED], NOON, False),  # the same millisecond: before or after, who knows
        ([logged(NOON, ChangeKind.KEY_ADDED, a_key(NOON + 5 * MINUTE))], NOON + MINUTE, False),
        ([logged(NOON, ChangeKind.KEY_ADDED, a_key(NOON + 5 * MINUTE))], NOON + 5 * MINUTE, True),
        ([logged(NOON, ChangeKind.KEY_ADDED, a_key(NOON), no_effect=NoEffect.STALE)], NOON + MINUTE, False),
    ],
)
def test_entered(log: list[LoggedChange], at: datetime, counts: bool) -> None:  # noqa: FBT001 - a column
    """A key counts from its entry at the earliest, so what was not signed by a known key never comes to be."""
    assert (ReceiptKeys(log, installation="i").at("ao.1", at) is not None) is counts


@pytest.mark.parametrize("before", [MINUTE, 2 * MINUTE, 9 * MINUTE])
@pytest.mark.parametrize("said", [-60 * MINUTE, 10 * MINUTE, 15 * MINUTE])
def test_an_end_changes_nothing_of_the_past(before: timedelta, said: timedelta) -> None:
    """Whether a receipt counted is the same with and without an end that was entered after it, whatever that says."""
    end = logged(NOON + 10 * MINUTE, ChangeKind.KEY_ENDED, a_key(NOON, NOON + said))

    first = ReceiptKeys([ADDED], installation="i").at("ao.1", NOON + before)
    again = ReceiptKeys([ADDED, end], installation="i").at("ao.1", NOON + before)

    assert first == again == ("ao", b"\x01" * 32)


def test_ended() -> None:
    """After its end a key no longer counts, and an end that is put later does not revive it."""
    ends = [
        logged(NOON + 10 * MINUTE, ChangeKind.KEY_ENDED, a_key(NOON, NOON + 20 * MINUTE)),
        logged(NOON + 11 * MINUTE, ChangeKind.KEY_ENDED, a_key(NOON, NOON + 30 * MINUTE)),
    ]
    keys = ReceiptKeys([ADDED, *ends], installation="i")

    assert keys.at("ao.1", NOON + 19 * MINUTE) is not None
    assert keys.at("ao.1", NOON + 20 * MINUTE) is None
