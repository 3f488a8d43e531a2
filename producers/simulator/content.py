"""What a simulated case says: whom or what it is about, and all that its type must hold. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from hashlib import sha256
from math import exp
from random import Random
from typing import Any, Final

from broker.model.circulation import Scope
from broker.model.content import Language
from broker.model.dates import years_later
from broker.model.diffusion import DiffusionKind
from broker.model.naming import Region
from broker.model.notice import NoticeType
from broker.model.offences import OFFENCES
from producers.simulator import mix
from producers.simulator.cast import Cast
from producers.simulator.mix import happens
from producers.simulator.words import TITLES, TOWNS, a_name, prose

Sort = NoticeType | DiffusionKind
Content = dict[str, Any]

_YEAR: Final = timedelta(days=365)
_ROLES: Mapping[Sort, tuple[str, ...]] = {
    NoticeType.RED: ("wanted", "charged", "convicted"),
    NoticeType.BLUE: ("suspect", "charged", "convicted"),
    NoticeType.GREEN: ("convicted", "possible_threat"),
    NoticeType.YELLOW: ("missing",),
    NoticeType.SPECIAL: ("possible_threat",),
    DiffusionKind.ARREST: ("wanted", "charged", "suspect"),
    DiffusionKind.LOCATE: ("suspect", "charged"),
    DiffusionKind.INFORMATION: ("suspect", "charged"),
    DiffusionKind.IDENTIFICATION: ("unidentified",),
    DiffusionKind.WARNING: ("suspect", "possible_threat"),
    DiffusionKind.MISSING: ("missing",),
}
_TITLES: Mapping[Sort, str] = {
    NoticeType.RED: "wanted",
    DiffusionKind.ARREST: "wanted",
    NoticeType.YELLOW: "missing",
    DiffusionKind.MISSING: "missing",
    NoticeType.BLACK: "unknown",
    DiffusionKind.IDENTIFICATION: "unknown",
    NoticeType.BLUE: "asked",
    DiffusionKind.LOCATE: "asked",
    DiffusionKind.INFORMATION: "asked",
}
_MAY_BE_VICTIM = frozenset({NoticeType.BLUE, DiffusionKind.LOCATE})
_MISSING = frozenset({NoticeType.YELLOW, DiffusionKind.MISSING})
_CODES = tuple(sorted(OFFENCES))


class Author:
    """Writes the content of one case.

    Args:
        random: the case's own.
        cast: who takes part.
        owner: whose case it is.
        at: when it begins.
    """

    def __init__(self, random: Random, *, cast: Cast, owner: str, at: datetime) -> None:
        self._random = random
        self._cast = cast
        self._owner = owner
        self._at = at
        self._region = cast.region_of(owner)
        self._country = owner.upper() if owner in cast.members else "XA"

    def write(self, sort: Sort, *, offence: str | None = None) -> Content:
        """Return a case's content, less what depends on the event.

        Args:
            sort: notice type or diffusion kind.
            offence: what it is about, if that is given.
        """
        random = self._random
        is_victim = sort in _MAY_BE_VICTIM and happens(random, mix.VICTIM_SHARE)
        happened = self._at.date() - timedelta(days=random.randint(3, 900))
        content: Content = {
            "type" if isinstance(sort, NoticeType) else "kind": sort.value,
            "offences": [offence or random.choice(_CODES)],
            "circulation": self._circulation(sort, names=is_victim),
            "subject": self._subject(sort, is_victim=is_victim, happened=happened),
            "facts": self._facts(happened),
            "texts": self._texts(_TITLES.get(sort, "warned")),
            "retained_until": years_later(self._at.date(), random.choice((1, 2, 3, 4))).isoformat(),
            "handling_codes": random.choice(([], ["police_only"], ["police_only", "no_onward_sharing"])),
        }
        if _is_child(content) or sort is NoticeType.ORANGE:
            content["urgency"] = "urgent"
        if is_victim:
            content |= {"classification": "restricted", "contacts": [self._contact()], "warnings": []}
        elif happens(random, 0.05):  # one in twenty is kept closer
            content["classification"] = random.choice(("restricted", "confidential"))
        if more := _MORE.get(sort):
            content |= more(self, happened)
        return content

    # ------------------------------------------------------------------------------------------------------ audience

    def _circulation(self, sort: Sort, *, names: bool) -> Content:
        """Whom it addresses; somebody besides the owner is always left."""
        random, cast = self._random, self._cast
        scopes = mix.NOTICE_SCOPES if isinstance(sort, NoticeType) else mix.DIFFUSION_SCOPES
        scope = Scope.BUREAUS if names else mix.chosen(random, scopes)
        if scope is Scope.BUREAUS:
            return {"scope": "bureaus", "bureaus": cast.others(random, self._owner, random.randint(1, 5))}
        circulation: Content = {"scope": scope.value}
        reached = [code for code in cast.members if code != self._owner]
        if scope is Scope.REGIONS:
            there = cast.regions_besides(self._owner)
            chosen = {random.choice(there), *([self._region] if self._region in there else [])}
            circulation["regions"] = [region.value for region in Region if region in chosen]
            reached = [code for code in reached if cast.members[code] in chosen]
        if len(reached) > 1 and happens(random, mix.EXCLUSION_SHARE):
            circulation["exclusions"] = [random.choice(reached)]
        return circulation

    # ------------------------------------------------------------------------------------------------------- subject

    def _subject(self, sort: Sort, *, is_victim: bool, happened: date) -> Content:
        random = self._random
        match sort:
            case NoticeType.BLACK:
                age = random.randint(16, 70)
                body = {"sex": random.choice("FM"), "age_from_years": age, "age_to_years": age + random.randint(3, 15)}
                return {"kind": "body", "role": "unidentified", "body": body | {"description": self._looks()}}
            case NoticeType.PURPLE:
                return {"kind": "modus_operandi", "modus_operandi": {"description": self._prose(300)}}
            case NoticeType.ORANGE:
                threat = {
                    "kind": random.choice(("event", "person", "object", "process")),
                    "description": self._prose(200),
                    "place": self._place(),
                    "expected": f"{self._at:%Y-%m}",
                    "reliability": random.choice(("confirmed", "probable", "possible")),
                }
                return {"kind": "threat", "threat": threat}
            case NoticeType.SPECIAL if happens(random, 0.3):  # organisations on the UN's list
                name = f"{a_name(random, self._region)['family']} Example Trading"
                return {"kind": "organisation", "organisation": {"name": name, "country": "XA"}}
        role = random.choice(("victim", "witness")) if is_victim else random.choice(_ROLES[sort])
        is_child = sort in _MISSING and happens(random, mix.CHILD_SHARE)
        return {"kind": "person", "role": role, "person": self._person(happened, is_child=is_child)}

    def _person(self, happened: date, *, is_child: bool) -> Content:
        random = self._random
        years = random.randint(4, 15) if is_child else random.randint(22, 68)
        born = happened - years * _YEAR - timedelta(days=random.randint(0, 300))
        nationality = {"country": random.choice((self._country, "XA", "XB")), "doubtful": happens(random, 0.1)}
        person: Content = {
            "name": a_name(random, self._region),
            "sex": random.choice("FMMM"),
            "born": random.choices((f"{born:%Y-%m-%d}", f"{born:%Y-%m}", f"{born:%Y}"), (8, 1, 2))[0],
            "nationalities": [nationality],
            "description": self._looks(),
        }
        if happens(random, 0.3):  # three in ten use another name
            person["aliases"] = [a_name(random, self._region) for _ in range(random.randint(1, 3))]
        if happens(random, 0.6):  # of most a passport is known
            number = f"{random.choice('XQ')}{random.randint(0, 10**8 - 1):08d}"
            person["documents"] = [{"kind": "passport", "number": number, "country": "XA"}]
        return person

    def _looks(self) -> Content:
        random = self._random
        looks: Content = {
            "height_cm": random.randint(148, 198),
            "build": random.choice(("slim", "medium", "athletic", "heavy")),
            "eyes": random.choice(("brown", "brown", "black", "blue", "green", "grey")),
            "hair": random.choice(("black", "brown", "grey", "blond", "dyed", "bald")),
        }
        if happens(random, 0.3):  # three in ten bear a mark
            looks["distinguishing_marks"] = [random.choice(("scar on the left hand", "tattoo on the neck", "limps"))]
        return looks

    # --------------------------------------------------------------------------------------------------------- facts

    def _facts(self, happened: date) -> Content:
        reference = f"{self._country}-{happened.year}-{self._random.randint(1, 99_999)}"
        return {
            "summary": self._prose(160),
            "place": self._place(),
            "happened": happened.isoformat(),
            "police_reference": reference,
        }

    def _place(self) -> Content:
        return {"country": self._random.choice((self._country, "XB")), "locality": self._random.choice(TOWNS)}

    def _contact(self) -> Content:
        return {"kind": self._random.choice(("bureau", "social_service")), "name": "The owner's bureau"}

    def _texts(self, title: str) -> list[Content]:
        random = self._random
        first, second = mix.LANGUAGES[self._region]
        languages = [first, *([second] if happens(random, 0.35) else [])]  # a third are translated
        if happens(random, 0.02):  # a few go out in all four
            languages = [Language.EN, Language.FR, Language.ES, Language.AR]
        size = mix.BODY_CHARS_MEDIAN * exp(random.gauss(0, mix.BODY_CHARS_SIGMA))
        chars = min(int(size), mix.BODY_CHARS_MAX)
        return [
            {"language": one.value, "title": TITLES[title][one], "body": prose(random, one, chars)} for one in languages
        ]

    def _prose(self, chars: int) -> str:
        return prose(self._random, mix.LANGUAGES[self._region][0], chars)

    def _attachment(self, kind: str) -> Content:
        """Return a claim check; what it names does not exist, like the person."""
        size_bytes = int(80_000 * exp(self._random.gauss(0, 0.8)))
        digest = sha256(self._random.randbytes(16)).hexdigest()
        media_type = "image/jpeg" if kind == "photograph" else "application/octet-stream"
        whole = {"kind": kind, "media_type": media_type, "size_bytes": size_bytes, "sha256": digest}
        return whole | {"uri": f"simulated:{digest}"}

    # ----------------------------------------------------------------------------------------------- what types need

    def _red(self, happened: date) -> Content:
        random = self._random
        issued_on = happened + (self._at.date() - happened) / 2
        warrant = {
            "number": f"{random.randint(1, 9_999)}/{issued_on.year}",
            "authority": f"Court of {random.choice(TOWNS)}",
            "country": self._country,
            "issued_on": issued_on.isoformat(),
        }
        judicial = {
            "charges": [{"original": self._prose(60), "language": mix.LANGUAGES[self._region][0].value}],
            "law": f"Penal code, section {random.randint(10, 400)}",
            "maximum_penalty": {"kind": "term", "months": random.randint(24, 300)},
            "warrants": [warrant],
            "extradition_will_be_sought": True,
        }
        warnings = random.choice(([], [], ["armed"], ["violent"], ["escape_risk"]))
        photograph = [self._attachment("photograph")] if happens(random, 0.7) else []  # most have one
        return {"judicial": judicial, "warnings": warnings, "attachments": photograph}

    def _asked(self, _happened: date) -> Content:
        asked = ("location", "identity", "movements", "contacts", "background")
        return {"asked": sorted(self._random.sample(asked, self._random.randint(1, 3)))}

    def _assessed(self, _happened: date) -> Content:
        return {"assessment": {"grounds": self._prose(200), "assessed_on": self._at.date().isoformat()}}

    def _biometric(self, _happened: date) -> Content:
        kinds = ("photograph", "fingerprints", "dna")
        return {"attachments": [self._attachment(kind) for kind in self._random.sample(kinds, 2)]}

    def _listed(self, _happened: date) -> Content:
        measures = ["asset_freeze", "travel_ban", "arms_embargo"]
        reference = f"XXi.{self._random.randint(1, 999):03d}"
        return {"listing": {"reference": reference, "measures": measures[: self._random.randint(1, 3)]}, "offences": []}


_MORE: Mapping[Sort, Callable[[Author, date], Content]] = {
    NoticeType.RED: Author._red,  # noqa: SLF001 - the class's own table, too long to stand inside it
    NoticeType.BLUE: Author._asked,  # noqa: SLF001 - as above
    NoticeType.GREEN: Author._assessed,  # noqa: SLF001 - as above
    NoticeType.BLACK: Author._biometric,  # noqa: SLF001 - as above
    NoticeType.SPECIAL: Author._listed,  # noqa: SLF001 - as above
    DiffusionKind.ARREST: Author._red,  # noqa: SLF001 - as above
    DiffusionKind.LOCATE: Author._asked,  # noqa: SLF001 - as above
    DiffusionKind.INFORMATION: Author._asked,  # noqa: SLF001 - as above
    DiffusionKind.IDENTIFICATION: Author._biometric,  # noqa: SLF001 - as above
    DiffusionKind.WARNING: Author._assessed,  # noqa: SLF001 - as above
}


def _is_child(content: Content) -> bool:
    """Whether it is about a missing child: born less than 18 years before the event."""
    person = content["subject"].get("person")
    is_missing = content["subject"].get("role") == "missing"
    return is_missing and int(content["facts"]["happened"][:4]) - int(person["born"][:4]) < 18  # noqa: PLR2004 - of age
