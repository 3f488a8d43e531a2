"""What a folder of schemas must be, beside compatible."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import MisuseError
from broker.schema.catalogue import SHIPPED
from broker.schema.folder import check_folder
from broker.schema.rules import Rule
from tests.support.evolution import PARCELS, a_field, a_record, write_folder


def test_the_schemas_that_we_ship_may_be_merged() -> None:
    """Every pair of versions of every subject, every file and every sample is in order."""
    assert check_folder(SHIPPED) == []


def test_a_folder_of_allowed_changes_passes(tmp_path: Path) -> None:
    """Three versions of one subject and one of another, each with its sample."""
    assert check_folder(write_folder(tmp_path, {"parcel": PARCELS, "letter": [a_record(a_field("to"))]})) == []


def test_a_folder_without_a_catalogue_is_misuse(tmp_path: Path) -> None:
    """A mistyped folder is not taken for an empty one."""
    with pytest.raises(MisuseError, match=r"has no catalogue\.json"):
        check_folder(tmp_path)


def forget(folder: Path) -> None:
    entries = json.loads((folder / "catalogue.json").read_text())["schemas"]
    (folder / "catalogue.json").write_text(json.dumps({"schemas": entries[:-1]}))


def entry(folder: Path, **changes: Any) -> None:
    entries = json.loads((folder / "catalogue.json").read_text())["schemas"]
    entries[-1] |= changes
    (folder / "catalogue.json").write_text(json.dumps({"schemas": entries}))


def misplace(folder: Path) -> None:
    (folder / "parcel" / "v2.avsc").rename(folder / "parcel" / "second.avsc")
    entry(folder, file="parcel/second.avsc")


def edit(folder: Path) -> None:
    schema = json.loads((folder / "parcel" / "v2.avsc").read_text())
    schema["fields"].insert(0, a_field("priority", ["null", "long"], default=None))
    (folder / "parcel" / "v2.avsc").write_text(json.dumps(schema))


def sample(text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "parcel" / "v2.sample.json").write_text(text)


FAULTS: list[tuple[str, Callable[[Path], Any], Rule, str, str]] = [
    ("not listed", forget, Rule.CATALOGUE, "parcel/v2.avsc is not listed in catalogue.json", "an id that no other has"),
    ("another name", misplace, Rule.CATALOGUE, "parcel v2 is listed as parcel/second.avsc", "file parcel/v2.avsc"),
    ("id twice", lambda at: entry(at, id=5001), Rule.CATALOGUE, "id 5001 is used twice: by parcel v1 and", "mend"),
    ("a gap", lambda at: entry(at, version=3), Rule.CATALOGUE, "version 3 of parcel does not follow", "mend"),
    ("no file", lambda at: (at / "parcel" / "v2.avsc").unlink(), Rule.CATALOGUE, "parcel/v2.avsc: FileNot", "mend"),
    ("no JSON", lambda at: (at / "parcel" / "v2.avsc").write_text("{"), Rule.CATALOGUE, "parcel/v2.avsc: JSON", "mend"),
    ("no list", lambda at: (at / "catalogue.json").write_text("[]"), Rule.CATALOGUE, "catalogue.json: TypeE", "mend"),
    ("no sample", lambda at: (at / "parcel" / "v2.sample.json").unlink(), Rule.SAMPLE, "there is no", "write one"),
    ("no hex", sample('{"encoded": "xyz"}'), Rule.SAMPLE, "cannot be read", "bytes in hex"),
    ("no bytes", sample("{}"), Rule.SAMPLE, "cannot be read: KeyError('encoded')", "bytes in hex"),
    ("another id", sample('{"encoded": "000000138900"}'), Rule.SAMPLE, "begins with 0000001389, where id 5002", "anew"),
    ("too short", sample('{"encoded": "000000138a02"}'), Rule.SAMPLE, "the schema does not read it (EOF", "anew"),
    ("too long", sample('{"encoded": "000000138a000000"}'), Rule.SAMPLE, "reads 1 of 3 bytes", "anew"),
    ("an edit", edit, Rule.SAMPLE, "parcel/v2.sample.json: the schema", "a released schema is never edited"),
]


@pytest.mark.parametrize(
    ("damage", "rule", "problem", "instead"), [pytest.param(*row[1:], id=row[0].replace(" ", "_")) for row in FAULTS]
)
def test_a_fault_is_named_with_its_mend(
    tmp_path: Path, damage: Callable[[Path], Any], rule: Rule, problem: str, instead: str
) -> None:
    """Whatever is missing, unlisted, doubled, edited or unreadable in a folder is named, and what to do about it."""
    folder = write_folder(tmp_path / "schemas", {"parcel": [a_record(a_field("a")), a_record(a_field("a"))]})
    assert check_folder(folder) == []

    damage(folder)

    found = check_folder(folder)
    assert any(one.rule is rule and problem in one.problem and instead in one.instead for one in found), found
