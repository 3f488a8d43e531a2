"""What a file may leave out of a message, and what it is then: ids, times, and whatever follows from the rest.

Pure: the time, the directory and new ids are handed in. What is stated stays, right or wrong; the rules judge it later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from broker.errors import InvalidFieldError, InvalidMessageError
from broker.members.directory import SECRETARIAT, Directory
from broker.model.base import new_message_id
from broker.model.message import Event
from broker.model.naming import MessageClass, NoticeNumber

SECRETARIATS_EVENTS = frozenset(
    {Event.PUBLISHED, Event.REFUSED, Event.SUSPENDED, Event.REINSTATED, Event.CANCELLED, Event.EXPIRED}
)
"""What the Secretariat says, and a notice's revision; the rest is the owner's (design section 2)."""

FIRST_REVISION = {Event.REQUESTED: 0, Event.REFUSED: 0, Event.PUBLISHED: 1, Event.SENT: 1}
"""Events that have only one possible revision. The others continue what a file does not know, so they state it."""


def complete(
    content: Mapping[str, Any],
    *,
    directory: Directory,
    now: datetime,
    new_id: Callable[[], UUID] = new_message_id,
) -> dict[str, Any]:
    """Return a message's data with what was left out: id, time of issue, owner, issuer, region, revision.

    Raises:
        InvalidMessageError: something that cannot be derived is missing or unknown; every such field is named.
    """
    filled = {name: value for name, value in content.items() if value is not None}
    problems: list[InvalidFieldError] = []
    filled.setdefault("message_id", new_id())
    filled.setdefault("issued_at", now)
    number = _number(filled, problems)
    event = _event(filled, problems)
    if number is not None:
        filled.setdefault("owner", number.owner)
    if event is not None:
        _fill_revision(filled, event, problems)
        if number is not None:
            filled.setdefault("issuer", issuer_of(event, number))
    if "region" not in filled and "owner" in filled:
        _fill_region(filled, directory, problems)
    if problems:
        raise InvalidMessageError(problems)
    return filled


def issuer_of(event: Event, number: NoticeNumber) -> str:
    """Return who says this of a notice or a diffusion; the owner, where nobody may (the rules refuse that)."""
    if event in SECRETARIATS_EVENTS or (event is Event.REVISED and number.message_class is MessageClass.NOTICE):
        return SECRETARIAT
    return number.owner


def _number(filled: Mapping[str, Any], problems: list[InvalidFieldError]) -> NoticeNumber | None:
    number = filled.get("number")
    if not isinstance(number, str):
        problems.append(
            InvalidFieldError(
                "number",
                "is missing" if number is None else "is not text",
                "<owner>-<n or d>-<year>-<six digits>, as in zw-n-2026-000123",
            )
        )
        return None
    try:
        return NoticeNumber.parse(number)
    except InvalidFieldError as error:
        problems.append(error)
        return None


def _event(filled: Mapping[str, Any], problems: list[InvalidFieldError]) -> Event | None:
    try:
        return Event(filled.get("event", ""))
    except ValueError:
        known = ", ".join(event for event in Event if event is not Event.UNKNOWN)
        problems.append(InvalidFieldError("event", "is missing or unknown", f"one of {known}"))
        return None


def _fill_revision(filled: dict[str, Any], event: Event, problems: list[InvalidFieldError]) -> None:
    if "revision" in filled:
        return
    if event in FIRST_REVISION:
        filled["revision"] = FIRST_REVISION[event]
        return
    rule = "one more than the last" if event is Event.REVISED else "the one that the notice is at"
    problems.append(InvalidFieldError("revision", "is missing", f"{rule}: a file cannot know it, so it says so"))


def _fill_region(filled: dict[str, Any], directory: Directory, problems: list[InvalidFieldError]) -> None:
    owner = filled["owner"]
    bureau = directory.get(owner) if isinstance(owner, str) else None
    if bureau is None:
        problems.append(InvalidFieldError("owner", "is not in the directory", "a bureau or an entity of INTERPOL"))
    else:
        filled["region"] = bureau.case_region
