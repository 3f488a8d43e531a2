"""The reference for people: up to date, and with a word for everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.cli.main import command_line
from broker.schema.catalogue import Catalogue
from broker.schema.reference import Kind, brought, entries, kinds

KEPT = Path(__file__).parents[3] / "docs" / "reference.md"


def test_the_kept_reference_is_what_the_code_says(tmp_path: Path) -> None:
    """Otherwise: `noticewire schema reference --output docs/reference.md`."""
    command_line(["schema"])(["schema", "reference", "--output", str(tmp_path / "made.md")], standalone_mode=False)
    text = (tmp_path / "made.md").read_text("utf-8")
    assert KEPT.read_text("utf-8") == text, "rewrite it: noticewire schema reference --output docs/reference.md"


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_everything_on_the_wire_has_a_meaning_and_a_version(kind: Kind) -> None:
    """Each field and symbol has a docstring below it, and some version of a schema has brought it."""
    assert kind.__doc__
    found = list(entries(kind, brought(Catalogue.load())))
    assert found
    assert [one.name for one in found if not one.meaning] == [], "say what it means in a docstring below it"
    # Regions are text on the wire: a symbol of Avro cannot hold the hyphen of `asia-pacific`.
    assert [one.name for one in found if not one.since and kind.__name__ != "Region"] == []


def row(name: str, section: str) -> str:
    """A row of the kept reference."""
    rest = KEPT.read_text("utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return next(line for line in rest.splitlines() if line.startswith(f"| `{name}` |"))


@pytest.mark.parametrize(
    ("section", "name", "expected"),
    [
        (
            "Notice",
            "sensitive",
            "present only because it is needed. | RPD article 42 | 1 |",
        ),
        ("NoticeType", "red", "| Arrest for extradition. |  | 1 |"),
        ("NoticeType", "silver", "| Trace criminal assets: the pilot of 2025. |  | 2 |"),
        ("Subject", "assets", "| 2 |"),
        ("Person", "aliases", "| list of [Name](#name) | Other names. |  | 1 |"),
    ],
)
def test_what_a_newcomer_would_look_up(section: str, name: str, expected: str) -> None:
    """By hand: a source, a later version, a link."""
    assert row(name, section).endswith(expected)
