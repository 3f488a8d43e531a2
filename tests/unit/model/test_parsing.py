from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import InvalidMessageError
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.model.parsing import parse_message
from tests.support.builders import a_red_notice, an_arrest_diffusion, an_attachment
from tests.support.strategies import a


def as_file(**changes: Any) -> dict[str, Any]:
    return {**a_red_notice().model_dump(mode="json"), **changes}


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=40)
@given(st.one_of(a(Notice), a(Diffusion)))
def test_any_message_survives_json(message: Notice | Diffusion) -> None:
    """What is written as JSON is read back equal, as the class that it was."""
    assert parse_message(json.loads(message.model_dump_json())) == message


def test_type_or_kind_says_which_class_it_is() -> None:
    """A `type` makes a notice, a `kind` a diffusion; both or neither is refused."""
    assert isinstance(parse_message(as_file()), Notice)
    assert isinstance(parse_message(an_arrest_diffusion().model_dump()), Diffusion)
    with pytest.raises(InvalidMessageError, match="type: has both"):
        parse_message(as_file(kind="arrest"))
    with pytest.raises(InvalidMessageError, match="type: has neither"):
        parse_message({"number": "zw-n-2026-000001"})


@pytest.mark.parametrize("given_id", [{}, {"message_id": None}])
def test_a_message_without_an_id_is_given_one(given_id: dict[str, None]) -> None:
    """Ids are optional in files; the new one is a UUIDv7."""
    data = as_file()
    del data["message_id"]
    assert parse_message({**data, **given_id}).message_id.version == 7


def test_yaml_writes_dates_as_people_do() -> None:
    """YAML's own dates and numbers are partial dates too."""
    born = yaml.safe_load("{exact: 1980-01-31, year: 1980, month: '1980-01', about: about 1980, range: 1980..1984}")
    for value in born.values():
        subject = {"kind": "person", "person": {"born": value}}
        parsed = parse_message(as_file(subject=subject)).subject.person
        assert parsed is not None
        assert parsed.born is not None
        assert parsed.born.year == 1980


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"numbr": "x"}, "numbr", "is not a field of this format"),
        ({"number": None}, "number", "input should be a valid string"),
        ({"message_id": "secret"}, "message_id", "is not a UUID"),
        ({"type": "secret"}, "type", "input should be 'unknown', 'red'"),
        ({"region": "secret"}, "region", "input should be 'africa'"),
        ({"owner": "SECRET"}, "owner", "string should match pattern"),
        ({"issued_at": "secret"}, "issued_at", "is not a moment"),
        ({"issued_at": "2026-05-01T12:00:00"}, "issued_at", "a moment needs a time zone"),
        ({"retained_until": "secret"}, "retained_until", "is not a day"),
        ({"subject": {"kind": "person", "person": {"born": "secret"}}}, "subject.person.born", "is not a date such as"),
        ({"subject": {"kind": "person", "person": {"born": "1980-02-30"}}}, "subject.person.born", "not a day of that"),
        ({"texts": [{"language": "en", "title": "t", "body": "x" * 20_001}]}, "texts[0].body", "at most 20000"),
        ({"texts": [{"language": "en", "title": "secret" * 60, "body": "x"}]}, "texts[0].title", "at most 300"),
        ({"texts": [{"language": "ru", "title": "t", "body": "x"}]}, "texts[0].language", "input should be"),
        ({"attachments": [an_attachment(sha256="00" * 31)]}, "attachments[0].sha256", "at least 32"),
        ({"attachments": [an_attachment(sha256="secret")]}, "attachments[0].sha256", "is not hexadecimal"),
        ({"operation": "Secret Operation"}, "operation", "string should match pattern"),
        ({"offences": ["THB"]}, "offences[0]", "string should match pattern"),
        ({"warnings": ["armed"] * 101}, "warnings", "at most 100 items"),
        ({"revision": -1}, "revision", "greater than or equal to 0"),
        ({"revision": 2**31}, "revision", "less than 2147483648"),
        ({"number": "secret\ud800"}, "number", "unicode"),
        ({"issued_at": "0001-01-01T00:00:00+14:00"}, "issued_at", "first day of the calendar"),
    ],
)
def test_each_misshapen_field_is_named_without_its_value(changes: dict[str, Any], field: str, said: str) -> None:
    """The path of the field and what is wrong are said; the value is not."""
    with pytest.raises(InvalidMessageError) as caught:
        parse_message(as_file(**changes))
    (problem,) = caught.value.problems
    assert problem.field == field
    assert said in str(problem)
    assert "secret" not in str(caught.value).lower()
