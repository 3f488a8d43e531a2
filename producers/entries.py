"""What a file's entry may be, whatever its format: bounds, and the refusals that every parser shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker.errors import InvalidFieldError, RefusedError
from broker.model.parsing import shown_name

ENTRY_BYTES_MAX = 1 << 20
"""One entry, as text: as much as a Kafka record may take by default, so no message needs more."""

FILE_BYTES_MAX = 64 << 20
"""One JSON file, or one YAML document: they are held whole. JSON Lines have no limit but the line's."""

DEPTH_MAX = 24
"""Levels of nesting: a message has seven at most, and a parser's stack has an end."""


def as_message(value: Any) -> dict[str, Any] | RefusedError:
    """Return an entry that has a message's outer shape, or why it has not."""
    if isinstance(value, RefusedError):
        return value
    if not isinstance(value, dict):
        return InvalidFieldError("entry", "is not an object", "an entry is one message: names and values")
    return value if _is_shallow(value) else too_deep()


def _is_shallow(value: Any) -> bool:
    """Return whether nothing lies deeper than `DEPTH_MAX`, without recursion: depth is what is in doubt."""
    level: Sequence[Any] = [value]
    for _ in range(DEPTH_MAX):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return True
    return False


def too_deep() -> InvalidFieldError:
    """Return the refusal of an entry that is nested too deeply."""
    return InvalidFieldError("entry", "is nested too deeply", f"at most {DEPTH_MAX} levels")


def too_large(what: str, bytes_max: int) -> InvalidFieldError:
    """Return the refusal of a file or an entry that is too large."""
    return InvalidFieldError(what, "is too large", f"at most {bytes_max:,} bytes")


def twice(name: str) -> InvalidFieldError:
    """Return the refusal of a name that stands twice in one object: no two readers agree on which one counts."""
    return InvalidFieldError(shown(name), "stands there twice", "each name once in an object")


def shown(name: str) -> str:
    """Return a field's name as it may be shown: a stranger chose it, so it may be of any length, or a person's."""
    return shown_name(name)


def text_of(data: bytes) -> str | InvalidFieldError:
    """Return text in UTF-8, with or without a byte order mark; or the refusal."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return InvalidFieldError("file", f"is not UTF-8 at line {line}", "text in UTF-8")
