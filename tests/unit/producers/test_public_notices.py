"""Extracts of the public notices service: each value by a table written by hand, then whatever a stranger may send."""

from __future__ import annotations

import copy
import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import InvalidFieldError, RefusedError
from broker.model import rules
from broker.model.diffusion import Diffusion
from broker.schema.codec import Codec
from producers.files import Entry, read
from producers.importers.fields import clean, language
from producers.importers.imported import Imported
from producers.importers.importing import Import, as_message
from producers.importers.public_notices import Colour, list_total, notices_in, read_extract
from tests.support.samples import seeded_directory

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ALL = {"scope": "all"}

RED: dict[str, Any] = {
    "entity_id": "2021/12345",
    "name": "EXAMPLE",
    "forename": "ALEX",
    "date_of_birth": "1980/01/31",
    "sex_id": "M",
    "nationalities": ["XA"],
    "country_of_birth_id": "XA",
    "place_of_birth": "SAMPLETOWN",
    "height": 1.78,
    "weight": 80,
    "eyes_colors_id": ["BRO"],
    "hairs_id": ["BLA"],
    "languages_spoken_ids": ["ENG"],
    "distinguishing_marks": "Scar on left hand",
    "arrest_warrants": [
        {"charge": "Trafficking in human beings", "issuing_country_id": "XB", "charge_translation": None}
    ],
    "_embedded": {"links": []},
    "_links": {"self": {"href": "https://example.org/red/2021-12345"}},
}
"""As domain section 8 shows it, less the pictures."""

YELLOW: dict[str, Any] = {
    "entity_id": "2019/7",
    "name": "EXAMPLE",
    "forename": "SAM",
    "date_of_birth": "2014/05",
    "date_of_event": "2019/03/02",
    "place": "SAMPLETOWN",
    "country": "XA",
    "mother_name": "PRIMER",
    "mother_forename": "KIM",
    "birth_name": "SAMPLE",
    "_links": {"self": {"href": "https://example.org/notices/v1/yellow/2019-7"}},
}

UN_PERSON: dict[str, Any] = {
    "entity_id": "2010/99",
    "name": "EXAMPLE",
    "un_reference": "XXi.001",
    "aliases": [{"name": "PRIMER", "forename": "A"}, {"name": None, "forename": None}, {"nick": "X"}],
    "_links": {"self": {"href": "https://example.org/notices/v1/un/persons/2010-99"}},
}

UN_ENTITY: dict[str, Any] = {
    "entity_id": "2010/100",
    "name": "EXAMPLE TRADING",
    "un_reference": "XXe.001",
    "summary": "Sold samples.",
    "aliases": [{"name": "PRIMER LTD"}],
    "_links": {"self": {"href": "https://example.org/notices/v1/un/entities/2010-100"}},
}


def with_(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**base, **changes}.items() if value is not ...}


def imported_as(content: dict[str, Any], *, colour: Colour | None = None, owner: str = "zw") -> Import:
    with Imported.open(Path("/nowhere"), keep=False) as imported:
        return as_message(
            read_extract(content, colour=colour),
            owner=owner,
            circulation=ALL,
            imported=imported,
            directory=seeded_directory(),
            now=NOW,
        )


def test_the_documented_notice_is_taken_over_whole() -> None:
    """Every value of the documented example has its place, and nothing is left out."""
    made = imported_as(RED).message

    person = made.subject.person
    assert made.subject.role == "wanted"
    assert person is not None
    assert json.loads(person.model_dump_json(exclude_defaults=True)) == {
        "name": {"family": "EXAMPLE", "forename": "ALEX"},
        "born": {"year": 1980, "month": 1, "day": 31},
        "birthplace": {"country": "XA", "locality": "SAMPLETOWN"},
        "sex": "M",
        "nationalities": [{"country": "XA"}],
        "description": {
            "height_cm": 178,
            "weight_kg": 80,
            "eyes": "brown",
            "hair": "black",
            "distinguishing_marks": ["Scar on left hand"],
        },
        "languages": ["en"],
    }
    assert made.judicial is not None
    assert [charge.original for charge in made.judicial.charges] == ["Trafficking in human beings"]
    assert made.texts[0].body.endswith("\nWarrant 1 is of XB.")
    assert read_extract(RED).left == ()


@pytest.mark.parametrize("content", [RED, YELLOW, UN_PERSON, UN_ENTITY])
def test_an_import_is_no_notice_and_asks_for_no_arrest(content: dict[str, Any]) -> None:
    """It is an information diffusion that keeps the rules, says that it is an extract, of what, and from where."""
    made = imported_as(content).message

    rules.check(made, today=NOW.date())
    assert Codec.load().decode(Codec.load().encode(made), Diffusion) == made
    assert (made.wire_type, str(made.event), made.revision) == ("information", "sent", 1)
    assert (made.owner, made.issuer) == ("zw", "zw")
    assert set(made.handling_codes) == {"ask_before_action", "no_administrative_use"}
    assert made.is_extract
    (mark,) = made.attachments
    assert mark.media_type == "application/vnd.noticewire.extract+json"
    colour = next(part for part in ("red", "yellow", "un") if f"/{part}/" in mark.uri)
    assert mark.caption == f"public-notices/{colour}/{content['entity_id']}"
    assert mark.uri == content["_links"]["self"]["href"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    assert (mark.size_bytes, mark.sha256) == (len(text), sha256(text).digest())
    assert "no basis for an arrest" in made.texts[0].body


def test_a_missing_child_s_extract() -> None:
    """Where and when they went missing, parents and name at birth have their places."""
    made = imported_as(YELLOW).message

    assert made.number == "zw-d-2019-000007"
    assert made.subject.role == "missing"
    assert made.concerns_minor
    assert made.facts is not None
    assert made.facts.place is not None
    assert (made.facts.place.country, made.facts.place.locality) == ("XA", "SAMPLETOWN")
    assert str(made.facts.happened) == "year=2019 month=3 day=2 until_year=None about=False"
    person = made.subject.person
    assert person is not None
    assert person.mother is not None
    assert (person.mother.family, person.mother.forename) == ("PRIMER", "KIM")
    assert person.name_at_birth is not None
    assert person.name_at_birth.family == "SAMPLE"


def test_extracts_of_un_notices() -> None:
    """A person and an organisation, each with the list's reference in words; what is strange in an alias is named."""
    person = imported_as(UN_PERSON).message
    assert person.subject.person is not None
    assert [alias.family for alias in person.subject.person.aliases] == ["PRIMER"]
    assert "Listed by the UN Security Council as XXi.001." in person.texts[0].body
    assert [left.path for left in read_extract(UN_PERSON).left] == ["aliases[2].nick"]

    organisation = imported_as(UN_ENTITY).message.subject.organisation
    assert organisation is not None
    assert (organisation.name, organisation.aliases) == ("EXAMPLE TRADING", ("PRIMER LTD",))
    assert organisation.description == "Sold samples."


# Field, value, where it goes in the message's data, and as what; then the paths that are left out.
PERSON = "subject.person"
TAKEN: list[tuple[str, Any, str, Any, list[str]]] = [
    ("date_of_birth", "1980", f"{PERSON}.born", "1980", []),
    ("date_of_birth", "1980/01", f"{PERSON}.born", "1980-01", []),
    ("date_of_birth", "1980/1/5", f"{PERSON}.born", "1980-01-05", []),
    ("date_of_birth", "1980-01-31", f"{PERSON}.born", "1980-01-31", []),
    ("date_of_birth", "1980/00/00", f"{PERSON}.born", "1980", []),
    ("date_of_birth", 1980, f"{PERSON}.born", "1980", []),
    ("date_of_birth", None, f"{PERSON}.born", None, []),
    ("date_of_birth", "31/01/1980", f"{PERSON}.born", None, ["date_of_birth"]),
    ("date_of_birth", "1980/13/31", f"{PERSON}.born", None, ["date_of_birth"]),
    ("date_of_birth", "1979/02/29", f"{PERSON}.born", None, ["date_of_birth"]),
    ("date_of_birth", "0080", f"{PERSON}.born", None, ["date_of_birth"]),
    ("date_of_birth", True, f"{PERSON}.born", None, ["date_of_birth"]),
    ("date_of_birth", ["1980"], f"{PERSON}.born", None, ["date_of_birth"]),
    ("name", "  O&#39;EXAMPLE &amp;amp; \t SONS ", f"{PERSON}.name.family", "O'EXAMPLE & SONS", []),
    ("name", "E\u0301XAMPLE\x00\u202e", f"{PERSON}.name.family", "\xc9XAMPLE", []),
    ("name", "\ud800EXAMPLE", f"{PERSON}.name.family", "EXAMPLE", []),
    ("name", "&nbsp; ", f"{PERSON}.name.family", None, []),
    ("name", "x" * 301, f"{PERSON}.name.family", None, ["name"]),
    ("name", {"family": "EXAMPLE"}, f"{PERSON}.name.family", None, ["name"]),
    ("sex_id", "f", f"{PERSON}.sex", "F", []),
    ("sex_id", "X", f"{PERSON}.sex", None, ["sex_id[0]"]),
    ("nationalities", ["XA", "xb", "XA"], f"{PERSON}.nationalities", [{"country": "XA"}, {"country": "XB"}], []),
    ("nationalities", "XA", f"{PERSON}.nationalities", [{"country": "XA"}], []),
    ("nationalities", ["ZZZ", None, 7], f"{PERSON}.nationalities", None, ["nationalities[0]", "nationalities[2]"]),
    ("country_of_birth_id", "SUHH", f"{PERSON}.birthplace.country", None, ["country_of_birth_id"]),
    ("height", "1.78", f"{PERSON}.description.height_cm", 178, []),
    ("height", 0, f"{PERSON}.description.height_cm", None, ["height"]),
    ("height", 178, f"{PERSON}.description.height_cm", None, ["height"]),
    ("height", "NaN", f"{PERSON}.description.height_cm", None, ["height"]),
    ("height", True, f"{PERSON}.description.height_cm", None, ["height"]),
    ("height", 10**400, f"{PERSON}.description.height_cm", None, ["height"]),
    ("weight", 79.6, f"{PERSON}.description.weight_kg", 80, []),
    ("weight", -80, f"{PERSON}.description.weight_kg", None, ["weight"]),
    ("eyes_colors_id", ["BROD", "BRO"], f"{PERSON}.description.eyes", "brown", []),
    ("eyes_colors_id", ["BRO", "BLU"], f"{PERSON}.description.eyes", None, ["eyes_colors_id"]),
    ("eyes_colors_id", ["QQQ"], f"{PERSON}.description.eyes", None, ["eyes_colors_id[0]"]),
    ("hairs_id", ["BLA", "???"], f"{PERSON}.description.hair", "black", ["hairs_id[1]"]),
    ("hairs_id", ["YELB"], f"{PERSON}.description.hair", "blond", []),
    ("languages_spoken_ids", ["FRE", "fra", "ENG"], f"{PERSON}.languages", ["fr", "en"], []),
    ("languages_spoken_ids", ["KMB"], f"{PERSON}.languages", ["kmb"], []),
    ("languages_spoken_ids", ["XXX"], f"{PERSON}.languages", None, ["languages_spoken_ids[0]"]),
    ("distinguishing_marks", "x" * 301, f"{PERSON}.description.remarks", "x" * 301, []),
    ("arrest_warrants", None, "judicial", None, []),
    ("arrest_warrants", [{"charge_translation": "Theft"}], "judicial.charges", [{"original": "Theft"}], []),
    (
        "arrest_warrants",
        [{"charge": "Vol", "charge_translation": "Theft"}, {"charge": "Fraude", "issuing_country_id": "ZZZ"}, 7],
        "judicial.charges",
        [{"original": "Vol", "translation": "Theft"}, {"original": "Fraude"}],
        ["arrest_warrants[1].issuing_country_id", "arrest_warrants[2]"],
    ),
    ("shoe_size", 44, "shoe_size", None, ["shoe_size"]),
    ("shoe_size", None, "shoe_size", None, []),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value", "path", "expected", "left"), TAKEN)
def test_each_value_is_taken_over_or_named(field: str, value: Any, path: str, expected: Any, left: list[str]) -> None:
    """What a message has room for is there as it is meant; everything else is named by its path, with a reason."""
    extract = read_extract(with_(RED, **{field: value}))

    at: Any = extract.data
    for step in path.split("."):
        at = at.get(step) if isinstance(at, dict) else None
    assert at == expected
    assert [one.path for one in extract.left] == left
    assert all(one.why and "EXAMPLE" not in one.why for one in extract.left)
    rules.check(imported_as(with_(RED, **{field: value})).message)


def test_a_name_that_a_stranger_chose_is_shown_with_care() -> None:
    """A field that nobody knows is named on one line that does nothing to a terminal."""
    (left,) = read_extract(with_(RED, **{"\x1b[2J\nname": "EXAMPLE"})).left

    assert left.path.isprintable()


def test_pictures_are_named_and_not_fetched() -> None:
    """What the links lead to besides the notice itself is left out."""
    links = {"images": {"href": "https://example.org/i"}, "thumbnail": {"href": "https://example.org/t"}, "x": 1}
    extract = read_extract(with_(RED, _links={**RED["_links"], **links}))

    assert [left.path for left in extract.left] == ["_links.images", "_links.thumbnail", "_links.x"]


@pytest.mark.parametrize(
    ("content", "colour", "field"),
    [
        (with_(RED, entity_id=...), None, "entity_id"),
        (with_(RED, entity_id=12345), None, "entity_id"),
        (with_(RED, entity_id="2021/1234567"), None, "entity_id"),
        (with_(RED, entity_id="2021/12345\n"), Colour.YELLOW, "_links.self.href"),
        ({"entity_id": "2021/1", "name": "EXAMPLE"}, None, "_links.self.href"),
        (with_(UN_ENTITY, name=None), None, "name"),
    ],
)
def test_what_cannot_be_known_is_refused_by_its_field(
    content: dict[str, Any], colour: Colour | None, field: str
) -> None:
    """Without a number or a colour there is nothing to mark the import with."""
    with pytest.raises(InvalidFieldError) as caught:
        read_extract(content, colour=colour)

    assert caught.value.field == field
    assert "EXAMPLE" not in str(caught.value)


@pytest.mark.parametrize(
    ("links", "uri"),
    [
        (None, "urn:noticewire:public-notices:red:2021-12345"),
        ({"self": {"href": "javascript:alert(1)//red/"}}, "urn:noticewire:public-notices:red:2021-12345"),
        ({"self": {"href": "https://example.org/red/\n"}}, "urn:noticewire:public-notices:red:2021-12345"),
        ({"self": {"href": "https://[example/red/"}}, "urn:noticewire:public-notices:red:2021-12345"),
        ({"self": "https://example.org/red/1"}, "urn:noticewire:public-notices:red:2021-12345"),
        ({"self": {"href": "https://example.org/red/1"}}, "https://example.org/red/1"),
    ],
)
def test_only_an_address_of_the_web_is_written_down(links: Any, uri: str) -> None:
    """What a file says of where it came from is not made a link that does something else."""
    assert imported_as(with_(RED, _links=links)).message.attachments[0].uri == uri


def test_lists_and_single_notices_are_found(tmp_path: Path) -> None:
    """A list gives its notices with their places and its colour, and says if it is but a page."""
    bare = with_(RED, _links=..., arrest_warrants=...)
    listed = {
        "total": 160,
        "query": {"page": 1},
        "_embedded": {"notices": [bare, None, YELLOW]},
        "_links": {"self": {"href": "https://example.org/notices/v1/red?page=1"}},
    }
    path = tmp_path / "all.json"
    path.write_text(json.dumps([listed, YELLOW, {"_embedded": {"notices": 7}}, 8]))
    entries = list(read(path))

    found = [(one.place.partition("all.json")[2], one) for entry in entries for one in notices_in(entry)]
    assert [place for place, _ in found] == [
        "[entry 1].notices[0]",
        "[entry 1].notices[1]",
        "[entry 1].notices[2]",
        "[entry 2]",
        "[entry 3]",
        "[entry 4]",
    ]
    assert [isinstance(one.content, RefusedError) for _, one in found] == [False, True, False, False, True, True]
    assert list_total(entries[0]) == (160, 3)
    first = found[0][1]
    assert not isinstance(first.content, RefusedError)
    assert read_extract(first.content, colour=first.colour).colour is Colour.RED


def placed(imported: Imported, source: str, digest: bytes, days: int = 0) -> tuple[int, int, bool]:
    place = imported.place(number="zw-d-2021-012345", source=source, digest=digest, now=NOW + timedelta(days=days))
    return place.revision, (place.issued_at - NOW).days, place.is_new


def test_the_same_again_is_the_same_and_a_change_is_a_revision(tmp_path: Path) -> None:
    """Also after a restart, and also where a content comes back that was there before."""
    for _ in range(2):
        with Imported.open(tmp_path / "imports" / "zw.db") as imported:
            first = placed(imported, "red/2021/12345", b"a", days=_)
    assert first == (1, 0, False)
    with Imported.open(tmp_path / "imports" / "zw.db") as imported:
        (place,) = imported.unlanded()
        imported.landed(place)
        assert imported.unlanded() == []
        assert placed(imported, "red/2021/12345", b"b", days=3) == (2, 3, True)
        assert placed(imported, "red/2021/12345", b"a", days=4) == (3, 4, True)
        assert placed(imported, "red/2021/12345", b"a", days=5) == (3, 4, False)


def test_a_number_has_one_source(tmp_path: Path) -> None:
    """Another notice that would have the same number is refused, and named."""
    with Imported.open(tmp_path / "zw.db") as imported:
        placed(imported, "red/2021/12345", b"a")
        with pytest.raises(InvalidFieldError, match="zw-d-2021-012345, which red/2021/12345 has"):
            placed(imported, "red/2021/012345", b"a")


def test_what_was_refused_has_no_place(tmp_path: Path) -> None:
    """The next one is revision 1 again; what was published before is not forgotten."""
    with Imported.open(tmp_path / "zw.db") as imported:
        for _ in range(2):
            place = imported.place(number="zw-d-2021-000001", source="red/2021/1", digest=b"a", now=NOW)
            assert (place.revision, place.is_new) == (1, True)
            imported.forget(place)
        imported.place(number="zw-d-2021-000001", source="red/2021/1", digest=b"a", now=NOW)
        again = imported.place(number="zw-d-2021-000001", source="red/2021/1", digest=b"a", now=NOW)
        imported.forget(again)
        assert not imported.place(number="zw-d-2021-000001", source="red/2021/1", digest=b"a", now=NOW).is_new


def test_what_never_landed_is_not_continued(tmp_path: Path) -> None:
    """Killed before Kafka had it: the same again is the same bytes, a change begins where that should have begun."""
    path = tmp_path / "zw.db"
    with Imported.open(path) as imported:
        assert placed(imported, "red/2021/12345", b"a") == (1, 0, True)
        assert placed(imported, "red/2021/12345", b"b") == (
            2,
            0,
            True,
        )  # written after the one before it, or not at all
    with Imported.open(path) as imported:
        assert placed(imported, "red/2021/12345", b"a", days=1) == (1, 0, False)
    with Imported.open(path) as imported:
        assert placed(imported, "red/2021/12345", b"c", days=2) == (1, 2, True)
        assert placed(imported, "red/2021/12345", b"c", days=3) == (1, 2, False)
        (place,) = imported.unlanded()
        imported.landed(place)
    with Imported.open(path) as imported:
        assert placed(imported, "red/2021/12345", b"d", days=4) == (2, 4, True)


def test_what_continues_what_was_refused_is_forgotten_with_it(tmp_path: Path) -> None:
    """Two revisions of one run, the first refused: the next run begins anew."""
    with Imported.open(tmp_path / "zw.db") as imported:
        first = imported.place(number="zw-d-2021-000001", source="red/2021/1", digest=b"a", now=NOW)
        second = imported.place(number="zw-d-2021-000001", source="red/2021/1", digest=b"b", now=NOW)
        imported.forget(first)
        imported.landed(second)
    with Imported.open(tmp_path / "zw.db") as imported:
        assert imported.unlanded() == []
        assert imported.place(number="zw-d-2021-000001", source="red/2021/1", digest=b"b", now=NOW).revision == 1


BEFORE_VERSIONS = """
CREATE TABLE imported (
    number TEXT NOT NULL,
    revision INTEGER NOT NULL,
    source TEXT NOT NULL,
    digest BLOB NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    PRIMARY KEY (number, revision)
) STRICT;
INSERT INTO imported VALUES ('zw-d-2021-012345', 1, 'red/2021/12345', x'61', 1777636800000);
"""


def test_a_file_from_before_versions_opens(tmp_path: Path) -> None:
    """Its places are kept; what Kafka has of them is still to be looked up; a look takes it that it has all of them."""
    path = tmp_path / "zw.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(BEFORE_VERSIONS)
    with Imported.open(path, keep=False) as imported:
        assert placed(imported, "red/2021/12345", b"b") == (2, 0, True)
    for _ in range(2):
        with Imported.open(path) as imported:
            assert [(one.number, one.revision, one.issued_at) for one in imported.unlanded()] == [
                ("zw-d-2021-012345", 1, NOW)
            ]
            assert placed(imported, "red/2021/12345", b"a", days=1) == (1, 0, False)


def test_a_look_changes_nothing(tmp_path: Path) -> None:
    """Without keeping, the file is read if there is one, and neither made nor changed."""
    path = tmp_path / "imports" / "zw.db"
    with Imported.open(path, keep=False) as imported:
        placed(imported, "red/2021/12345", b"a")
    assert not path.parent.exists()
    with Imported.open(path) as imported:
        placed(imported, "red/2021/12345", b"a")
    before = path.read_bytes()
    with Imported.open(path, keep=False) as imported:
        assert placed(imported, "red/2021/12345", b"b") == (2, 0, True)
    assert path.read_bytes() == before


def test_the_message_id_follows_from_source_and_content() -> None:
    """The same extract has the same id for the same importer, wherever that is; any difference gives another."""
    ids = [
        imported_as(copy.deepcopy(RED)).message.message_id,
        imported_as(RED).message.message_id,
        imported_as(RED, owner="ke").message.message_id,
        imported_as(with_(RED, weight=81)).message.message_id,
        imported_as(with_(RED, entity_id="2021/12346")).message.message_id,
    ]
    assert str(ids[0]) == "64d3de00-c9bf-5387-8dd7-95d94addbae1"
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


def test_texts_are_read_as_they_are_meant() -> None:
    """Entities, also doubled ones, and spaces of any kind."""
    assert clean("Caf&eacute;\u00a0&amp;nbsp;bar\r\n") == "Caf\xe9 bar"
    assert [language(code) for code in ("ENG", "GER", "DEU", "SQI", "ALB", "QQQ", "")] == [
        "en",
        "de",
        "de",
        "sq",
        "sq",
        None,
        None,
    ]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False)
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["1980", "XA", "BRO", "ENG", "&#0;", "&#xD800;", "&#99999999999;", "2021/1"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = sorted({*RED, *YELLOW, *UN_PERSON, *UN_ENTITY})


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([RED, YELLOW, UN_PERSON, UN_ENTITY]),
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), JSON, max_size=5),
)
def test_whatever_a_stranger_sends_is_imported_or_refused(base: dict[str, Any], changes: dict[str, Any]) -> None:
    """Any JSON in any field gives a message that keeps the rules and fits the wire, or a refusal; nothing else."""
    entry = Entry("all.json[entry 1]", Path(), {"_embedded": {"notices": [{**base, **changes}]}})
    for found in notices_in(entry):
        assert not isinstance(found.content, RefusedError)
        try:
            made = imported_as(dict(found.content), colour=None).message
            rules.check(made, today=NOW.date())
        except RefusedError:
            continue
        assert Codec.load().decode(Codec.load().encode(made)) == made
