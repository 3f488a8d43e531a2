from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.errors import InvalidFieldError, InvalidMessageError
from broker.model.circulation import Circulation, Scope
from broker.model.content import EXTRACT_MEDIA_TYPE, Attachment
from broker.model.diffusion import Diffusion
from broker.model.message import Event
from broker.model.notice import Notice
from broker.model.rules import Rule, check, check_attachment, country_codes
from tests.support.builders import (
    ALL,
    a_blue_notice,
    a_locate_diffusion,
    a_missing_diffusion,
    a_person,
    a_red_notice,
    a_yellow_notice,
    an_arrest_diffusion,
    an_attachment,
    bureaus,
    regions,
)
from tests.support.strategies import a

VICTIM = {"subject": a_person("victim"), "classification": "restricted"}
CONTACTS = [{"kind": "social_service", "name": "Shelter"}]

# Who builds it, the changes, the field that is named, and the rule.
REFUSED: list[tuple[Callable[..., Any], dict[str, Any], str, Rule]] = [
    # unknown symbols and countries
    (a_red_notice, {"type": "unknown"}, "type", Rule.KNOWN_VALUE),
    (a_red_notice, {"status": "unknown"}, "status", Rule.KNOWN_VALUE),
    (a_red_notice, {"warnings": ["armed", "unknown"]}, "warnings[1]", Rule.KNOWN_VALUE),
    (a_red_notice, {"subject": {"kind": "unknown", "role": "wanted"}}, "subject.kind", Rule.KNOWN_VALUE),
    (a_red_notice, {"subject": a_person("wanted", sex="unknown")}, "subject.person.sex", Rule.KNOWN_VALUE),
    (a_red_notice, {"circulation": {"scope": "unknown"}}, "circulation.scope", Rule.KNOWN_VALUE),
    (an_arrest_diffusion, {"kind": "unknown"}, "kind", Rule.KNOWN_VALUE),
    (
        a_red_notice,
        {"subject": a_person("wanted", nationalities=[{"country": "XA"}, {"country": "XX"}, {"country": "UK"}])},
        "subject.person.nationalities[2].country",
        Rule.COUNTRY,
    ),
    (
        a_red_notice,
        {"subject": a_person("wanted", birthplace={"country": "QA"}, likely_places=[{"country": "QL"}])},
        "subject.person.likely_places[0].country",
        Rule.COUNTRY,
    ),
    (a_red_notice, {"owner": "uk", "issuer": "ipsg"}, "owner", Rule.COUNTRY),
    (a_red_notice, {"issuer": "zx"}, "issuer", Rule.COUNTRY),
    (a_red_notice, {"circulation": bureaus("fr", "zx")}, "circulation.bureaus", Rule.COUNTRY),
    (a_red_notice, {"exclusions": {"yy"}}, "circulation.exclusions", Rule.COUNTRY),
    # number, event, revision, reason
    (a_red_notice, {"number": "zw-2026-1"}, "number", "<owner>-<n or d>-<year>-<six digits>, as in zw-n-2026-000123"),  # type: ignore[list-item]
    (a_red_notice, {"number": "fr-n-2026-000001"}, "number", Rule.NUMBER),
    (a_red_notice, {"number": "zw-d-2026-000001"}, "number", Rule.NUMBER),
    (an_arrest_diffusion, {"number": "zw-n-2026-000001"}, "number", Rule.NUMBER),
    (a_red_notice, {"event": "sent"}, "event", Rule.EVENT),
    (an_arrest_diffusion, {"event": "requested"}, "event", Rule.EVENT),
    (an_arrest_diffusion, {"event": "refused"}, "event", Rule.EVENT),
    (an_arrest_diffusion, {"event": "published"}, "event", Rule.EVENT),
    (a_red_notice, {"event": "unknown"}, "event", Rule.KNOWN_VALUE),
    (a_red_notice, {"event": "requested", "revision": 1}, "revision", Rule.REVISION),
    (a_red_notice, {"event": "refused", "revision": 1}, "revision", Rule.REVISION),
    (a_red_notice, {"event": "published", "revision": 0}, "revision", Rule.REVISION),
    (a_red_notice, {"event": "published", "revision": 2}, "revision", Rule.REVISION),
    (an_arrest_diffusion, {"event": "sent", "revision": 2}, "revision", Rule.REVISION),
    (a_red_notice, {"event": "revised", "revision": 1}, "revision", Rule.REVISION),
    (a_red_notice, {"event": "cancelled", "revision": 0}, "revision", Rule.REVISION),
    (an_arrest_diffusion, {"event": "withdrawn", "revision": 0}, "revision", Rule.REVISION),
    *(
        (a_red_notice, {"event": event, "reason": None}, "reason", Rule.REASON)
        for event in ("refused", "suspended", "reinstated", "cancelled", "withdrawn", "expired")
    ),
    # circulation
    (a_red_notice, {"circulation": {"scope": "all", "regions": ["africa"]}}, "circulation.regions", Rule.SCOPE),
    (a_red_notice, {"circulation": {"scope": "all", "bureaus": ["fr"]}}, "circulation.bureaus", Rule.SCOPE),
    (
        a_red_notice,
        {"circulation": {"scope": "bureaus", "bureaus": ["fr"], "regions": ["africa"]}},
        "circulation.regions",
        Rule.SCOPE,
    ),
    (a_red_notice, {"circulation": {"scope": "regions"}}, "circulation.regions", Rule.AUDIENCE),
    (a_red_notice, {"circulation": {"scope": "bureaus"}}, "circulation.bureaus", Rule.AUDIENCE),
    (a_red_notice, {"circulation": regions("global")}, "circulation.regions", Rule.AUDIENCE),
    (
        an_arrest_diffusion,
        {"circulation": bureaus("fr", "xb"), "exclusions": {"fr", "xb", "xa"}},
        "circulation.exclusions",
        Rule.AUDIENCE,
    ),
    # victims and witnesses (domain section 6)
    (a_red_notice, VICTIM, "subject.role", Rule.NOT_WANTED),
    (an_arrest_diffusion, VICTIM, "subject.role", Rule.NOT_WANTED),
    (a_red_notice, {**VICTIM, "subject": a_person("witness")}, "subject.role", Rule.NOT_WANTED),
    (an_arrest_diffusion, {**VICTIM, "event": "cancelled"}, "subject.role", Rule.NOT_WANTED),
    (a_blue_notice, {"subject": a_person("victim")}, "classification", Rule.VICTIM_CLASSIFICATION),
    (a_blue_notice, {"subject": a_person("witness")}, "classification", Rule.VICTIM_CLASSIFICATION),
    (a_blue_notice, {**VICTIM, "contacts": CONTACTS, "public_extract": True}, "public_extract", Rule.VICTIM_PUBLIC),
    (a_blue_notice, VICTIM, "contacts", Rule.VICTIM_CONTACT),
    (
        a_locate_diffusion,
        {"risk_countries": ["XA", "XC"], "exclusions": {"xa"}},
        "risk_countries[1]",
        Rule.VICTIM_COUNTRY,
    ),
    (
        a_missing_diffusion,
        {"risk_countries": ["XA"], "circulation": ALL, "exclusions": {"xa"}},
        "circulation.scope",
        Rule.VICTIM_COUNTRY,
    ),
    (
        a_yellow_notice,
        {"public_extract": True, "handling_codes": ["police_only"]},
        "public_extract",
        Rule.PUBLIC_CONSENT,
    ),
    # the rest
    (
        a_red_notice,
        {"attachments": [an_attachment("document", media_type=EXTRACT_MEDIA_TYPE)]},
        "attachments",
        Rule.EXTRACT,
    ),
    (
        an_arrest_diffusion,
        {"attachments": [an_attachment(), an_attachment("document", media_type=EXTRACT_MEDIA_TYPE)]},
        "attachments",
        Rule.EXTRACT,
    ),
    (a_red_notice, {"offences": ["thb.labour", "thb.labour.moon"]}, "offences[1]", Rule.OFFENCE),
    (a_red_notice, {"offences": ["opposition"]}, "offences[0]", Rule.OFFENCE),
    (a_red_notice, {"retained_until": "2031-05-02"}, "retained_until", Rule.RETENTION),
    (a_red_notice, {"retained_until": "2026-04-30"}, "retained_until", Rule.RETENTION),
    (a_red_notice, {"texts": []}, "texts", Rule.TEXT),
    (a_red_notice, {"texts": [{"language": "en", "title": "t", "body": "b"}] * 2}, "texts", Rule.TEXT),
    (a_red_notice, {"subject": a_person("wanted", born="2025")}, "subject.person.born", Rule.POSSIBLE_DATE),
    (
        a_blue_notice,
        {
            "subject": {
                "kind": "group",
                "role": "suspect",
                "group": {"description": "Two.", "members": [{}, {"born": "2025"}]},
            }
        },
        "subject.group.members[1].born",
        Rule.POSSIBLE_DATE,
    ),
    (
        a_missing_diffusion,
        {"facts": {"summary": "Left home.", "happened": "2026-05-03"}},
        "facts.happened",
        Rule.POSSIBLE_DATE,
    ),
]


@pytest.mark.parametrize(("build", "changes", "field", "rule"), REFUSED)
def test_a_message_that_breaks_a_rule_is_refused(
    build: Callable[..., Any], changes: dict[str, Any], field: str, rule: Rule
) -> None:
    """The refusal names the field and the rule."""
    with pytest.raises(InvalidMessageError) as caught:
        check(build(**changes))
    assert (field, rule) in [(problem.field, problem.rule) for problem in caught.value.problems]


ACCEPTED: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    *((a_red_notice, {"event": event}) for event in Event if event not in {Event.UNKNOWN, Event.SENT}),
    *(
        (an_arrest_diffusion, {"event": event})
        for event in Event
        if event not in {Event.UNKNOWN, Event.REQUESTED, Event.REFUSED, Event.PUBLISHED}
    ),
    (a_red_notice, {"event": "withdrawn", "revision": 0}),  # a request
    (a_red_notice, {"event": "suspended", "revision": 7}),
    (a_red_notice, {"circulation": regions("africa", "europe"), "exclusions": {"xa"}}),
    (a_red_notice, {"circulation": bureaus("fr", "rb-abidjan"), "exclusions": {"fr"}}),
    (a_red_notice, {"owner": "ipsg", "region": "global"}),
    (a_red_notice, {"retained_until": "2031-05-01"}),
    (a_red_notice, {"retained_until": None}),
    (a_blue_notice, {**VICTIM, "contacts": CONTACTS}),
    (
        a_blue_notice,
        {**VICTIM, "contacts": CONTACTS, "classification": "confidential", "circulation": regions("africa")},
    ),
    (a_yellow_notice, {**VICTIM, "contacts": CONTACTS, "public_extract": True}),
    (a_locate_diffusion, {"risk_countries": ["XA"], "exclusions": {"xa"}}),
    (a_red_notice, {"subject": a_person("wanted", born="2012")}),  # minority alone takes nothing away
    (a_missing_diffusion, {"facts": {"summary": "Left home.", "happened": "2026-05-02"}}),  # tomorrow, somewhere
]


@pytest.mark.parametrize(("build", "changes"), ACCEPTED)
def test_what_keeps_the_rules_is_accepted(build: Callable[..., Any], changes: dict[str, Any]) -> None:
    """Nothing is refused that the rules allow; each event is allowed for its class."""
    check(build(**changes))


@pytest.mark.parametrize("event", ["refused", "suspended", "cancelled", "withdrawn", "expired"])
def test_an_end_is_never_refused_for_what_its_notice_lacks(event: str) -> None:
    """Being incomplete, or out of date, may be the very reason for the end."""
    check(a_red_notice(event=event, judicial=None, facts=None, texts=[], offences=[], retained_until="2026-01-01"))


def test_every_broken_rule_is_named_at_once() -> None:
    """One round of mending is enough."""
    with pytest.raises(InvalidMessageError) as caught:
        check(a_red_notice(offences=["nothing"], texts=[], revision=4, circulation=Circulation(scope=Scope.REGIONS)))
    named = {problem.field for problem in caught.value.problems}
    assert named == {"offences[0]", "texts", "revision", "circulation.regions"}


def test_no_refusal_quotes_personal_data() -> None:
    """Names, texts and places stay out of errors, which end up in logs."""
    subject = {"kind": "person", "role": "victim", "person": {"name": {"family": "EXAMPLE"}, "born": "2030"}}
    with pytest.raises(InvalidMessageError) as caught:
        check(a_red_notice(subject=subject))
    assert "EXAMPLE" not in str(caught.value)
    assert "2030" not in str(caught.value)


def test_on_its_day_a_message_is_neither_ahead_nor_past_its_retention() -> None:
    """With today's date given, a future issue and a passed retention are refused; an end still goes through."""
    notice = a_red_notice(retained_until="2027-01-01")
    check(notice, today=date(2026, 4, 30))  # it is tomorrow already where it was issued
    check(notice, today=date(2027, 1, 1))
    with pytest.raises(InvalidMessageError, match="issued_at: lies ahead"):
        check(notice, today=date(2026, 4, 29))
    with pytest.raises(InvalidMessageError, match="retained_until: has passed"):
        check(notice, today=date(2027, 1, 2))
    check(a_red_notice(event="expired", retained_until="2027-01-01"), today=date(2027, 1, 2))


def test_the_user_assigned_codes_are_countries() -> None:
    """AA, QM to QZ, XA to XZ and ZZ are there for what is made up (ISO 3166-1, section 8.1.3), and no others."""
    codes = country_codes()
    assert {"AA", "QM", "QZ", "XA", "XK", "XZ", "ZZ", "FR", "SS", "PS", "VA", "SX"} <= codes
    assert not {"QL", "AB", "ZX", "UK", "EU", "SU", "fr", "", "001"} & codes
    assert len(codes) == 249 + 14 + 26 + 2


def test_an_attachment_is_held_against_its_content() -> None:
    """A wrong size and a wrong digest are refused by name; what fits is accepted."""
    attachment = Attachment.model_validate(an_attachment(content=b"pixels"))
    check_attachment(attachment, b"pixels")
    with pytest.raises(InvalidFieldError, match=r"attachments\[0\]\.sha256: is not the SHA-256 of the content"):
        check_attachment(attachment, b"PIXELS", "attachments[0]")
    with pytest.raises(InvalidFieldError, match=r"attachment\.size_bytes: the content has 7 bytes"):
        check_attachment(attachment, b"pixels!")


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=150)
@given(st.one_of(a(Notice), a(Diffusion)), st.none() | st.dates())
def test_any_shape_is_accepted_or_refused(message: Notice | Diffusion, today: date | None) -> None:
    """Whatever was signed, the rules give their verdict and never fail: a poison message stops no router."""
    with suppress(InvalidMessageError):
        check(message, today=today)


def test_changing_a_message_keeps_its_class() -> None:
    """The builders give what their names say."""
    assert isinstance(a_red_notice(), Notice)
