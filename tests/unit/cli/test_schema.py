"""`noticewire schema`, as a person and as a program reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import avro.schema
import pytest
from typer.testing import CliRunner, Result

from broker.cli.main import command_line
from broker.cli.schema import app
from broker.errors import MisuseError
from broker.schema.catalogue import Catalogue
from tests.support.evolution import PARCELS, a_field, a_record, write_folder

NUMBER, WEIGHT = a_field("number"), a_field("weight", "long")
COLOUR = {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}

NARROWED = """\
parcel v1 and v2 weight: its type is narrowed from long to int, so v2 cannot read what v1 writes
  rule:    a field keeps its type, neither narrower nor wider: versions read each other both ways
  instead: keep long; a narrower range is the model's to check
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def lines(*arguments: str) -> list[str]:
    return [line.strip() for line in run(*arguments).output.splitlines()]


def test_the_shipped_schemas_pass() -> None:
    """Without options the program checks its own schemas, and says how many pairs it held against each other."""
    result = CliRunner().invoke(command_line(["schema"]), ["schema", "check"])
    assert result.exit_code == 0, result.output
    assert "each reads every other of its subject" in result.output
    assert f"{len(Catalogue.load().subjects())} subjects, " in result.output


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            [NUMBER, WEIGHT],
            [NUMBER],
            """\
parcel v1 and v2 weight: weight is gone in v2 and has no default in v1, so v1 cannot read what v2 writes
  rule:    a field that is not in every version has a default in each version that has it
  instead: keep weight (long): programs with v1 wait for it for ever. If it means nothing any more, say so in its doc \
and write an empty value
""",
            id="remove_a_field_without_default",
        ),
        pytest.param(
            [NUMBER, WEIGHT],
            [NUMBER, a_field("weight", "int")],
            NARROWED,
            id="narrow_a_type",
        ),
        pytest.param(
            [NUMBER, a_field("colour", COLOUR)],
            [NUMBER, a_field("colour", {**COLOUR, "symbols": ["red", "blue", "silver"], "default": "red"})],
            """\
parcel v1: enum Colour has no default in v1, so it can never get another symbol
  rule:    every enum has a default symbol, which a program reads for a symbol that came after it
  instead: add the symbol "unknown", and "default": "unknown", before the version is released
parcel v1 and v2 colour: enum Colour has the new symbol silver, and no default in v1 to read it as, so v1 cannot read \
what v2 writes
  rule:    an enum gets a new symbol only where every version of it has a default symbol
  instead: leave Colour as it is and add a new field with an enum of its own, which has a default symbol from its \
first version on ("default": "unknown"); a default that is added now does not reach the programs that have v1
""",
            id="add_an_enum_symbol_without_default",
        ),
        pytest.param(
            [NUMBER, WEIGHT],
            [NUMBER, a_field("mass", "long", default=0)],
            """\
parcel v1 and v2 weight: weight is called mass in v2 and has no default in v1, so v1 cannot read what v2 writes
  rule:    a field keeps its name, or gets a new one with the old one as an alias if it has a default
  instead: keep the name weight: on the wire it is for ever, and its doc can say the better one. If mass is something \
else, keep weight and add mass with a default beside it. (An alias on mass lets new programs read old records; old \
programs still wait for weight)
""",
            id="rename_without_alias",
        ),
    ],
)
def test_a_breaking_change_says_what_to_do(
    tmp_path: Path, old: list[dict[str, Any]], new: list[dict[str, Any]], said: str
) -> None:
    """A proposal in another folder is refused: subject, versions, field, rule and the way around it, in one place."""
    folder = write_folder(tmp_path, {"parcel": [a_record(*old), a_record(*new)]})

    result = run("check", "--folder", str(folder))

    assert (result.exit_code, result.output) == (1, said)


def test_the_guide_shows_what_is_said() -> None:
    """What a newcomer is shown to expect is what the check prints."""
    assert NARROWED in (Path(__file__).parents[3] / "docs" / "schemas.md").read_text("utf-8")


def test_programs_read_the_check_as_json(tmp_path: Path) -> None:
    """`--json` has the same, in fields, and the same exit codes."""
    folder = write_folder(tmp_path, {"parcel": [a_record(NUMBER, WEIGHT), a_record(NUMBER)]})

    result = run("check", "--folder", str(folder), "--json")

    assert result.exit_code == 1
    read = json.loads(result.output)
    assert read["compatible"] is False
    (one,) = read["breaches"]
    assert (one["subject"], one["versions"], one["path"]) == ("parcel", [1, 2], "weight")
    assert one["rule"] == "field_needs_default"
    assert {"problem", "instead", "rule_text"} <= one.keys()
    fine = run("check", "--json")
    assert (fine.exit_code, json.loads(fine.output)) == (0, {"compatible": True, "breaches": []})


def without_logical_types(schema: Any) -> Any:
    """As the specification's canonical form has them; Apache's Python package leaves `{"type": "string"}` of a uuid."""
    if isinstance(schema, list):
        return [without_logical_types(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "logicalType" in schema:
        return schema["type"]
    return {key: without_logical_types(value) for key, value in schema.items()}


def test_the_list_has_avros_fingerprints() -> None:
    """Each version with its id on the wire, and the fingerprint that Apache's own library computes."""
    rows = json.loads(run("list", "--json").output)
    shown = run("list").output

    assert {(row["subject"], row["version"], row["id"]) for row in rows} >= {("notice", 1, 1001), ("command", 1, 1009)}
    for row in rows:
        version = Catalogue.load().by_id(row["id"])
        assert version is not None
        plain = json.dumps(without_logical_types(json.loads(version.text)))
        assert bytes.fromhex(row["fingerprint"]) == avro.schema.parse(plain).fingerprint("CRC-64-AVRO")
        assert row["fingerprint"] in shown


def test_a_difference_is_shown_field_by_field(tmp_path: Path) -> None:
    """What came, went and changed, one line each; by default between the newest version and the one before it."""
    folder = str(write_folder(tmp_path, {"parcel": PARCELS}))

    assert lines("diff", "parcel", "1", "2", "--folder", folder) == [
        "parcel: from v1 to v2",
        "+ size: null or record Size, default null",
        "+ colour: symbol silver",
        '~ colour: default "red" became "blue" (read where a record lacks the field; allowed)',
        "+ stops[].tags: map of string, default {}",
        "- note: null or string, default null",
    ]
    assert lines("diff", "parcel", "--folder", folder) == [
        "parcel: from v2 to v3",
        "+ size.width: long, default 2",
        "- size.height: long, default 1",
        "~ weight: default none became 7 (read where a record lacks the field; allowed)",
        "+ colour: symbol gold",
        "- stops[].tags: map of string, default {}",
    ]
    read = json.loads(run("diff", "parcel", "2", "3", "--folder", folder, "--json").output)
    assert (read["subject"], read["from"], read["to"]) == ("parcel", 2, 3)
    assert read["differences"][0] == {"path": "size.width", "change": "added", "old": None, "new": "long, default 2"}


def test_every_kind_of_difference_has_words(tmp_path: Path) -> None:
    """Types, names, branches, symbols and aliases are told apart."""
    fixed = {"type": "fixed", "name": "Digest", "size": 16}
    old = a_record(
        WEIGHT,
        a_field("at", {"type": "long", "logicalType": "timestamp-millis"}),
        a_field("colour", COLOUR),
        a_field("digest", fixed),
        a_field("thing", ["null", "string"], default=None),
        a_field("stop", a_record(NUMBER, name="Stop")),
    )
    new = a_record(
        a_field("mass", "int", aliases=["weight"]),
        a_field("at", {"type": "long", "logicalType": "timestamp-micros"}),
        a_field("colour", {**COLOUR, "symbols": ["red"], "default": "red"}),
        a_field("digest", {**fixed, "size": 32}),
        a_field("thing", ["null", "long"], default=None),
        a_field("stop", a_record(NUMBER, name="Halt")),
    )
    folder = str(write_folder(tmp_path, {"parcel": [old, new]}))

    assert lines("diff", "parcel", "--folder", folder)[1:] == [
        "~ mass: was called weight",
        "~ mass: type long became int",
        "~ at: type long (timestamp-millis) became long (timestamp-micros)",
        "- colour: symbol blue",
        "~ colour: default symbol none became red (read for a later symbol; allowed)",
        "~ digest: type 16 bytes became 32 bytes",
        "+ thing: branch long",
        "- thing: branch string",
        "~ stop: type name Stop became Halt",
    ]


def test_a_subject_with_one_version_has_nothing_to_differ_from(tmp_path: Path) -> None:
    """That is said, and is no failure."""
    result = run("diff", "parcel", "--folder", str(write_folder(tmp_path, {"parcel": [a_record(NUMBER)]})))
    assert (result.exit_code, "it has no other version" in result.output) == (0, True)


@pytest.mark.parametrize(
    "arguments",
    [["diff", "assets"], ["diff", "notice", "0"], ["diff", "notice", "1", "99"], ["check", "--folder", "/"]],
)
def test_what_is_not_there_is_misuse(arguments: list[str]) -> None:
    """An unknown subject, version or folder is named, with the exit code of misuse."""
    assert isinstance(run(*arguments).exception, MisuseError)
