"""Who may change what in the directory: one table, to be read against "The directory" in section 2 of the design."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from broker.members.bureau import SECRETARIAT, Bureau
from broker.model.change import ChangeKind, DirectoryChange, Subscription
from broker.model.message import Status

Right = Callable[[DirectoryChange, Bureau | None], bool]
"""Whether a change's author may make it; given the bureau that it changes, as it is now."""


def the_secretariat(change: DirectoryChange, _bureau: Bureau | None) -> bool:
    """The Secretariat alone enters members, entities, agreements, keys, status and clearance."""
    return change.author == SECRETARIAT


def the_secretariat_or_itself(change: DirectoryChange, bureau: Bureau | None) -> bool:
    """Which programs a bureau runs, it knows best."""
    return the_secretariat(change, bureau) or (change.author == change.code and bureau is not None)


def the_secretariat_or_itself_within_its_rights(change: DirectoryChange, bureau: Bureau | None) -> bool:
    """A bureau narrows or widens its own subscriptions within its rights."""
    if the_secretariat(change, bureau):
        return True
    return change.author == change.code and bureau is not None and within_rights(bureau, change.subscriptions)


RIGHTS: Mapping[ChangeKind, Right] = MappingProxyType(
    {
        ChangeKind.FOUNDED: the_secretariat,  # and only as the first record, with the pinned key: see the fold
        ChangeKind.ENTERED: the_secretariat,
        ChangeKind.KEY_ADDED: the_secretariat,
        ChangeKind.KEY_ENDED: the_secretariat,
        ChangeKind.STATUS_SET: the_secretariat,
        ChangeKind.CLEARANCE_SET: the_secretariat,
        ChangeKind.AGREEMENT_SET: the_secretariat,
        ChangeKind.SUBSCRIPTIONS_SET: the_secretariat_or_itself_within_its_rights,
        ChangeKind.READS_SET: the_secretariat_or_itself,
    }
)
"""Who may make each kind of change. What stands in no row (a kind that came later) nobody may."""


def may(change: DirectoryChange, bureau: Bureau | None) -> bool:
    """Whether the table allows a change to its author."""
    right = RIGHTS.get(change.kind)
    return right is not None and right(change, bureau)


def within_rights(bureau: Bureau, subscriptions: tuple[Subscription, ...]) -> bool:
    """Whether a bureau may ask for this by itself: a member for anything, others for what their agreement covers."""
    return bureau.is_member or all(any(covers(agreed, asked) for agreed in bureau.agreement) for asked in subscriptions)


def covers(agreed: Subscription, asked: Subscription) -> bool:
    """Whether whatever matches `asked` also matches `agreed`.

    Exercises and trials anyone may add: the agreement only says whether the real thing may be asked for.
    """
    return (
        _within(asked.regions, agreed.regions)
        and _within(asked.types, agreed.types)
        and _categories_within(asked.offences, agreed.offences)
        and _within(asked.operations, agreed.operations)
        and (not _asks_for_actual(asked) or _asks_for_actual(agreed))
    )


def _within(asked: tuple[str, ...], agreed: tuple[str, ...]) -> bool:
    """Whether one part is covered; an absent part stands for everything, so only an absent part covers it."""
    return not agreed or (bool(asked) and set(asked) <= set(agreed))


def _categories_within(asked: tuple[str, ...], agreed: tuple[str, ...]) -> bool:
    """The same for offences, where a category covers those under it."""
    return not agreed or (bool(asked) and all(any(in_category(one, category) for category in agreed) for one in asked))


def in_category(offence: str, category: str) -> bool:
    """Whether an offence is this category or under it: `thb.labour.mining` is in `thb`, and `thbx` is not."""
    return offence == category or offence.startswith(f"{category}.")


def _asks_for_actual(subscription: Subscription) -> bool:
    return not subscription.statuses or Status.ACTUAL in subscription.statuses
