"""The JSON of the public notices service: what it shows of red, yellow and UN notices (domain section 8).

**What an import is.** The public service shows an extract, to which a red notice's law, penalty, facts and warrant
numbers are missing. So an import is never a notice, and never asks for an arrest: it becomes an `information` diffusion
of the bureau that imports it, to be asked about before anybody acts (`ask_before_action`, `no_administrative_use`). It
says so in words, and for programs by an attachment of the media type `EXTRACT_MEDIA_TYPE`, whose `uri` is where the
extract came from, whose caption is `public-notices/<colour>/<entity_id>`, and whose digest is that of the JSON that was
read. The rules refuse such a mark on whatever asks for an arrest (docs/decisions/0013).

**What is taken over** is what the message has a place for; everything else is named, with the reason. Photographs are
not fetched.

**Numbers.** `2021/12345` becomes `<owner>-d-2021-012345`.

The shape of red notices is documented; the names that only yellow and UN notices have are from public programs that
read the service, unchecked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from broker.errors import InvalidFieldError, RefusedError
from broker.model.content import EXTRACT_MEDIA_TYPE
from broker.model.naming import MessageClass, NoticeNumber
from broker.model.rules import country_codes
from producers.files import Entry
from producers.importers.codes import EYES, HAIR
from producers.importers.fields import FEW_MAX, PROSE_CHARS_MAX, Fields, LeftOut, language

SOURCE = "public-notices"


class Colour(StrEnum):
    """What the service shows extracts of."""

    RED = "red"
    YELLOW = "yellow"
    UN = "un"
    """Special notices: whom the UN Security Council lists."""


_SEXES = {code: code for code in "FMU"}
_ROLES = {Colour.RED: "wanted", Colour.YELLOW: "missing", Colour.UN: None}

_ENTITY_ID = re.compile(r"(?P<year>(?:19|20|21)[0-9]{2})[/-](?P<serial>[0-9]{1,6})")
_URL_CHARS_MAX = 1000
_UNDER_TITLE = (
    "This is not a notice, and no basis for an arrest, a refusal of entry or any other measure. The public notices"
    " service shows less than a notice holds. Ask the General Secretariat, or the bureau whose notice it is, first."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """One notice as the public service shows it, as far as a message has room for it.

    Attributes:
        colour: of what it is an extract.
        entity_id: the service's own number, `2021/12345`.
        data: the message's, without what follows from who imports it and when.
        left: what is not taken over.
    """

    colour: Colour
    entity_id: str
    data: dict[str, Any]
    left: tuple[LeftOut, ...]

    def number(self, owner: str) -> NoticeNumber:
        """Return the notice number that it has as a diffusion of a bureau."""
        found = _ENTITY_ID.fullmatch(self.entity_id)
        assert found is not None  # noqa: S101 - `read_extract` has seen to it
        return NoticeNumber(owner, MessageClass.DIFFUSION, int(found["year"]), int(found["serial"]))


class Found(NamedTuple):
    """One notice of a file: its place, and the object or why there is none; of which colour its list says it is."""

    place: str
    content: Mapping[str, Any] | RefusedError
    colour: Colour | None = None


def notices_in(entry: Entry) -> Iterator[Found]:
    """Yield the notices of an entry: itself, or those of a list (`_embedded.notices`)."""
    if isinstance(entry.content, RefusedError):
        yield Found(entry.place, entry.content)
        return
    embedded = entry.content.get("_embedded")
    listed = embedded.get("notices") if isinstance(embedded, Mapping) else None
    if listed is None:
        yield Found(entry.place, entry.content)
        return
    if not isinstance(listed, list):
        problem = InvalidFieldError("_embedded.notices", "is not a list", "a list of notices")
        yield Found(entry.place, problem)
        return
    colour = _colour_in(_href(entry.content))
    for at, content in enumerate(listed):
        place = f"{entry.place}.notices[{at}]"
        if isinstance(content, Mapping):
            yield Found(place, content, colour)
        else:
            yield Found(place, InvalidFieldError("notice", "is not an object", "an object for each notice"))


def list_total(entry: Entry) -> tuple[int, int] | None:
    """Return how many notices a list says there are and how many it holds, where it is but a page of them."""
    if isinstance(entry.content, RefusedError):
        return None
    total, holds = entry.content.get("total"), sum(1 for _ in notices_in(entry))
    return (total, holds) if type(total) is int and total > holds else None


def read_extract(content: Mapping[str, Any], *, colour: Colour | None = None) -> Extract:
    """Read one notice of the public service.

    Args:
        content: the JSON object.
        colour: which it is, where it does not say so itself.

    Raises:
        InvalidFieldError: it has no number to know it by, or nothing says of which colour it is.
    """
    fields = Fields(content)
    entity_id = fields.text("entity_id")
    if entity_id is None or _ENTITY_ID.fullmatch(entity_id) is None:
        problem = "is missing" if content.get("entity_id") is None else "is not <year>/<up to six digits>"
        raise InvalidFieldError("entity_id", problem, "the service's own number, as in 2021/12345")
    entity_id = entity_id.replace("-", "/")  # as addresses write it
    which = _colour(fields, content, colour)
    url = _href(content)
    data: dict[str, Any] = {
        "kind": "information",
        "event": "sent",
        "subject": _subject(fields, which, is_entity=url is not None and "/entities/" in url),
        "handling_codes": ["ask_before_action", "no_administrative_use"],
        "asked": ["background"],
        "judicial": _judicial(fields, said := []),
        "facts": _facts(fields),
        "attachments": [_mark(content, which, entity_id, url)],
    }
    if (reference := fields.text("un_reference")) is not None:
        said.append(f"Listed by the UN Security Council as {reference}.")
    title = f"Extract of a public {'UN special' if which is Colour.UN else which} notice: {entity_id}"
    data["texts"] = [{"language": "en", "title": title, "body": "\n".join([_UNDER_TITLE, *said])}]
    _links(fields)
    fields.leave_the_rest("is not known to this importer")
    return Extract(
        colour=which,
        entity_id=entity_id,
        data={name: value for name, value in data.items() if value is not None},
        left=tuple(sorted(set(fields.left), key=lambda left: left.path)),
    )


def _colour(fields: Fields, content: Mapping[str, Any], told: Colour | None) -> Colour:
    said = _colour_in(_href(content))
    if said is not None and told is not None and said is not told:
        raise InvalidFieldError("_links.self.href", f"is a {said} notice's, not a {told} one's", "one colour a notice")
    telling = {"arrest_warrants": Colour.RED, "date_of_event": Colour.YELLOW, "un_reference": Colour.UN}
    by_field = next((colour for name, colour in telling.items() if fields.content.get(name)), None)
    found = said or told or by_field
    if found is None:
        rule = "_links.self.href has /red/, /yellow/ or /un/ in it; or say --colour"
        raise InvalidFieldError("_links.self.href", "does not say of which colour it is", rule)
    return found


def _colour_in(url: str | None) -> Colour | None:
    parts = urlsplit(url).path.split("/") if url is not None else []
    return next((colour for colour in Colour if colour.value in parts), None)


def _href(content: Mapping[str, Any]) -> str | None:
    """Return where the service has it, if that is an address of the web that can be written down."""
    links = content.get("_links")
    own = links.get("self") if isinstance(links, Mapping) else None
    href = own.get("href") if isinstance(own, Mapping) else None
    if not isinstance(href, str) or not 0 < len(href) <= _URL_CHARS_MAX or not href.isascii() or " " in href:
        return None
    try:
        is_web = urlsplit(href).scheme in {"http", "https"} and bool(urlsplit(href).hostname)
    except ValueError:
        return None
    return href if is_web and href.isprintable() else None


def _mark(content: Mapping[str, Any], colour: Colour, entity_id: str, url: str | None) -> dict[str, Any]:
    """Return the attachment that says that this is an extract, of what, and from where."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()  # ASCII: half a surrogate pair, too
    return {
        "kind": "document",
        "media_type": EXTRACT_MEDIA_TYPE,
        "size_bytes": len(text),
        "sha256": sha256(text).hexdigest(),
        "uri": url or f"urn:noticewire:{SOURCE}:{colour}:{entity_id.replace('/', '-')}",
        "caption": f"{SOURCE}/{colour}/{entity_id}",
    }


def _subject(fields: Fields, colour: Colour, *, is_entity: bool) -> dict[str, Any]:
    if colour is Colour.UN and is_entity:
        name = fields.text("name")
        if name is None:
            raise InvalidFieldError("name", "is missing", "an organisation has a name")
        summary = fields.text("summary", PROSE_CHARS_MAX)
        aliases = [alias["family"] for alias in _aliases(fields) if "family" in alias]
        whole = _given(name=name, aliases=aliases, description=summary, country=fields.country("country"))
        return {"kind": "organisation", "organisation": whole}
    person = _given(
        name=_name(fields, "name", "forename"),
        name_at_birth=_name(fields, "birth_name", None),
        aliases=_aliases(fields),
        born=fields.date("date_of_birth"),
        birthplace=_given(country=fields.country("country_of_birth_id"), locality=fields.text("place_of_birth")),
        sex=_sex(fields),
        nationalities=[{"country": code} for code in fields.codes("nationalities", _country, "a country's code")],
        father=_name(fields, "father_name", "father_forename"),
        mother=_name(fields, "mother_name", "mother_forename"),
        description=_description(fields),
        languages=fields.codes("languages_spoken_ids", language, "a language's code of ISO 639-2"),
    )
    role = _ROLES[colour]
    return {"kind": "person", "person": person or {}, **({"role": role} if role is not None else {})}


def _name(fields: Fields, family: str, forename: str | None) -> dict[str, Any] | None:
    return _given(family=fields.text(family), forename=fields.text(forename) if forename is not None else None)


def _aliases(fields: Fields) -> list[dict[str, Any]]:
    found = []
    for one in fields.objects("aliases"):
        if (alias := _name(one, "name", "forename")) is not None:
            found.append(alias)
        one.leave_the_rest("is not known to this importer")
    return found


def _country(code: str) -> str | None:
    return code if code in country_codes() else None


def _sex(fields: Fields) -> str | None:
    return fields.one_of("sex_id", _SEXES.get, "one of F, M and U")


def _description(fields: Fields) -> dict[str, Any] | None:
    height = fields.number("height", 0.2, 2.8, "height in metres")
    weight = fields.number("weight", 1, 500, "weight in kilograms")
    marks = fields.text("distinguishing_marks", PROSE_CHARS_MAX)
    is_line = marks is not None and len(marks) <= 300  # noqa: PLR2004 - a `Line`
    return _given(
        height_cm=None if height is None else round(height * 100),
        weight_kg=None if weight is None else round(weight),
        eyes=fields.one_of("eyes_colors_id", EYES.get, "a known code of a colour"),
        hair=fields.one_of("hairs_id", HAIR.get, "a known code of hair"),
        distinguishing_marks=[marks] if is_line else None,
        remarks=None if is_line else marks,
    )


def _judicial(fields: Fields, said: list[str]) -> dict[str, Any] | None:
    """Return the charges; who issued the warrants is said in words, as a warrant without number and date is none."""
    charges = []
    for at, warrant in enumerate(fields.objects("arrest_warrants"), start=1):
        original = warrant.text("charge", PROSE_CHARS_MAX)
        translation = warrant.text("charge_translation", PROSE_CHARS_MAX)
        country = warrant.country("issuing_country_id")
        if country is not None:
            said.append(f"Warrant {at} is of {country}.")
        if original is not None:
            charges.append(_given(original=original, translation=translation))
        elif translation is not None:
            charges.append({"original": translation})
        warrant.leave_the_rest("is not known to this importer")
    return {"charges": charges[:FEW_MAX]} if charges else None


def _facts(fields: Fields) -> dict[str, Any] | None:
    """Return where and when somebody went missing."""
    place = _given(country=fields.country("country"), locality=fields.text("place"))
    return _given(place=place, happened=fields.date("date_of_event"))


def _links(fields: Fields) -> None:
    links = fields.inner("_links")
    if links.value("self") is not None and _href(fields.content) is None:
        links.leave("self", "is no address of the web")
    for name in ("images", "thumbnail"):
        if links.value(name) is not None:
            links.leave(name, "pictures are not fetched")
    links.leave_the_rest("is not known to this importer")
    fields.inner("_embedded").leave_the_rest("is not known to this importer")


def _given(**parts: Any) -> dict[str, Any] | None:
    """Return the parts that say something; `None` where none does."""
    return {name: part for name, part in parts.items() if part not in (None, [], {})} or None
