"""The rules of the domain that a message must keep, over and above its shape.

The producer runs them at the door, the router on the feed. Readers do not: what was valid five years ago stays
readable.

Two tables: `ALWAYS` holds for every event. `IN_FORCE` holds only where an event puts or keeps a message in force; an
end or a suspension must never be refused for what its notice lacks, because that may be the very reason for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from typing import Any, get_args

import pycountry

from broker.errors import InvalidFieldError, InvalidMessageError
from broker.model.base import UNKNOWN, Model
from broker.model.circulation import Scope
from broker.model.content import COUNTRY, Attachment, HandlingCode
from broker.model.dates import years_later
from broker.model.diffusion import Diffusion, DiffusionKind
from broker.model.message import ENDS, Classification, Event, Message
from broker.model.minimum import MINIMUM
from broker.model.naming import MessageClass, Region
from broker.model.notice import Notice, NoticeType
from broker.model.offences import OFFENCES

RETENTION_YEARS_MAX = 5
"""RPD articles 49-51: then a reason to keep it is given anew, or it is deleted."""

CLOCK_TOLERANCE = timedelta(days=1)
"""How far ahead of us a date may lie: somewhere it is tomorrow already."""

ENTITIES_OF_TWO_LETTERS = frozenset({"eu", "un"})
"""The European Union and the United Nations: the only codes of two letters that are no country's (`entities.csv`)."""


class Rule(StrEnum):
    """What a refusal quotes: the rule and its source; what each type must hold is in `broker.model.minimum`."""

    KNOWN_VALUE = "only the values of this version of the format"
    COUNTRY = "an ISO 3166-1 alpha-2 code, or a user-assigned one (AA, QM-QZ, XA-XZ, ZZ)"
    NUMBER = "the notice number names the owner, with n for a notice and d for a diffusion (design section 1)"
    EVENT = "requested, refused and published are a notice's events, sent is a diffusion's (design section 2)"
    REVISION = "requested and refused are revision 0, published and sent 1, revised 2 or more (design section 2)"
    REASON = "who refuses, suspends, reinstates or ends says why (RPD article 81; domain section 4)"
    SCOPE = "all names nobody, regions names regions only, bureaus names bureaus only (design section 2)"
    AUDIENCE = "a circulation reaches somebody (design section 2; RPD article 58)"
    NOT_WANTED = "a victim or a witness is never the subject of a wanted message (domain section 6, victim rule 2)"
    VICTIM_CLASSIFICATION = "at least RESTRICTED for a victim or a witness (domain section 6, victim rule 4)"
    VICTIM_PUBLIC = "never public for a victim or a witness, save a cleared yellow notice (domain section 6, rule 4)"
    VICTIM_COUNTRY = (
        "a country suspected of complicity is excluded, never addressed with all (domain section 6, rule 5)"
    )
    VICTIM_CONTACT = "a message about a victim or a witness says whom to call (domain section 6, victim rule 7)"
    PUBLIC_CONSENT = "what is for police only has no public extract (RPD article 61)"
    SILVER_PUBLIC = "no extract of a silver notice is public (domain section 2: the pilot of 2025)"
    PART = "the part named by the subject's kind describes it (design section 3)"
    OFFENCE = "a category of the catalogue of offences, all of them ordinary-law crimes (Constitution, article 3)"
    POSSIBLE_DATE = "nobody is born after the event, and no event lies ahead of its message"
    TEXT = "a title and a body, once in at least one language: en, fr, es or ar"
    RETENTION = "kept at most five years from issue, then renewed or deleted (RPD articles 49-51)"
    EXTRACT = "an extract is too little to ask for an arrest (domain section 8; docs/decisions/0013)"
    DIGEST = "size and SHA-256 are those of the content (design section 3)"


Problems = Iterator[InvalidFieldError]

_IN_FORCE = frozenset({Event.REQUESTED, Event.PUBLISHED, Event.SENT, Event.REVISED, Event.REINSTATED})
_NOTICE_ONLY = frozenset({Event.REQUESTED, Event.REFUSED, Event.PUBLISHED})
_NEEDS_REASON = ENDS | {Event.REFUSED, Event.SUSPENDED, Event.REINSTATED}


def check(message: Message, *, today: date | None = None) -> None:
    """Hold a message against every rule.

    Args:
        message: of good shape.
        today: if given, the message may not be dated after it, nor be in force once its retention has passed.

    Raises:
        InvalidMessageError: names every field that breaks a rule.
    """
    found = [problem for rule in ALWAYS for problem in rule(message)]
    if message.event in _IN_FORCE:
        found += [problem for rule in IN_FORCE for problem in rule(message)]
    if today is not None:
        found += _on_the_day(message, today)
    if found:
        raise InvalidMessageError(found)


def check_attachment(attachment: Attachment, content: bytes, field: str = "attachment") -> None:
    """Hold an attachment against its content, in clear.

    Raises:
        InvalidFieldError: the size or the digest differs.
    """
    if len(content) != attachment.size_bytes:
        raise InvalidFieldError(f"{field}.size_bytes", f"the content has {len(content)} bytes", Rule.DIGEST)
    if hashlib.sha256(content).digest() != attachment.sha256:
        raise InvalidFieldError(f"{field}.sha256", "is not the SHA-256 of the content", Rule.DIGEST)


def _values(message: Message) -> Problems:
    """No default symbol of an enum, and no country that there is not."""
    for path, value, is_country in _leaves(message, ""):
        if is_country:
            if value not in country_codes():
                yield InvalidFieldError(path, "is not a country", Rule.COUNTRY)
        elif value == UNKNOWN:
            yield InvalidFieldError(path, "is unknown", Rule.KNOWN_VALUE)
    circulation = message.circulation
    named = (
        ("owner", (message.owner,)),
        ("issuer", (message.issuer,)),
        ("circulation.bureaus", circulation.bureaus),
        ("circulation.exclusions", circulation.exclusions),
    )
    for path, codes in named:
        countries = {code.upper() for code in codes if len(code) == 2 and code not in ENTITIES_OF_TWO_LETTERS}  # noqa: PLR2004 - alpha-2
        if not countries <= country_codes():
            yield InvalidFieldError(path, "names a country that there is not", Rule.COUNTRY)


def _number(message: Message) -> Problems:
    """The number agrees with the owner and with the message's class."""
    try:
        number = message.parsed_number
    except InvalidFieldError as error:
        yield error
        return
    if number.owner != message.owner:
        yield InvalidFieldError("number", "does not begin with the owner's code", Rule.NUMBER)
    expected = MessageClass.NOTICE if isinstance(message, Notice) else MessageClass.DIFFUSION
    if number.message_class is not expected:
        yield InvalidFieldError("number", f"is not a {type(message).__name__.lower()}'s", Rule.NUMBER)


def _event(message: Message) -> Problems:
    """The event fits the class, the revision fits the event, and a reason is given where one is due."""
    event, revision = message.event, message.revision
    if (isinstance(message, Diffusion) and event in _NOTICE_ONLY) or (
        isinstance(message, Notice) and event is Event.SENT
    ):
        yield InvalidFieldError("event", f"{event} is not an event of a {type(message).__name__.lower()}", Rule.EVENT)
    withdrawn_request = event is Event.WITHDRAWN and isinstance(message, Notice)
    exact = {Event.REQUESTED: 0, Event.REFUSED: 0, Event.PUBLISHED: 1, Event.SENT: 1}.get(event)
    least = 2 if event is Event.REVISED else 0 if withdrawn_request else 1
    if (exact is not None and revision != exact) or (exact is None and revision < least):
        yield InvalidFieldError("revision", f"{revision} does not fit {event}", Rule.REVISION)
    if event in _NEEDS_REASON and message.reason is None:
        yield InvalidFieldError("reason", "is missing", Rule.REASON)


def _circulation(message: Message) -> Problems:
    """The scope says which names belong, and somebody is left when the exclusions are taken away."""
    circulation = message.circulation
    for field, scope in (("regions", Scope.REGIONS), ("bureaus", Scope.BUREAUS)):
        names = getattr(circulation, field)
        if circulation.scope is scope and not names:
            yield InvalidFieldError(f"circulation.{field}", "is empty: nobody is addressed", Rule.AUDIENCE)
        if circulation.scope is not scope and names:
            yield InvalidFieldError(f"circulation.{field}", f"does not go with {circulation.scope}", Rule.SCOPE)
    if circulation.scope is Scope.REGIONS and Region.GLOBAL in circulation.regions:
        yield InvalidFieldError("circulation.regions", "no member country is at home in global", Rule.AUDIENCE)
    if circulation.scope is Scope.BUREAUS and circulation.bureaus:  # noqa: SIM102 - the condition, then the rule
        if set(circulation.bureaus) <= set(circulation.exclusions):
            yield InvalidFieldError("circulation.exclusions", "exclude every recipient", Rule.AUDIENCE)


def _victims(message: Message) -> Problems:
    """A victim or a witness is protected, whatever the event."""
    for at, country in enumerate(message.risk_countries):
        if country.lower() not in message.circulation.exclusions:
            yield InvalidFieldError(f"risk_countries[{at}]", "is not among the exclusions", Rule.VICTIM_COUNTRY)
    if message.risk_countries and message.circulation.scope is Scope.ALL:
        yield InvalidFieldError("circulation.scope", "is all, though a country is a risk", Rule.VICTIM_COUNTRY)
    if not message.is_victim_or_witness:
        return
    if is_wanted(message):
        yield InvalidFieldError("subject.role", "is a victim or a witness, in a wanted message", Rule.NOT_WANTED)
    if message.classification is Classification.FOR_OFFICIAL_USE_ONLY:
        yield InvalidFieldError("classification", "is too low", Rule.VICTIM_CLASSIFICATION)
    is_yellow = isinstance(message, Notice) and message.type is NoticeType.YELLOW
    if message.public_extract and not is_yellow:
        yield InvalidFieldError("public_extract", "is consented to", Rule.VICTIM_PUBLIC)


def _never_public(message: Message) -> Problems:
    """Consent to a public extract contradicts *police only*, and the silver pilot."""
    if message.public_extract and message.wire_type == NoticeType.SILVER:
        yield InvalidFieldError("public_extract", "is consented to", Rule.SILVER_PUBLIC)
    if message.public_extract and HandlingCode.POLICE_ONLY in message.handling_codes:
        yield InvalidFieldError("public_extract", "contradicts police_only", Rule.PUBLIC_CONSENT)


def _retention(message: Message) -> Problems:
    """At most five years from issue."""
    until, issued_on = message.retained_until, message.issued_at.date()
    if until is not None and until > years_later(issued_on, RETENTION_YEARS_MAX):
        yield InvalidFieldError("retained_until", "is more than five years after issue", Rule.RETENTION)
    if until is not None and until < issued_on and message.event in _IN_FORCE:
        yield InvalidFieldError("retained_until", "is before issue", Rule.RETENTION)


def _minimum(message: Message) -> Problems:
    """What the type or kind needs is there, and the part that describes the subject."""
    kind = message.subject.kind
    if kind != UNKNOWN and not getattr(message.subject, kind.value):
        yield InvalidFieldError(f"subject.{kind}", "is missing", Rule.PART)
    for at, asset in enumerate(message.subject.assets):
        if asset.kind != UNKNOWN and getattr(asset, asset.kind.value) is None:
            yield InvalidFieldError(f"subject.assets[{at}].{asset.kind}", "is missing", Rule.PART)
    sort = message.type if isinstance(message, Notice) else message.kind if isinstance(message, Diffusion) else None
    for datum in MINIMUM.get(sort, ()) if sort is not None else ():
        if not datum.given(message):
            yield InvalidFieldError(datum.field, datum.problem, datum.rule)
    if message.is_victim_or_witness and not message.contacts:
        yield InvalidFieldError("contacts", "nobody is named", Rule.VICTIM_CONTACT)


def _offences(message: Message) -> Problems:
    """Every offence is a known category."""
    for at, code in enumerate(message.offences):
        if code not in OFFENCES:
            yield InvalidFieldError(f"offences[{at}]", f"{code} is not a category", Rule.OFFENCE)


def _dates(message: Message) -> Problems:
    """Nobody is born after the event, which does not lie ahead of the message."""
    happened, issued_on = message.happened, message.issued_at.date()
    earliest, latest = (happened, happened) if isinstance(happened, date) else (happened.earliest, happened.latest)
    if earliest - issued_on > CLOCK_TOLERANCE:
        yield InvalidFieldError("facts.happened", "is after the message was issued", Rule.POSSIBLE_DATE)
    subject = message.subject
    people = [("subject.person", subject.person)] if subject.person is not None else []
    if subject.group is not None:
        people += [(f"subject.group.members[{at}]", member) for at, member in enumerate(subject.group.members)]
    for path, person in people:
        if person.born is not None and person.born.earliest > latest:
            yield InvalidFieldError(f"{path}.born", "is after the event", Rule.POSSIBLE_DATE)


def _texts(message: Message) -> Problems:
    """It says something, once in each language."""
    languages = [text.language for text in message.texts]
    if not languages:
        yield InvalidFieldError("texts", "are missing", Rule.TEXT)
    if len(set(languages)) != len(languages):
        yield InvalidFieldError("texts", "hold a language twice", Rule.TEXT)


def _extracts(message: Message) -> Problems:
    """What was imported from an extract never asks for an arrest."""
    if message.is_extract and is_wanted(message):
        yield InvalidFieldError("attachments", "hold an extract, in a wanted message", Rule.EXTRACT)


def _on_the_day(message: Message, today: date) -> Problems:
    """Neither dated ahead, nor in force beyond its retention."""
    if message.issued_at.date() - today > CLOCK_TOLERANCE:
        yield InvalidFieldError("issued_at", "lies ahead", Rule.POSSIBLE_DATE)
    if message.event in _IN_FORCE and message.retained_until is not None and message.retained_until < today:
        yield InvalidFieldError("retained_until", "has passed", Rule.RETENTION)


ALWAYS: tuple[Callable[[Message], Problems], ...] = (
    _values,
    _number,
    _event,
    _circulation,
    _victims,
    _never_public,
    _retention,
)
"""Rules for every event."""

IN_FORCE: tuple[Callable[[Message], Problems], ...] = (_minimum, _offences, _dates, _texts, _extracts)
"""Rules for the events that put or keep a message in force."""


def is_wanted(message: Message) -> bool:
    """Return whether a message asks for an arrest."""
    if isinstance(message, Notice):
        return message.type is NoticeType.RED
    return isinstance(message, Diffusion) and message.kind is DiffusionKind.ARREST


@cache
def country_codes() -> frozenset[str]:
    """Return every country code that a message may hold, the user-assigned ones included."""
    assigned = {country.alpha_2 for country in pycountry.countries}
    q = {f"Q{letter}" for letter in "MNOPQRSTUVWXYZ"}
    x = {f"X{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    return frozenset(assigned | q | x | {"AA", "ZZ"})


def _leaves(model: Model, path: str) -> Iterator[tuple[str, Any, bool]]:
    """Yield path and value of every enum and every country in a model, and whether it is a country."""
    for name, is_country in _watched(type(model)):
        given = getattr(model, name)
        if given is None:
            continue
        where = f"{path}.{name}" if path else name
        several = isinstance(given, tuple)
        for at, value in enumerate(given) if several else ((0, given),):
            place = f"{where}[{at}]" if several else where
            if isinstance(value, Model):
                yield from _leaves(value, place)
            else:
                yield place, value, is_country


@cache
def _watched(model: type[Model]) -> tuple[tuple[str, bool], ...]:
    """Return the fields that hold enums, countries or models, and whether it is countries."""
    found = []
    for name, field in model.model_fields.items():
        mentioned = list(_mentioned(field.annotation)) + list(field.metadata)
        is_country = any(isinstance(one, str) and one == COUNTRY for one in mentioned)
        classes = [one for one in mentioned if isinstance(one, type)]
        if is_country or any(issubclass(one, StrEnum | Model) for one in classes):
            found.append((name, is_country))
    return tuple(found)


def _mentioned(annotation: Any) -> Iterator[Any]:
    yield annotation
    for part in get_args(annotation):
        yield from _mentioned(part)
