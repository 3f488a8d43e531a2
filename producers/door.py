"""The door: what is refused before anything is written. Pure; the rules of the domain, then what the directory knows.

The router holds every message against the same again, because it cannot know who else writes to a feed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from broker.errors import InvalidFieldError, InvalidMessageError
from broker.members.directory import Directory
from broker.model import rules
from broker.model.circulation import Scope
from broker.model.message import Event, Message

_NEEDS_AUDIENCE = frozenset({Event.REQUESTED, Event.PUBLISHED, Event.SENT, Event.REVISED})
"""An end reaches every holder, whatever its circulation; so nothing in it may hold it up."""

_ENTERED = "a bureau or an entity in the directory"


def refuse_if_wrong(message: Message, *, directory: Directory, signs_as: str, today: date) -> None:
    """Let a message pass, or say everything that is wrong with it.

    Args:
        message: as it would be written.
        directory: at its end.
        signs_as: the bureau whose key will sign.
        today: what dates are held against.

    Raises:
        InvalidMessageError: names each field, what is wrong with it, and the rule.
    """
    problems: list[InvalidFieldError] = []
    try:
        rules.check(message, today=today)
    except InvalidMessageError as error:
        problems.extend(error.problems)
    known = {problem.field for problem in problems}
    problems.extend(problem for problem in _against(directory, message, signs_as) if problem.field not in known)
    if problems:
        raise InvalidMessageError(problems)


def _against(directory: Directory, message: Message, signs_as: str) -> Iterator[InvalidFieldError]:
    if message.issuer != signs_as:
        yield InvalidFieldError("issuer", f"is not {signs_as}", "who signs a message is its issuer")
    issuer = directory.get(message.issuer)
    if issuer is None or issuer.is_service:
        yield InvalidFieldError("issuer", "is not in the directory", _ENTERED)
    owner = directory.get(message.owner)
    if owner is None or owner.is_service:
        yield InvalidFieldError("owner", "is not in the directory", _ENTERED)
    elif message.region is not owner.case_region:
        rule = "a case lives in its owner's home region, an entity's in global"
        yield InvalidFieldError("region", f"is not {owner.case_region}", rule)
    for field in ("bureaus", "exclusions"):
        for at, code in enumerate(getattr(message.circulation, field)):
            bureau = directory.get(code)
            if bureau is None or bureau.is_service:
                yield InvalidFieldError(f"circulation.{field}[{at}]", f"{code} is not in the directory", _ENTERED)
    if message.event in _NEEDS_AUDIENCE and not audience(message, directory):
        yield InvalidFieldError(
            "circulation", "leaves nobody", "somebody besides the owner is addressed and not excluded (RPD article 58)"
        )


def audience(message: Message, directory: Directory) -> frozenset[str]:
    """Return whom the circulation addresses and does not exclude, besides the owner, who gets a copy anyway."""
    circulation = message.circulation
    match circulation.scope:
        case Scope.ALL:
            addressed = directory.members()
        case Scope.REGIONS:
            addressed = frozenset(
                bureau.code
                for bureau in directory.bureaus()
                if bureau.is_member and bureau.region in circulation.regions
            )
        case _:
            addressed = frozenset(code for code in circulation.bureaus if code in directory)
    return addressed - set(circulation.exclusions) - {message.owner}
