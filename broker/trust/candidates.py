"""Whom a message would be given to, before entitlement takes anybody away: section 2 of the design, rule by rule.

Each rule is held against groups of bureaus that it cannot tell apart (`Directory.groups`), because 226 bureaus for
every message are the hot path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

from broker.members.directory import Directory, Group
from broker.members.rights import in_category
from broker.model.change import Subscription
from broker.model.circulation import Scope
from broker.model.diffusion import Diffusion
from broker.model.message import Message

Rule = Callable[[Message, Directory], frozenset[str]]
"""Codes of the bureaus that a rule makes candidates."""


def candidates(message: Message, directory: Directory) -> frozenset[str]:
    """Return the codes of the bureaus that any of the three rules reaches.

    A code that is addressed but not entered is nobody's. Our own services are sent nothing.
    """
    return frozenset().union(*(rule(message, directory) for rule in RULES))


def addressed_by_name(message: Message, directory: Directory) -> frozenset[str]:
    """Rule 1: it is addressed by name."""
    return frozenset(code for code in named(message) if (bureau := directory.get(code)) and not bureau.is_service)


def addressed_through_region_or_all(message: Message, directory: Directory) -> frozenset[str]:
    """Rule 2: a member country addressed through its home region or *all*, and a subscription matches.

    Red, orange and missing-child messages need no match.
    """
    return _codes(
        group
        for group in directory.groups()
        if addresses(message, group) and (needs_no_match(message) or any_matches(group.subscriptions, message))
    )


def subscribed_to_region(message: Message, directory: Directory) -> frozenset[str]:
    """Rule 3: not addressed, a subscription *names* the notice's region and matches, and subscribers are let in."""
    if not open_to_subscribers(message):
        return frozenset()
    return _codes(
        group
        for group in directory.groups()
        if not addresses(message, group)
        and any(names_region(one, message) and matches(one, message) for one in group.subscriptions)
    )


RULES: tuple[Rule, ...] = (addressed_by_name, addressed_through_region_or_all, subscribed_to_region)
"""The three ways of becoming a candidate, in the design's order; one is enough."""


def named(message: Message) -> tuple[str, ...]:
    """Return the codes that the circulation addresses by name."""
    return message.circulation.bureaus if message.circulation.scope is Scope.BUREAUS else ()


def addresses(message: Message, group: Group) -> bool:
    """Whether *all* or a home region addresses these bureaus: only member countries are addressed that way."""
    if not group.is_member:
        return False
    match message.circulation.scope:
        case Scope.ALL:
            return True
        case Scope.REGIONS:
            return group.region in message.circulation.regions
        case _:
            return False


def needs_no_match(message: Message) -> bool:
    """Whether no subscription can keep an addressed member from it: red, orange, and missing children."""
    return message.wire_type in {"red", "orange"} or message.is_missing_child


def open_to_subscribers(message: Message) -> bool:
    """Whether subscribers who are not addressed are let in: by default to all and to regions; never to a diffusion."""
    return not isinstance(message, Diffusion) and message.circulation.open_to_subscribers


def any_matches(subscriptions: tuple[Subscription, ...], message: Message) -> bool:
    """Whether one of a bureau's subscriptions matches."""
    return any(matches(subscription, message) for subscription in subscriptions)


def matches(subscription: Subscription, message: Message) -> bool:
    """Whether every part of a subscription that is there holds the message's; an absent part matches everything."""
    return (
        (not subscription.regions or message.region in subscription.regions)
        and (not subscription.types or message.wire_type in subscription.types)
        and (not subscription.offences or _about(message, subscription.offences))
        and (not subscription.operations or message.operation in subscription.operations)
        and (not subscription.statuses or message.status in subscription.statuses)
    )


def names_region(subscription: Subscription, message: Message) -> bool:
    """Whether a subscription names the notice's region; an absent part matches it, and does not name it."""
    return message.region in subscription.regions


def _about(message: Message, categories: tuple[str, ...]) -> bool:
    return any(in_category(offence, category) for offence in message.offences for category in categories)


def _codes(groups: Iterable[Group]) -> frozenset[str]:
    return frozenset(chain.from_iterable(group.codes for group in groups))
