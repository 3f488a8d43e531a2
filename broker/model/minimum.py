"""The least that a message of each notice type and diffusion kind must hold, as one table (domain sections 2 and 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from broker.model.asset import Asset, AssetKind
from broker.model.content import AttachmentKind, Judicial
from broker.model.diffusion import DiffusionKind
from broker.model.message import Message
from broker.model.notice import Notice, NoticeType
from broker.model.subject import Person, SubjectKind, SubjectRole


class Datum(NamedTuple):
    """Something that a message of a type must hold."""

    field: str
    """Where it belongs."""
    given: Callable[[Message], object]
    """Whether it is there, as truth."""
    problem: str
    rule: str
    """The rule with its source."""


RED_MAXIMUM_MONTHS = 24
"""RPD article 83: an offence for which the law threatens at least two years ..."""
RED_SENTENCE_MONTHS = 6
"""... or a sentence of at least six months, imposed or left."""

_PHOTOGRAPH = AttachmentKind.PHOTOGRAPH
_BIOMETRICS = frozenset({AttachmentKind.PHOTOGRAPH, AttachmentKind.FINGERPRINTS, AttachmentKind.DNA})
_NOBODY = Person()
_NO_JUSTICE = Judicial()


def _person(message: Message) -> Person:
    return message.subject.person or _NOBODY


def _judicial(message: Message) -> Judicial:
    return message.judicial or _NO_JUSTICE


def _attached(message: Message, kinds: frozenset[AttachmentKind]) -> bool:
    return any(attachment.kind in kinds for attachment in message.attachments)


def _photo_with_more(message: Message) -> bool:
    """A good photograph identifies too, together with an alias, a parent's name or any other datum."""
    person = _person(message)
    more = (person.name, person.aliases, person.father, person.mother, person.born, person.description)
    return _attached(message, frozenset({_PHOTOGRAPH})) and any(more)


def _identified_by_more(message: Message) -> bool:
    person = _person(message)
    return bool(person.description or person.documents) or _attached(message, _BIOMETRICS - {_PHOTOGRAPH})


def _somehow_known(message: Message) -> object:
    person = _person(message)
    body, group = message.subject.body, message.subject.group
    known = (person.name, person.aliases, person.documents, person.description, body and body.description, group)
    return any(known) or _attached(message, _BIOMETRICS)


def _warrant_in_force(message: Message) -> bool:
    day = message.issued_at.date()
    return any(
        warrant.issued_on <= day and (warrant.valid_until is None or day <= warrant.valid_until)
        for warrant in _judicial(message).warrants
    )


def _penalty_is_enough(message: Message) -> bool:
    justice = _judicial(message)
    if justice.maximum_penalty is not None and justice.maximum_penalty.reaches(RED_MAXIMUM_MONTHS):
        return True
    return any(
        penalty is not None and penalty.reaches(RED_SENTENCE_MONTHS)
        for penalty in (justice.sentence, justice.remainder)
    )


def _kinds(rule: str, *kinds: SubjectKind) -> Datum:
    names = ", ".join(kinds)
    return Datum("subject.kind", lambda message: message.subject.kind in kinds, f"is none of {names}", rule)


def _roles(rule: str, *roles: SubjectRole) -> Datum:
    names = ", ".join(roles)
    return Datum("subject.role", lambda message: message.subject.role in roles, f"is none of {names}", rule)


def _summary(what: str, rule: str) -> Datum:
    return Datum("facts.summary", lambda m: m.facts and m.facts.summary, f"{what} are missing", rule)


def _identity(rule: str) -> tuple[Datum, ...]:
    """Return what *ID* means in domain section 2; a photograph with more stands for all of it."""
    rule += "; or a good photograph with more, such as an alias or parents' names"
    wanted: tuple[tuple[str, Callable[[Message], object], str], ...] = (
        (
            "subject.person.name.family",
            lambda m: (name := _person(m).name) and name.family,
            "the family name is missing",
        ),
        (
            "subject.person.name.forename",
            lambda m: (name := _person(m).name) and name.forename,
            "the forename is missing",
        ),
        ("subject.person.sex", lambda m: _person(m).sex, "the sex is missing"),
        ("subject.person.born", lambda m: _person(m).born, "the birth date is missing, of which the year is enough"),
        ("subject.person.description", _identified_by_more, "no description, fingerprints, DNA or document"),
    )
    return tuple(
        Datum(field, lambda m, given=given: given(m) or _photo_with_more(m), problem, rule)  # type: ignore[misc]
        for field, given, problem in wanted
    )


def _offences(rule: str) -> Datum:
    return Datum("offences", lambda m: m.offences, "no offence is given", rule)


_RED = "a red notice states identity, facts, charge, law, penalty and a valid warrant (RPD articles 82-84)"
_RED_PENALTY = "a maximum of at least two years, or at least six months imposed or left (RPD article 83)"
_BLUE = "a blue notice says who, the facts, and what is asked (RPD article 88)"
_GREEN = "a green notice states identity, the police's assessment and the offences (RPD article 89)"
_YELLOW = (
    "a yellow notice states identity or shows a photograph, and the circumstances, as police recorded (RPD article 90)"
)
_BLACK = "a black notice states place and date of a recorded find, with photograph, prints or DNA (RPD article 91)"
_PURPLE = "a purple notice describes a modus operandi, an object or a concealment (RPD article 92)"
_ORANGE = "an orange notice says what threatens, where, when, and how reliable that is (RPD article 93)"
_SPECIAL = "a special notice is about whom the UN Security Council lists, with reference and measures (RPD article 95)"
_ARREST = "a wanted diffusion states name, facts, offence, charge and a valid warrant (RPD articles 97-101; our choice)"
_DIFFUSION = "a diffusion says whom or what it is about, and what is asked (RPD articles 97-101; our choice)"

_SILVER = (
    "a silver notice or diffusion names a person, an offence, and property, vehicle, vessel, account or company "
    "(domain section 2: the pilot of 2025)"
)

_WANTED = (SubjectRole.WANTED, SubjectRole.CHARGED, SubjectRole.CONVICTED)
_LOST = (SubjectRole.MISSING, SubjectRole.VICTIM, SubjectRole.UNIDENTIFIED)
_DESCRIBED_BY_TEXT = (SubjectKind.MODUS_OPERANDI, SubjectKind.OBJECT, SubjectKind.VEHICLE, SubjectKind.DOCUMENT)


def _purple_description(message: Message) -> object:
    subject = message.subject
    parts = (subject.modus_operandi, subject.object, subject.vehicle)
    return any(part is not None and part.description for part in parts) or subject.document


def _danger_explained(message: Message) -> object:
    return message.assessment or message.subject.threat or message.subject.modus_operandi


def _can_be_found(asset: Asset) -> bool:
    """Something in it leads to the thing: a number in a register, a name, a place."""
    place, vehicle, vessel, account = asset.property, asset.vehicle, asset.vessel, asset.account
    match asset.kind:
        case AssetKind.PROPERTY:
            return place is not None and bool(place.reference or place.address)
        case AssetKind.VEHICLE:
            return vehicle is not None and bool(vehicle.vin or vehicle.plate)
        case AssetKind.VESSEL:
            return vessel is not None and bool(vessel.imo_number or vessel.registration or vessel.name)
        case AssetKind.ACCOUNT:
            return account is not None and bool(account.number or account.institution)
        case AssetKind.COMPANY:
            return asset.company is not None
        case AssetKind.UNKNOWN:
            return False


_SILVER_MINIMUM = (
    _kinds(_SILVER, SubjectKind.PERSON, SubjectKind.ASSETS),
    Datum("subject.person.name", lambda m: _person(m).name, "the name of the person is missing", _SILVER),
    Datum("subject.assets", lambda m: m.subject.assets, "no asset is given", _SILVER),
    Datum(
        "subject.assets",
        lambda m: all(map(_can_be_found, m.subject.assets)),
        "one of them has no number, name or place that leads to it",
        _SILVER,
    ),
    _offences(_SILVER),
)


MINIMUM: dict[NoticeType | DiffusionKind, tuple[Datum, ...]] = {
    NoticeType.RED: (
        _kinds(_RED, SubjectKind.PERSON),
        _roles(_RED, *_WANTED),
        *_identity(_RED),
        _summary("the facts", _RED),
        Datum("facts.place", lambda m: m.facts and m.facts.place, "the place of the facts is missing", _RED),
        Datum("facts.happened", lambda m: m.facts and m.facts.happened, "the time of the facts is missing", _RED),
        _offences(_RED),
        Datum("judicial.charges", lambda m: _judicial(m).charges, "the charge is missing", _RED),
        Datum("judicial.law", lambda m: _judicial(m).law, "the law is missing", _RED),
        Datum("judicial.maximum_penalty", _penalty_is_enough, "no penalty is given that is high enough", _RED_PENALTY),
        Datum("judicial.warrants", _warrant_in_force, "no warrant is given that is valid on the day of issue", _RED),
        Datum(
            "judicial.extradition_will_be_sought",
            lambda m: _judicial(m).extradition_will_be_sought,
            "extradition is not going to be sought",
            "a red notice asks for arrest in order to extradite (RPD article 84)",
        ),
    ),
    NoticeType.BLUE: (
        _kinds(_BLUE, SubjectKind.PERSON, SubjectKind.GROUP),
        _roles(
            _BLUE,
            SubjectRole.CONVICTED,
            SubjectRole.CHARGED,
            SubjectRole.SUSPECT,
            SubjectRole.WITNESS,
            SubjectRole.VICTIM,
        ),
        Datum("subject.person", _somehow_known, "nothing says who it is", _BLUE),
        _summary("the facts", _BLUE),
        Datum("asked", lambda m: m.asked, "nothing says what is asked", _BLUE),
    ),
    NoticeType.GREEN: (
        _kinds(_GREEN, SubjectKind.PERSON),
        _roles(_GREEN, SubjectRole.CONVICTED, SubjectRole.CHARGED, SubjectRole.SUSPECT, SubjectRole.POSSIBLE_THREAT),
        *_identity(_GREEN),
        Datum("assessment", lambda m: m.assessment, "the police's assessment is missing", _GREEN),
        _offences(_GREEN),
    ),
    NoticeType.YELLOW: (
        _kinds(_YELLOW, SubjectKind.PERSON),
        _roles(_YELLOW, *_LOST),
        *(
            datum._replace(given=lambda m, given=datum.given: given(m) or _attached(m, frozenset({_PHOTOGRAPH})))  # type: ignore[misc]
            for datum in _identity(_YELLOW)
        ),
        _summary("the circumstances", _YELLOW),
        Datum(
            "facts.police_reference",
            lambda m: m.facts and m.facts.police_reference,
            "no reference says that police recorded it",
            _YELLOW,
        ),
    ),
    NoticeType.BLACK: (
        _kinds(_BLACK, SubjectKind.BODY),
        _roles(_BLACK, SubjectRole.DECEASED, SubjectRole.UNIDENTIFIED),
        Datum("facts.place", lambda m: m.facts and m.facts.place, "the place of the find is missing", _BLACK),
        Datum("facts.happened", lambda m: m.facts and m.facts.happened, "the date of the find is missing", _BLACK),
        Datum(
            "facts.police_reference",
            lambda m: m.facts and m.facts.police_reference,
            "no reference says that police recorded the find",
            _BLACK,
        ),
        Datum("attachments", lambda m: _attached(m, _BIOMETRICS), "no photograph, fingerprints or DNA", _BLACK),
    ),
    NoticeType.PURPLE: (
        _kinds(_PURPLE, *_DESCRIBED_BY_TEXT),
        Datum("subject", _purple_description, "the description is missing", _PURPLE),
    ),
    NoticeType.ORANGE: (
        _kinds(_ORANGE, SubjectKind.THREAT),
        Datum("subject.threat.place", lambda m: (t := m.subject.threat) and t.place, "where is missing", _ORANGE),
        Datum("subject.threat.expected", lambda m: (t := m.subject.threat) and t.expected, "when is missing", _ORANGE),
        Datum(
            "subject.threat.reliability",
            lambda m: (t := m.subject.threat) and t.reliability,
            "how reliable it is, is missing",
            _ORANGE,
        ),
    ),
    NoticeType.SPECIAL: (
        _kinds(_SPECIAL, SubjectKind.PERSON, SubjectKind.ORGANISATION),
        *(
            datum._replace(given=lambda m, given=datum.given: given(m) or m.subject.organisation)  # type: ignore[misc]
            for datum in _identity(_SPECIAL)
        ),
        Datum("listing", lambda m: isinstance(m, Notice) and m.listing, "the UN list's reference is missing", _SPECIAL),
        Datum(
            "listing.measures",
            lambda m: isinstance(m, Notice) and m.listing and m.listing.measures,
            "no measure is given",
            _SPECIAL,
        ),
    ),
    NoticeType.SILVER: _SILVER_MINIMUM,
    DiffusionKind.SILVER: _SILVER_MINIMUM,
    DiffusionKind.ARREST: (
        _kinds(_ARREST, SubjectKind.PERSON),
        _roles(_ARREST, *_WANTED, SubjectRole.SUSPECT),
        Datum("subject.person.name", lambda m: _person(m).name, "the name is missing", _ARREST),
        _summary("the facts", _ARREST),
        _offences(_ARREST),
        Datum("judicial.charges", lambda m: _judicial(m).charges, "the charge is missing", _ARREST),
        Datum("judicial.warrants", _warrant_in_force, "no warrant is given that is valid on the day of issue", _ARREST),
    ),
    DiffusionKind.LOCATE: (
        _kinds(_DIFFUSION, SubjectKind.PERSON, SubjectKind.GROUP),
        Datum("subject.person", _somehow_known, "nothing says who it is", _DIFFUSION),
        _summary("the facts", _DIFFUSION),
    ),
    DiffusionKind.INFORMATION: (Datum("asked", lambda m: m.asked, "nothing says what is asked", _DIFFUSION),),
    DiffusionKind.IDENTIFICATION: (
        _kinds(_DIFFUSION, SubjectKind.PERSON, SubjectKind.BODY),
        Datum("attachments", lambda m: _attached(m, _BIOMETRICS), "no photograph, fingerprints or DNA", _DIFFUSION),
    ),
    DiffusionKind.WARNING: (
        Datum("assessment", _danger_explained, "no assessment, threat or modus operandi is given", _DIFFUSION),
    ),
    DiffusionKind.MISSING: (
        _kinds(_DIFFUSION, SubjectKind.PERSON),
        _roles(_DIFFUSION, *_LOST),
        Datum("subject.person", _somehow_known, "nothing says who it is", _DIFFUSION),
        _summary("the circumstances", _DIFFUSION),
    ),
}
"""What each type and kind must hold while it is in force."""
