"""Strangers' text on a terminal: it may neither steer it nor turn around what stands beside it."""

from __future__ import annotations

from unicodedata import category

_ESCAPED = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
"""Control characters (ESC among them), marks without a shape (those of direction), line and paragraph separators."""

_JOINERS = {"\u200c", "\u200d"}
"""Part of how Persian, Hindi and others are written."""


def printable(text: str) -> str:
    r"""Return a text with whatever could act on a terminal written as its escape, such as `\u202e`."""
    return "".join(
        character.encode("unicode_escape").decode("ascii")
        if category(character) in _ESCAPED and character not in _JOINERS
        else character
        for character in text
    )
