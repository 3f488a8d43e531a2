"""The alert rules, evaluated over real scrapes, by the few parts of PromQL that they use.

Prometheus itself is in no package index that the tests can use without root. So this reads a subset: selectors with
`=` and `!=`, `increase(...[d])` without extrapolation, `sum`, `time()`, `timestamp()`, `-`, `/`, one comparison with a
number; anything else is refused, so no rule can pass by not being understood. `for` is not waited for: it only delays.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ParamSpec
from urllib.error import URLError
from urllib.request import urlopen

import yaml
from prometheus_client.parser import text_string_to_metric_families

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"

P = ParamSpec("P")
Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = Vector | float

_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?[smh]?)|([A-Za-z_:][\w:]*)|(\"[^\"]*\")|(!=|==|[<>]=?|[-/=(){}\[\],]))")
_UNITS = {"s": 1, "m": 60, "h": 3600}
_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "==": lambda a, b: a == b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


def rules() -> list[dict[str, Any]]:
    """Every rule of the file."""
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


_evaluated: list[set[str]] = []
"""What fired at each evaluation, since a test began that makes alerts fire."""


def makes_fire(*alerts: str) -> Callable[[Callable[P, Awaitable[None]]], Callable[P, Coroutine[Any, Any, None]]]:
    """Declare which alerts a test makes fire; it fails unless each was seen in it to fire, and also not to.

    `tests/unit/observe/test_alerts.py` reads these declarations: every alert must stand in one.
    """

    def declared(test: Callable[P, Awaitable[None]]) -> Callable[P, Coroutine[Any, Any, None]]:
        @functools.wraps(test)
        async def run(*args: P.args, **kwargs: P.kwargs) -> None:
            _evaluated.clear()
            await test(*args, **kwargs)
            for alert in alerts:
                assert any(alert in fired for fired in _evaluated), f"{alert} was declared, and never fired"
                assert any(alert not in fired for fired in _evaluated), f"{alert} fired always, fault or not"

        return run

    return declared


@dataclass
class Scrapes:
    """What was scraped of some services, scrape by scrape."""

    taken: list[tuple[float, dict[str, Vector]]] = field(default_factory=list)

    def scrape(self, at: float, **addresses: str | None) -> None:
        """Scrape services by name, as Prometheus does: `up` is 0 for one that does not answer.

        Args:
            at: when this was, in seconds; the evaluation takes place at the last one.
            addresses: where each listens.
        """
        seen: dict[str, Vector] = {}
        for name, address in addresses.items():
            target = {("job", "noticewire"), ("instance", name)}
            try:
                with urlopen(f"{address}/metrics", timeout=5) as answer:  # noqa: S310 - http on this machine
                    text = answer.read().decode()
            except (URLError, OSError, ValueError):
                text = ""
            seen.setdefault("up", {})[frozenset(target)] = float(bool(text))
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    labels = frozenset(target | set(sample.labels.items()))
                    seen.setdefault(sample.name, {})[labels] = sample.value
        self.taken.append((at, seen))

    def firing(self) -> dict[str, list[dict[str, str]]]:
        """The alerts whose condition holds now, with the labels of each series."""
        found = {rule["alert"]: _Expression(rule["expr"], self.taken).evaluate() for rule in rules()}
        _evaluated.append({name for name, vector in found.items() if vector})
        return {name: [dict(labels) for labels in vector] for name, vector in found.items() if vector}

    def names(self) -> set[str]:
        """Every metric that was ever seen."""
        return {name for _, seen in self.taken for name in seen}


class _Expression:
    """One expression over scrapes, evaluated while it is read."""

    def __init__(self, text: str, taken: list[tuple[float, dict[str, Vector]]]) -> None:
        self._text = text
        self._taken = taken
        self._tokens: list[str] = []
        at = 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            assert found, f"not understood: {text[at:]!r} in {text!r}"
            self._tokens.append(found[found.lastindex or 0])
            at = found.end()

    def evaluate(self) -> Vector:
        left = self._difference()
        compare = _COMPARE[self._next()]
        limit = float(self._next())
        assert not self._tokens, f"not understood: {self._tokens} in {self._text!r}"
        assert isinstance(left, dict), f"{self._text!r} alerts on a number"
        return {labels: value for labels, value in left.items() if compare(value, limit)}

    def _difference(self) -> Value:
        left = self._quotient()
        while self._takes("-"):
            left = _each(left, self._quotient(), lambda a, b: a - b)
        return left

    def _quotient(self) -> Value:
        left = self._term()
        while self._takes("/"):
            left = _each(left, self._term(), lambda a, b: a / b)
        return left

    def _term(self) -> Value:
        word = self._next()
        if word == "time":
            self._expect("(", ")")
            return self._taken[-1][0]
        if word == "timestamp":
            self._expect("(")
            asked = self._select(self._taken[-1][1], self._next(), self._matchers())
            self._expect(")")
            return dict.fromkeys(asked, self._taken[-1][0])
        if word == "sum":
            return self._sum()
        if word == "increase":
            self._expect("(")
            name, wanted = self._next(), self._matchers()
            self._expect("[")
            window = self._next()
            self._expect("]", ")")
            return self._increase(name, wanted, float(window[:-1]) * _UNITS[window[-1]])
        assert re.fullmatch(r"[a-z_]+", word), f"not understood: {word} in {self._text!r}"
        return self._select(self._taken[-1][1], word, self._matchers())

    def _sum(self) -> Vector:
        by = self._labels() if self._takes("by") else ()
        self._expect("(")
        inner = self._difference()
        self._expect(")")
        assert isinstance(inner, dict)
        summed: Vector = {}
        for labels, value in inner.items():
            key = frozenset(pair for pair in labels if pair[0] in by)
            summed[key] = summed.get(key, 0) + value
        return summed

    def _labels(self) -> tuple[str, ...]:
        self._expect("(")
        found = [self._next()]
        while self._takes(","):
            found.append(self._next())
        self._expect(")")
        return tuple(found)

    def _matchers(self) -> list[tuple[str, str, str]]:
        wanted: list[tuple[str, str, str]] = []
        if self._takes("{"):
            while not self._takes("}"):
                name, operator, value = self._next(), self._next(), self._next()
                assert operator in {"=", "!="}, f"not understood: {operator} in {self._text!r}"
                wanted.append((name, operator, value.strip('"')))
                self._takes(",")
        return wanted

    def _select(self, seen: dict[str, Vector], name: str, wanted: list[tuple[str, str, str]]) -> Vector:
        return {
            labels: value
            for labels, value in seen.get(name, {}).items()
            if all((dict(labels).get(key, "") == said) is (operator == "=") for key, operator, said in wanted)
        }

    def _increase(self, name: str, wanted: list[tuple[str, str, str]], seconds: float) -> Vector:
        now = self._taken[-1][0]
        series: dict[Labels, list[float]] = {}
        for at, seen in self._taken:
            if now - seconds <= at <= now:
                for labels, value in self._select(seen, name, wanted).items():
                    series.setdefault(labels, []).append(value)
        return {
            labels: sum(b - a if b >= a else b for a, b in pairwise(values))
            for labels, values in series.items()
            if len(values) > 1
        }

    def _next(self) -> str:
        assert self._tokens, f"ends too early: {self._text!r}"
        return self._tokens.pop(0)

    def _takes(self, token: str) -> bool:
        if self._tokens[:1] == [token]:
            self._tokens.pop(0)
            return True
        return False

    def _expect(self, *tokens: str) -> None:
        for token in tokens:
            assert self._takes(token), f"{token} expected before {self._tokens} in {self._text!r}"


def _each(left: Value, right: Value, combine: Callable[[float, float], float]) -> Value:
    """Combine two values; vectors where their labels are the same."""
    if isinstance(left, dict):
        if isinstance(right, dict):
            return {labels: combine(value, right[labels]) for labels, value in left.items() if labels in right}
        return {labels: combine(value, right) for labels, value in left.items()}
    if isinstance(right, dict):
        return {labels: combine(left, value) for labels, value in right.items()}
    return combine(left, right)
