"""JSON and JSON Lines, less what Python's reader lets pass: the same name twice, NaN, Infinity."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from broker.errors import InvalidFieldError
from producers.entries import ENTRY_BYTES_MAX, FILE_BYTES_MAX, text_of, too_deep, too_large, twice


class _JsonReader:
    """Reads one value after another.

    The problems are collected rather than raised, because the decoder tells where a value ends only if it succeeds.
    """

    def __init__(self) -> None:
        self._problems: list[InvalidFieldError] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=self._constant)

    def value_at(self, text: str, at: int) -> tuple[Any, int]:
        """Read the value that begins at an index; return it, or why it is refused, and the index after it.

        Raises:
            ValueError: it is not JSON, so nobody can say where it ends.
            RecursionError: it is nested beyond the interpreter's stack.
        """
        self._problems.clear()
        value, end = self._decoder.raw_decode(text, at)
        if end - at > ENTRY_BYTES_MAX:
            return too_large("entry", ENTRY_BYTES_MAX), end
        return (self._problems[0] if self._problems else value), end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            self._problems.append(twice(_repeated(name for name, _ in pairs)))
        return value

    def _constant(self, name: str) -> None:
        self._problems.append(InvalidFieldError("entry", f"holds {name}", "JSON's numbers only (RFC 8259)"))


def _repeated(names: Iterable[str]) -> str:
    """Return the first name that comes a second time; in linear time, for an entry may hold 100,000."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    msg = "no name comes twice"
    raise AssertionError(msg)


def _not_json(error: ValueError | RecursionError, line: int | None = None) -> InvalidFieldError:
    if isinstance(error, RecursionError):
        return too_deep()
    if isinstance(error, json.JSONDecodeError):
        place = f"line {line or error.lineno}, column {error.colno}"
        return InvalidFieldError("entry", f"is not JSON at {place} ({error.msg.lower()})", "JSON as in RFC 8259")
    return InvalidFieldError("entry", "is not JSON (a number is too long)", "JSON as in RFC 8259")


def _whole_text(path: Path) -> str | InvalidFieldError:
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    return too_large("file", FILE_BYTES_MAX) if len(data) > FILE_BYTES_MAX else text_of(data)


_SPACE = re.compile(r"[ \t\r\n]*")


def json_values(path: Path) -> Iterator[Any]:
    """Yield the one value of a JSON file, or each item of its list."""
    text = _whole_text(path)
    if isinstance(text, InvalidFieldError):
        yield text
        return
    try:
        yield from _json_items(text)
    except (ValueError, RecursionError) as error:
        yield _not_json(error)


def _json_items(text: str) -> Iterator[Any]:
    reader = _JsonReader()
    at = _after_space(text, 0)
    if not text.startswith("[", at):
        value, at = reader.value_at(text, at)
        yield value
    else:
        at = _after_space(text, at + 1)
        while not text.startswith("]", at):
            value, at = reader.value_at(text, at)
            yield value
            at = _after_space(text, at)
            if text.startswith(",", at):
                at = _after_space(text, at + 1)
            elif not text.startswith("]", at):
                raise json.JSONDecodeError("',' or ']' expected", text, at)
        at += 1
    at = _after_space(text, at)
    if at != len(text):
        raise json.JSONDecodeError("more after the end", text, at)


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def line_values(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the number and the value of each line of JSON Lines; an empty line is passed over."""
    reader = _JsonReader()
    with path.open("rb") as file:
        number = 0
        while line := file.readline(ENTRY_BYTES_MAX + 2):
            number += 1
            if len(line) > ENTRY_BYTES_MAX + 1 and not line.endswith(b"\n"):
                while (rest := file.readline(ENTRY_BYTES_MAX)) and not rest.endswith(b"\n"):
                    pass
                yield number, too_large("entry", ENTRY_BYTES_MAX)
                continue
            if line.strip():
                yield number, _line_value(reader, line, number)


def _line_value(reader: _JsonReader, line: bytes, number: int) -> Any:
    text = text_of(line)
    if isinstance(text, InvalidFieldError):
        return InvalidFieldError("entry", f"is not UTF-8 at line {number}", "text in UTF-8")
    try:
        value, end = reader.value_at(text, _after_space(text, 0))
        if _after_space(text, end) != len(text):
            raise json.JSONDecodeError("more after the end", text, end)
    except (ValueError, RecursionError) as error:
        return _not_json(error, number)
    return value
