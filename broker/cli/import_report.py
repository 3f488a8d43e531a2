"""What `noticewire import` says of each notice, and of all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from broker.errors import InvalidFieldError, InvalidMessageError, RefusedError, UnavailableError
from broker.model.outcome import Outcome, Verdict
from producers.client import Published
from producers.importers.fields import LeftOut
from producers.importers.importing import Import
from producers.importers.public_notices import Extract


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A notice that is to be imported."""

    place: str
    extract: Extract
    made: Import


class Report:
    """What became of each notice: lines for people as they come, rows for programs at the end."""

    def __init__(self, *, quiet: bool) -> None:
        self.failed = False
        self._quiet = quiet
        self._rows: list[dict[str, Any]] = []
        self._pages: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()
        self._left: Counter[tuple[str, str]] = Counter()

    def page(self, place: str, total: int, holds: int) -> None:
        """Say that a list is not all of it."""
        self._pages.append({"place": place, "total": total, "holds": holds})
        self._say(f"{place}: a page: it holds {holds:,} of {total:,} notices")

    def refused(self, place: str, error: RefusedError) -> None:
        """Name what is wrong with a notice."""
        self.failed = True
        self._counts["refused"] += 1
        problems: Sequence[RefusedError] = error.problems if isinstance(error, InvalidMessageError) else (error,)
        self._rows.append({"place": place, "refused": [_problem(problem) for problem in problems]})
        for problem in problems:
            self._say(f"{place}: refused: {problem}")

    def duplicate(self, item: Item) -> None:
        """Say that the same stood there before."""
        self._counts["duplicate"] += 1
        self._rows.append(self._row(item) | {"duplicate": True})
        self._say(f"{item.place}: {self._what(item)}: the same as before in these files")

    def would_publish(self, item: Item) -> None:
        """Say what would be published."""
        again = "" if item.made.place.is_new else ", as before"
        self._counts["would be published"] += 1
        self._left_out(item)
        self._rows.append(
            self._row(item) | {"message": item.made.message.model_dump(mode="json", exclude_defaults=True)}
        )
        self._say(f"{item.place}: {self._what(item)}: would be published{again}{self._without(item)}")

    def published(self, item: Item, where: Published) -> dict[str, Any]:
        """Say where it landed."""
        self._counts["published" if item.made.place.is_new else "published again"] += 1
        self._left_out(item)
        row = self._row(item) | {"origin": where.origin}
        self._rows.append(row)
        self._say(f"{item.place}: {self._what(item)}: published at {where.origin}{self._without(item)}")
        return row

    def outcome(self, row: dict[str, Any], outcome: Outcome) -> None:
        """Say what the router made of it."""
        self._counts[outcome.verdict] += 1
        fields = {"verdict", "reason", "detail", "given", "ended", "withheld"}
        row["outcome"] = outcome.model_dump(mode="json", include=fields)
        if outcome.verdict is Verdict.REJECTED:
            self.failed = True
            self._say(f"{row['place']}: {row['number']}: rejected: {outcome.reason}: {outcome.detail}")

    def no_outcome(self, row: dict[str, Any], error: UnavailableError) -> None:
        """Say that the router has said nothing."""
        self.failed = True
        self._counts["without outcome"] += 1
        self._say(f"{row['place']}: {row['number']}: {error}")

    def as_json(self) -> dict[str, Any]:
        """Return all of it."""
        left = [{"path": path, "why": why, "count": count} for (path, why), count in self._left.most_common()]
        return {"notices": self._rows, "pages": self._pages, "left": left, "summary": dict(self._counts)}

    def sum_up(self) -> None:
        """Say the figures, and what was left out in all."""
        typer.echo(", ".join(f"{count:,} {what}" for what, count in self._counts.items()) or "nothing to import")
        for (path, why), count in self._left.most_common():
            typer.echo(f"  left out: {path} ({why}): {count:,}")

    def _row(self, item: Item) -> dict[str, Any]:
        message = item.made.message
        return {
            "place": item.place,
            "colour": item.extract.colour,
            "entity_id": item.extract.entity_id,
            "number": message.number,
            "event": message.event,
            "revision": message.revision,
            "message_id": str(message.message_id),
            "new": item.made.place.is_new,
            "left": [{"path": left.path, "why": left.why} for left in item.extract.left],
        }

    def _left_out(self, item: Item) -> None:
        self._left.update(_kind_of(left) for left in item.extract.left)

    def _what(self, item: Item) -> str:
        message = item.made.message
        what = f"{item.extract.colour} {item.extract.entity_id}"
        return f"{what} is {message.number} {message.event} (revision {message.revision})"

    def _without(self, item: Item) -> str:
        return f"; without {', '.join(left.path for left in item.extract.left)}" if item.extract.left else ""

    def _say(self, line: str) -> None:
        if not self._quiet:
            typer.echo(line)


def _kind_of(left: LeftOut) -> tuple[str, str]:
    """Return what is the same in many notices: the path without places in lists, and why."""
    return "".join(char for char in left.path if char not in "[]0123456789"), left.why


def _problem(error: RefusedError) -> dict[str, str]:
    if isinstance(error, InvalidFieldError):
        return {"code": error.code, "field": error.field, "problem": error.problem, "rule": error.rule}
    return {"code": error.code, "problem": str(error)}
