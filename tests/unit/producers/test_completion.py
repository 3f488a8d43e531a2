"""What a file may leave out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from broker.errors import InvalidMessageError
from broker.members.directory import Bureau, Directory
from broker.model.change import BureauKind
from broker.model.message import Classification
from broker.model.naming import Region
from producers.completion import complete

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
ID = UUID("0197a3c2-7b1e-7c3a-9d55-0242ac120002")


def bureau(code: str, kind: BureauKind, region: Region) -> Bureau:
    return Bureau(
        code=code, name=code, kind=kind, region=region, city="", clearance=Classification.CONFIDENTIAL, version=1
    )


DIRECTORY = Directory(
    [
        bureau("zw", BureauKind.MEMBER, Region.AFRICA),
        bureau("ipsg", BureauKind.GENERAL_SECRETARIAT, Region.EUROPE),
        bureau("icc", BureauKind.INTERNATIONAL_ENTITY, Region.EUROPE),
    ],
    offset=3,
    installation="test",
)


def completed(**content: Any) -> dict[str, Any]:
    return complete(content, directory=DIRECTORY, now=NOW, new_id=lambda: ID)


def refused(**content: Any) -> dict[str, str]:
    with pytest.raises(InvalidMessageError) as caught:
        completed(**content)
    return {problem.field: problem.problem for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("number", "event", "issuer", "revision"),
    [  # each row is one cell of "Who may say what" in section 2 of the design
        ("zw-n-2026-000001", "requested", "zw", 0),
        ("zw-n-2026-000001", "refused", "ipsg", 0),
        ("zw-n-2026-000001", "published", "ipsg", 1),
        ("zw-n-2026-000001", "revised", "ipsg", None),
        ("zw-n-2026-000001", "suspended", "ipsg", None),
        ("zw-n-2026-000001", "reinstated", "ipsg", None),
        ("zw-n-2026-000001", "cancelled", "ipsg", None),
        ("zw-n-2026-000001", "withdrawn", "zw", None),
        ("zw-n-2026-000001", "expired", "ipsg", None),
        ("zw-d-2026-000001", "sent", "zw", 1),
        ("zw-d-2026-000001", "revised", "zw", None),
        ("zw-d-2026-000001", "suspended", "ipsg", None),
        ("zw-d-2026-000001", "reinstated", "ipsg", None),
        ("zw-d-2026-000001", "cancelled", "ipsg", None),
        ("zw-d-2026-000001", "withdrawn", "zw", None),
        ("zw-d-2026-000001", "expired", "ipsg", None),
    ],
)
def test_the_issuer_and_a_first_revision_follow_from_the_event(
    number: str, event: str, issuer: str, revision: int | None
) -> None:
    """Who says an event follows from it; so does the revision, where only one is possible, and else it is stated."""
    if revision is None:
        assert refused(number=number, event=event) == {"revision": "is missing"}
    filled = completed(number=number, event=event, **({} if revision is not None else {"revision": 7}))

    assert filled["issuer"] == issuer
    assert filled["revision"] == (7 if revision is None else revision)


@pytest.mark.parametrize(("owner", "region"), [("zw", "africa"), ("icc", "global"), ("ipsg", "global")])
def test_owner_region_id_and_time_are_filled(owner: str, region: str) -> None:
    """The number says whose case it is, the directory where that is at home; an entity's cases are global."""
    filled = completed(number=f"{owner}-n-2026-000001", event="requested")

    assert filled["owner"] == owner
    assert filled["region"] == region
    assert filled["message_id"] == ID
    assert filled["issued_at"] == NOW


def test_what_is_stated_stays() -> None:
    """Completion corrects nothing: what is stated and wrong is for the rules to refuse."""
    stated = {
        "message_id": "mine",
        "issued_at": "2026-01-01T00:00:00Z",
        "number": "zw-n-2026-000001",
        "event": "requested",
        "owner": "xx",
        "issuer": "icc",
        "region": "europe",
        "revision": 5,
        "type": "red",
    }
    assert completed(**stated) == stated


def test_null_is_left_out() -> None:
    """A null in a file means that the field is left out."""
    assert completed(number="zw-n-2026-000001", event="requested", issuer=None)["issuer"] == "zw"


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ({}, {"number": "is missing", "event": "is missing or unknown"}),
        ({"number": 7, "event": "requested"}, {"number": "is not text"}),
        ({"number": "zw-2026-1", "event": "requested"}, {"number": "is not a notice number"}),
        ({"number": "zw-n-2026-000001", "event": "forgotten"}, {"event": "is missing or unknown"}),
        ({"number": "zw-n-2026-000001", "event": ["requested"]}, {"event": "is missing or unknown"}),
        ({"number": "xx-n-2026-000001", "event": "requested"}, {"owner": "is not in the directory"}),
    ],
)
def test_what_cannot_be_derived_is_named(content: dict[str, Any], fields: dict[str, str]) -> None:
    """Each field that is missing and follows from nothing is named, all of them at once."""
    assert refused(**content) == fields
