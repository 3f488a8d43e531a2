"""Values of a foreign format, read one by one: what can be taken over, and by name what cannot, and why. Pure.

Nothing here raises for a value: a notice with one odd field is still worth having.
"""

from __future__ import annotations

import contextlib
import html
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pycountry
from pydantic import ValidationError

from broker.model.dates import PartialDate
from broker.model.rules import country_codes
from producers.entries import shown

LINE_CHARS_MAX, PROSE_CHARS_MAX = 300, 20_000
"""As `broker.model.content` has them."""

FEW_MAX = 100
"""The same: how long a list may be."""

_OVERRIDES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Make text look like another; a name needs none of them."""

_DATE = re.compile(r"(?P<year>[0-9]{4})(?:[/-](?P<month>[0-9]{1,2})(?:[/-](?P<day>[0-9]{1,2}))?)?")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was not taken over: its path in the foreign format, and why; no value, because that may be personal."""

    path: str
    why: str


@dataclass(slots=True)
class Fields:
    """An object of a foreign format; remembers which of its fields were asked for, and what was left out."""

    content: Mapping[str, Any]
    path: str = ""
    left: list[LeftOut] = field(default_factory=list)
    _asked: set[str] = field(default_factory=set)

    def value(self, name: str) -> Any:
        """Return a field as it stands; `None` where it is absent, null or empty."""
        self._asked.add(name)
        given = self.content.get(name)
        return None if given in ("", [], {}) else given

    def leave(self, name: str, why: str) -> None:
        """Note what is not taken over."""
        self._asked.add(name)
        self.left.append(LeftOut(self._at(name), why))

    def leave_the_rest(self, why: str) -> None:
        """Note every field that nobody has asked for and that says something."""
        for name in self.content.keys() - self._asked:
            if self.value(name) is not None:
                self.leave(shown(name), why)

    def _at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def text(self, name: str, chars_max: int = LINE_CHARS_MAX) -> str | None:
        """Return text, cleaned of entities, control characters and needless space."""
        given = self.value(name)
        if given is None:
            return None
        text = clean(given) if isinstance(given, str) else ""
        if not isinstance(given, str):
            self.leave(name, "is not text")
        elif len(text) > chars_max:
            self.leave(name, f"is longer than {chars_max:,} characters")
        else:
            return text or None
        return None

    def country(self, name: str) -> str | None:
        """Return a country's code."""
        text = self.text(name)
        if text is None:
            return None
        if text.upper() in country_codes():
            return text.upper()
        self.leave(name, "is no ISO 3166-1 code of two letters")
        return None

    def date(self, name: str) -> str | None:
        """Return a date of which the year is enough, as our files write it: `1980`, `1980-01`, `1980-01-31`."""
        given = self.value(name)
        text = self.text(name) if isinstance(given, str) else str(given) if type(given) is int else given
        if text is None:
            return None
        found = _DATE.fullmatch(text) if isinstance(text, str) else None
        if found is not None:
            parts = [found["year"], *(f"{int(part):02d}" for part in (found["month"], found["day"]) if part)]
            while parts[-1] == "00":  # written as 1980/00/00, where only the year is known
                parts.pop()
            with contextlib.suppress(ValidationError):
                PartialDate.model_validate("-".join(parts))
                return "-".join(parts)
        self.leave(name, "is not a date such as 1980, 1980/01 or 1980/01/31")
        return None

    def number(self, name: str, least: float, most: float, what: str) -> float | None:
        """Return a number between two others, also where it stands in quotes."""
        given = self.value(name)
        if given is None:
            return None
        try:
            number = float(given) if isinstance(given, int | float | str) and not isinstance(given, bool) else None
        except (ValueError, OverflowError):
            number = None
        if number is None or not least <= number <= most:
            self.leave(name, f"is no {what}")
            return None
        return number

    def items(self, name: str) -> list[Any]:
        """Return a list; a single value counts as a list of one."""
        given = self.value(name)
        values = [] if given is None else given if isinstance(given, list) else [given]
        if len(values) > FEW_MAX:
            self.leave(name, f"holds more than {FEW_MAX} items")
        return values[:FEW_MAX]

    def codes(self, name: str, known: Callable[[str], str | None], what: str) -> list[str]:
        """Return what the codes of a list mean, each once; unknown ones are left out by their place."""
        meant: list[str] = []
        for at, given in enumerate(self.items(name)):
            if given is None:
                continue
            meaning = known(clean(given).upper()) if isinstance(given, str) else None
            if meaning is None:
                self.leave(f"{name}[{at}]", f"is not {what}")
            elif meaning not in meant:
                meant.append(meaning)
        return meant

    def one_of(self, name: str, known: Callable[[str], str | None], what: str) -> str | None:
        """Return the meaning of the one code of a list, which our format has room for."""
        meant = self.codes(name, known, what)
        if len(meant) > 1:
            self.leave(name, "holds several, and a message has room for one")
            return None
        return meant[0] if meant else None

    def objects(self, name: str) -> Iterator[Fields]:
        """Yield each object of a list, to be read in the same way."""
        for at, given in enumerate(self.items(name)):
            if isinstance(given, Mapping):
                yield Fields(given, self._at(f"{name}[{at}]"), self.left)
            elif given is not None:
                self.leave(f"{name}[{at}]", "is not an object")

    def inner(self, name: str) -> Fields:
        """Return an object within this one; an empty one where there is none."""
        given = self.value(name)
        if given is not None and not isinstance(given, Mapping):
            self.leave(name, "is not an object")
            given = None
        return Fields(given or {}, self._at(name), self.left)


def clean(text: str) -> str:
    """Return text as it is meant: entities resolved (also those of entities), one space for any space, no controls."""
    for _ in range(2):
        text = html.unescape(text)
    kept = (" " if unicodedata.category(char) in {"Cc", "Zl", "Zp"} else char for char in text)
    meant = "".join(char for char in kept if unicodedata.category(char) != "Cs" and char not in _OVERRIDES)
    return unicodedata.normalize("NFC", " ".join(meant.split()))


def language(code: str) -> str | None:
    """Return a language's code as our format has it (`en`) for one of ISO 639-2 (`ENG`, `FRE` and `FRA`)."""
    found = pycountry.languages.get(alpha_3=code.lower()) or pycountry.languages.get(bibliographic=code.lower())
    if found is None:
        return None
    return str(getattr(found, "alpha_2", found.alpha_3))
