"""What rules take away from a bureau that circulation, subscription or holding reached: one ordered table.

A rule looks at nothing of a bureau but what `Group` holds, and its code only where a message names it (`sets_apart`):
so one bureau of a group can stand for all.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.members.bureau import Bureau
from broker.members.directory import Directory
from broker.model.change import BureauStatus
from broker.model.ledger import WithheldReason
from broker.model.message import Message, Status
from broker.model.versions import FORMAT_VERSION, needs
from broker.trust.candidates import candidates, matches, named

Predicate = Callable[[Message, Bureau], bool]
"""Whether a rule takes a message away from a bureau."""


def is_excluded(message: Message, bureau: Bureau) -> bool:
    """The issuer named the bureau in the exclusions (RPD article 58)."""
    return bureau.code in message.circulation.exclusions


def is_above_clearance(message: Message, bureau: Bureau) -> bool:
    """The classification is above the bureau's clearance (RPD article 112); one that is not known is above any.

    The directory takes in no clearance that is not known.
    """
    return message.classification.level > bureau.clearance.level


def is_victim_of_others(message: Message, bureau: Bureau) -> bool:
    """The subject is a victim or a witness, and the issuer did not address the bureau by its own code.

    Domain section 6, victim rule 4. That a subject is a minor withholds nothing by itself.
    """
    return message.is_victim_or_witness and bureau.code not in named(message)


def is_suspended(_message: Message, bureau: Bureau) -> bool:
    """The Secretariat suspended the bureau, or its status is one that this program does not know."""
    return bureau.status is not BureauStatus.ACTIVE


def is_not_asked_for(message: Message, bureau: Bureau) -> bool:
    """An exercise or a trial, and no subscription that matches it names its status (design rule 6).

    An absent status matches everything, yet asks for the real thing only.
    """
    return message.status is not Status.ACTUAL and not any(
        message.status in subscription.statuses and matches(subscription, message)
        for subscription in bureau.subscriptions
    )


def is_unreadable(message: Message, bureau: Bureau) -> bool:
    """The bureau reads an older version of the format, in which the message cannot be said without loss."""
    return bureau.reads < FORMAT_VERSION and bureau.reads < needs(message)


Rules = tuple[tuple[WithheldReason, Predicate], ...]

RULES: Rules = (
    (WithheldReason.EXCLUDED, is_excluded),
    (WithheldReason.CLEARANCE, is_above_clearance),
    (WithheldReason.VICTIM, is_victim_of_others),
    (WithheldReason.SUSPENDED, is_suspended),
    (WithheldReason.NOT_ASKED_FOR, is_not_asked_for),
    (WithheldReason.UNREADABLE, is_unreadable),
)
"""In the design's order: the first that holds is the one that the ledger names. Whoever is not entitled is not told
that a program of theirs is too old: so that rule is the last."""


def unreadable_by(message: Message, directory: Directory) -> frozenset[str]:
    """Return the codes of those who would be given a message, were their programs not too old to read it.

    An issuer is told of them before anything is sent. Who is withheld it for another reason is not among them; the
    owner is, who gets a copy all the same.
    """
    if needs(message) == 1:
        return frozenset()
    reached = (candidates(message, directory) | {message.owner}) - {message.issuer}
    bureaus = (bureau for code in reached if (bureau := directory.get(code)) is not None)
    return frozenset(one.code for one in bureaus if withheld_reason(message, one) is WithheldReason.UNREADABLE)


def sets_apart(message: Message) -> frozenset[str]:
    """Return the codes that a message names, one way or the other: each of them is to be looked at by itself."""
    return frozenset((*named(message), *message.circulation.exclusions))


def withheld_reason(message: Message, bureau: Bureau, *, rules: Rules = RULES) -> WithheldReason | None:
    """Return the first rule that takes a message away from a bureau; `None` if it is entitled.

    Args:
        message: what circulation, a subscription or an earlier delivery would give to the bureau.
        bureau: as the directory knows it at the moment of the decision.
        rules: all of them; fewer only in tests, to show that each one matters.
    """
    for reason, takes_away in rules:
        if takes_away(message, bureau):
            return reason
    return None
