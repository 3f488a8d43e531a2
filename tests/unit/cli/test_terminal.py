from __future__ import annotations

import pytest

from broker.cli.terminal import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Wanted: false charity", "Wanted: false charity"),
        ("مطلوب", "مطلوب"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("gone\x1b[2J", "gone\\x1b[2J"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x9b31m", "\\x9b31m"),
        ("not \u202eslaer\u202c", "not \\u202eslaer\\u202c"),
        ("a\u2066b\u2069\u200f\u2028", "a\\u2066b\\u2069\\u200f\\u2028"),
    ],
)
def test_a_text_acts_on_no_terminal(text: str, shown: str) -> None:
    """Control characters and marks of direction are written as escapes; scripts stay as they are."""
    assert printable(text) == shown
