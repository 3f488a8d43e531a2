"""The samples: valid, complete in their kinds, and each notice's messages in an order that its life allows."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from typing import Any

import pytest

from broker.model import rules
from broker.model.circulation import Scope
from broker.model.content import AskedFor, AttachmentKind, HandlingCode, Language, WarningCode
from broker.model.diffusion import Diffusion, DiffusionKind
from broker.model.message import Classification, EndReason, Event, Message, Status, Urgency
from broker.model.naming import Region
from broker.model.notice import Measure, Notice, NoticeType
from broker.model.subject import DocumentLoss, SubjectKind, SubjectRole
from tests.support.samples import SAMPLES, sample_messages, seeded_directory
from tests.support.table import plain_samples

SCRIPTS = {"Latin": "[A-Za-z]", "Arabic": "[\u0600-\u06ff]", "Cyrillic": "[\u0400-\u04ff]"}
FICTITIOUS = {"XA", "XB"}


def _known(values: type[StrEnum]) -> set[StrEnum]:
    return {value for value in values if value != "unknown"}


def _seen(of: type[StrEnum], values: Any) -> None:
    """Every known value of an enum is among some."""
    assert _known(of) <= set(values), f"no sample has {sorted(_known(of) - set(values))}"


def test_there_are_at_least_eighty() -> None:
    """Enough for a demonstration, and each message has an id of its own."""
    assert len(sample_messages()) >= 80
    assert len({message.message_id for message in sample_messages()}) == len(sample_messages())


@pytest.mark.parametrize("message", sample_messages(), ids=lambda one: f"{one.number}-{one.event}-{one.revision}")
def test_each_keeps_every_rule_of_the_domain(message: Message) -> None:
    """The producer takes each of them, and whoever is named in it is in the directory."""
    rules.check(message, today=date(2026, 5, 1))

    directory = seeded_directory()
    for code in (message.owner, *message.circulation.bureaus, *message.circulation.exclusions):
        assert code in directory


def test_each_type_kind_and_event_is_among_them() -> None:
    """Nothing of version 1 is without a sample."""
    _seen(NoticeType, [message.type for message in sample_messages() if isinstance(message, Notice)])
    _seen(DiffusionKind, [message.kind for message in sample_messages() if isinstance(message, Diffusion)])
    _seen(Event, [message.event for message in sample_messages()])
    _seen(Status, [message.status for message in sample_messages()])
    _seen(Urgency, [message.urgency for message in sample_messages()])
    _seen(Classification, [message.classification for message in sample_messages()])
    _seen(Region, [message.region for message in sample_messages()])
    _seen(Scope, [message.circulation.scope for message in sample_messages()])
    _seen(SubjectKind, [message.subject.kind for message in sample_messages()])
    _seen(SubjectRole, [message.subject.role for message in sample_messages()])
    _seen(HandlingCode, [code for message in sample_messages() for code in message.handling_codes])
    _seen(
        Measure, [one for m in sample_messages() if isinstance(m, Notice) and m.listing for one in m.listing.measures]
    )
    _seen(EndReason, [message.reason for message in sample_messages()])
    assert {message.circulation.closed for message in sample_messages()} == {True, False}
    assert {WarningCode.ARMED, WarningCode.VIOLENT} <= {code for one in sample_messages() for code in one.warnings}
    assert AskedFor.PROTECTION in {asked for message in sample_messages() for asked in message.asked}
    assert DocumentLoss.COUNTERFEIT in {one.subject.document.loss for one in sample_messages() if one.subject.document}


def test_texts_and_scripts() -> None:
    """Texts in English, French, Spanish and Arabic; letters of three scripts."""
    _seen(Language, [text.language for message in sample_messages() for text in message.texts])
    for path in sorted(SAMPLES.glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert re.search(SCRIPTS["Latin"], text)
    everything = "".join(path.read_text(encoding="utf-8") for path in SAMPLES.glob("*.yaml"))
    for script, letters in SCRIPTS.items():
        assert len(re.findall(letters, everything)) > 100, script


def test_dates_are_partial_and_approximate() -> None:
    """Births by day, by month, by year, in a range and about; facts likewise."""
    births = [one.subject.person.born for one in sample_messages() if one.subject.person and one.subject.person.born]
    assert any(born.day for born in births)
    assert any(born.month and not born.day for born in births)
    assert any(not born.month and not born.until_year and not born.about for born in births)
    assert any(born.until_year for born in births)
    assert any(born.about for born in births)


def test_attachments_travel_by_digest() -> None:
    """Photographs, fingerprints and DNA are referred to by SHA-256, and where a child is shown, with a key."""
    _seen(AttachmentKind, [one.kind for m in sample_messages() for one in m.attachments])
    assert all(one.key for m in sample_messages() if m.is_victim_or_witness for one in m.attachments)


def test_answers_refer_to_what_they_answer() -> None:
    """An answer to an issuer is a diffusion whose `in_reply_to` is a message that came before."""
    before: set[Any] = set()
    answers = 0
    for message in sample_messages():
        if message.in_reply_to is not None:
            assert message.in_reply_to in before
            assert isinstance(message, Diffusion)
            answers += 1
        before.add(message.message_id)
    assert answers >= 2


def test_the_operation_across_west_africa() -> None:
    """Diffusions, requests, revisions, a suspension, a cancellation, a missing child, a protected victim."""
    operation = [message for message in sample_messages() if message.operation == "harmattan-2026"]

    assert {"sent", "requested", "published", "revised", "suspended", "cancelled"} <= {one.event for one in operation}
    assert any(one.is_missing_child and isinstance(one, Notice) and one.type == "yellow" for one in operation)
    victims = [one for one in operation if one.subject.role == "victim"]
    assert any(one.risk_countries and one.circulation.scope == "bureaus" for one in victims)
    assert all(country.lower() in one.circulation.exclusions for one in victims for country in one.risk_countries)
    assert {"thb.labour.agriculture", "thb.labour.mining"} <= {code for one in operation for code in one.offences}
    assert len({one.owner for one in operation}) >= 8


def test_a_number_keeps_to_one_file_and_its_revisions_to_their_order() -> None:
    """Files are published in the order of their names, and a notice's messages as they stand in its file."""
    files = {(sample.number, sample.file) for sample in plain_samples()}
    assert max(Counter(number for number, _ in files).values()) == 1
    for number, _ in files:
        assert [one.revision for one in plain_samples() if one.number == number] == sorted(
            one.revision for one in plain_samples() if one.number == number
        )


def test_ids_and_times_are_fixed() -> None:
    """Publishing the samples again gives repeats: the files state UUIDv7 and moment, in the order of issue."""
    ids = [sample.message_id for sample in plain_samples()]
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one) for one in ids)
    assert {message.issued_at.year for message in sample_messages()} == {2026}
    for message in sample_messages():
        assert message.message_id.int >> 80 == int(message.issued_at.timestamp() * 1000)


def _nationalities(message: Message) -> Iterator[str]:
    people = [message.subject.person] if message.subject.person else []
    people += list(message.subject.group.members) if message.subject.group else []
    for person in people:
        yield from (nationality.country for nationality in person.nationalities)
        yield from (document.country for document in person.documents if document.country)


def test_nobody_in_them_has_a_real_nationality() -> None:
    """Persons and their papers come from countries that there are not."""
    assert {country for message in sample_messages() for country in _nationalities(message)} == FICTITIOUS


def test_codes_of_two_letters_that_are_no_countrys_may_own_cases() -> None:
    """The rules know the entities whose codes look like a country's: those of `entities.csv`."""
    with (SAMPLES.parent / "broker" / "members" / "entities.csv").open(encoding="utf-8") as file:
        short = {row["code"] for row in csv.DictReader(file) if len(row["code"]) == 2}

    assert short == rules.ENTITIES_OF_TWO_LETTERS
