"""One refusal for each datum of each notice type and diffusion kind (domain section 2, *minimum data*)."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import InvalidMessageError
from broker.model.diffusion import Diffusion, DiffusionKind
from broker.model.minimum import MINIMUM
from broker.model.notice import Notice, NoticeType
from broker.model.rules import check
from tests.support.builders import DIFFUSION_BUILDERS, NOTICE_BUILDERS, a_person, an_attachment, changed

BUILDERS: dict[str, Any] = {**NOTICE_BUILDERS, **DIFFUSION_BUILDERS}

BODY = {"kind": "body", "role": "deceased", "body": {}}
FACTS = {"summary": "Seen in a port.", "place": {"country": "XB"}, "happened": "2024", "police_reference": "1"}

# What is built, where it is changed, to what, the field that is named, and the source of the rule.
REFUSED: list[tuple[str, str, Any, str, str]] = [
    # red (RPD 82-87): ID; facts, time, place; charge; law; penalty; valid warrant; extradition will be sought
    ("red", "subject.person.name.family", None, "subject.person.name.family", "82-84"),
    ("red", "subject.person.name.forename", None, "subject.person.name.forename", "82-84"),
    ("red", "subject.person.sex", None, "subject.person.sex", "82-84"),
    ("red", "subject.person.born", None, "subject.person.born", "82-84"),
    ("red", "subject.person.description", None, "subject.person.description", "82-84"),
    ("red", "subject.person", None, "subject.person", "design section 3"),
    ("red", "subject", BODY, "subject.kind", "82-84"),
    ("red", "subject.role", None, "subject.role", "82-84"),
    ("red", "subject.role", "suspect", "subject.role", "82-84"),
    ("red", "facts", None, "facts.summary", "82-84"),
    ("red", "facts.summary", None, "facts.summary", "82-84"),
    ("red", "facts.happened", None, "facts.happened", "82-84"),
    ("red", "facts.place", None, "facts.place", "82-84"),
    ("red", "offences", [], "offences", "82-84"),
    ("red", "judicial", None, "judicial.charges", "82-84"),
    ("red", "judicial.charges", [], "judicial.charges", "82-84"),
    ("red", "judicial.law", None, "judicial.law", "82-84"),
    ("red", "judicial.maximum_penalty", None, "judicial.maximum_penalty", "article 83"),
    ("red", "judicial.maximum_penalty.months", 23, "judicial.maximum_penalty", "article 83"),
    ("red", "judicial.warrants", [], "judicial.warrants", "82-84"),
    ("red", "judicial.warrants.0.valid_until", "2026-04-30", "judicial.warrants", "82-84"),
    ("red", "judicial.warrants.0.issued_on", "2026-05-02", "judicial.warrants", "82-84"),
    ("red", "judicial.extradition_will_be_sought", False, "judicial.extradition_will_be_sought", "article 84"),
    # blue (88): who; facts; what is asked; convicted, charged, suspect, witness or victim
    ("blue", "subject", {"kind": "person", "role": "suspect", "person": {"sex": "F"}}, "subject.person", "88"),
    ("blue", "subject.role", "missing", "subject.role", "88"),
    ("blue", "subject.kind", "threat", "subject.kind", "88"),
    ("blue", "facts.summary", None, "facts.summary", "88"),
    ("blue", "asked", [], "asked", "88"),
    # green (89): ID; assessment; offences
    ("green", "subject.person.name", None, "subject.person.name.family", "89"),
    ("green", "subject.person.name.forename", None, "subject.person.name.forename", "89"),
    ("green", "subject.person.sex", None, "subject.person.sex", "89"),
    ("green", "subject.person.born", None, "subject.person.born", "89"),
    ("green", "subject.person.description", None, "subject.person.description", "89"),
    ("green", "subject.role", "victim", "subject.role", "89"),
    ("green", "subject", BODY, "subject.kind", "89"),
    ("green", "assessment", None, "assessment", "89"),
    ("green", "offences", [], "offences", "89"),
    # yellow (90): ID or photo; circumstances; recorded by police
    ("yellow", "subject.person.name.family", None, "subject.person.name.family", "90"),
    ("yellow", "subject.person.name.forename", None, "subject.person.name.forename", "90"),
    ("yellow", "subject.person.sex", None, "subject.person.sex", "90"),
    ("yellow", "subject.person.born", None, "subject.person.born", "90"),
    ("yellow", "subject.person.description", None, "subject.person.description", "90"),
    ("yellow", "subject.role", "wanted", "subject.role", "90"),
    ("yellow", "subject", BODY, "subject.kind", "90"),
    ("yellow", "facts.summary", None, "facts.summary", "90"),
    ("yellow", "facts.police_reference", None, "facts.police_reference", "90"),
    # black (91): place, date; photo, prints or DNA; find recorded
    ("black", "subject", a_person("deceased"), "subject.kind", "91"),
    ("black", "subject.role", "missing", "subject.role", "91"),
    ("black", "facts.place", None, "facts.place", "91"),
    ("black", "facts.happened", None, "facts.happened", "91"),
    ("black", "facts.police_reference", None, "facts.police_reference", "91"),
    ("black", "attachments", [], "attachments", "91"),
    ("black", "attachments.0.kind", "document", "attachments", "91"),
    # purple (92): description
    ("purple", "subject.modus_operandi", None, "subject", "92"),
    ("purple", "subject", {"kind": "object", "object": {"kind": "concealment"}}, "subject", "92"),
    ("purple", "subject", a_person("suspect"), "subject.kind", "92"),
    # orange (93): threat, where, when, reliability
    ("orange", "subject.threat", None, "subject.threat", "design section 3"),
    ("orange", "subject", a_person("possible_threat"), "subject.kind", "93"),
    ("orange", "subject.threat.place", None, "subject.threat.place", "93"),
    ("orange", "subject.threat.expected", None, "subject.threat.expected", "93"),
    ("orange", "subject.threat.reliability", None, "subject.threat.reliability", "93"),
    # special (95): ID or entity; list reference; asset freeze, travel ban, arms embargo
    ("special", "subject", a_person("possible_threat", name=None), "subject.person.name.family", "95"),
    ("special", "subject", a_person("possible_threat", name={"family": "X"}), "subject.person.name.forename", "95"),
    ("special", "subject", a_person("possible_threat", sex=None), "subject.person.sex", "95"),
    ("special", "subject", a_person("possible_threat", born=None), "subject.person.born", "95"),
    ("special", "subject", a_person("possible_threat", description=None), "subject.person.description", "95"),
    ("special", "subject.organisation", None, "subject.organisation", "design section 3"),
    ("special", "subject", BODY, "subject.kind", "95"),
    ("special", "listing", None, "listing", "95"),
    ("special", "listing.measures", [], "listing.measures", "95"),
    # silver (pilot of 2025): person; offence; property, vehicle, account or business
    ("silver", "subject", BODY, "subject.kind", "pilot of 2025"),
    ("silver", "subject.person.name", None, "subject.person.name", "pilot of 2025"),
    ("silver", "subject.person", None, "subject.person.name", "pilot of 2025"),
    ("silver", "subject.assets", [], "subject.assets", "pilot of 2025"),
    ("silver", "subject.assets.0.account", None, "subject.assets[0].account", "design section 3"),
    *(
        ("silver", "subject.assets", [{"kind": kind, kind: part}], "subject.assets", "pilot of 2025")
        for kind, part in (
            ("account", {"country": "XB"}),
            ("property", {"land_register": "Sampletown"}),
            ("vehicle", {"colour": "black"}),
            ("vessel", {"flag": "XB"}),
        )
    ),
    ("silver", "offences", [], "offences", "pilot of 2025"),
    # diffusions (97-101): what each kind is for; the least is our choice
    ("arrest", "subject.person.name", None, "subject.person.name", "97-101"),
    ("arrest", "subject.role", "missing", "subject.role", "97-101"),
    ("arrest", "subject", BODY, "subject.kind", "97-101"),
    ("arrest", "facts.summary", None, "facts.summary", "97-101"),
    ("arrest", "offences", [], "offences", "97-101"),
    ("arrest", "judicial.charges", [], "judicial.charges", "97-101"),
    ("arrest", "judicial.warrants", [], "judicial.warrants", "97-101"),
    ("locate", "subject", {"kind": "person", "role": "suspect", "person": {}}, "subject.person", "97-101"),
    ("locate", "subject", BODY, "subject.kind", "97-101"),
    ("locate", "facts.summary", None, "facts.summary", "97-101"),
    ("information", "asked", [], "asked", "97-101"),
    ("identification", "attachments", [], "attachments", "97-101"),
    ("identification", "subject.kind", "vehicle", "subject.kind", "97-101"),
    ("warning", "assessment", None, "assessment", "97-101"),
    ("missing", "subject", {"kind": "person", "role": "missing", "person": {}}, "subject.person", "97-101"),
    ("missing", "subject.role", "wanted", "subject.role", "97-101"),
    ("missing", "subject", BODY, "subject.kind", "97-101"),
    ("missing", "facts", None, "facts.summary", "97-101"),
]


@pytest.mark.parametrize(("sort", "path", "value", "field", "source"), REFUSED)
def test_each_missing_datum_is_refused_by_name(sort: str, path: str, value: Any, field: str, source: str) -> None:
    """Without the datum the message is refused, and the field and the source of the rule are named."""
    assert source in rules_named(sort, path, value).get(field, "not named")


def rules_named(sort: str, path: str, value: Any) -> dict[str, str]:
    try:
        check(changed(BUILDERS[sort](), path, value))
    except InvalidMessageError as error:
        return {problem.field: problem.rule for problem in error.problems}
    return {}


DATA = [(sort, at) for sort, data in MINIMUM.items() for at in range(len(data))]


@pytest.mark.parametrize(("sort", "at"), DATA)
def test_switching_off_any_datum_fails_a_row(
    sort: NoticeType | DiffusionKind, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows above miss no datum: without it in the table, one of them would not be refused as it says."""
    monkeypatch.setitem(MINIMUM, sort, MINIMUM[sort][:at] + MINIMUM[sort][at + 1 :])
    rows = [row for row in REFUSED if row[0] == sort]
    assert any(source not in rules_named(name, path, value).get(field, "") for name, path, value, field, source in rows)


@pytest.mark.parametrize("sort", BUILDERS)
def test_the_least_of_each_type_and_kind_is_accepted(sort: str) -> None:
    """What the table asks for is enough, for every notice type and diffusion kind."""
    message: Notice | Diffusion = BUILDERS[sort]()
    assert message.wire_type == sort.removesuffix("_diffusion")
    check(message)


PHOTO = [an_attachment("photograph")]
PRINTS = [an_attachment("fingerprints")]

# The alternatives that domain section 2 allows.
ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    # an identity has a "birth date with description, prints, DNA or document data"
    ("red", {"subject": a_person("wanted", description=None), "attachments": PRINTS}),
    ("red", {"subject": a_person("wanted", description=None), "attachments": [an_attachment("dna")]}),
    ("red", {"subject": a_person("wanted", description=None, documents=[{"kind": "passport", "number": "X1"}])}),
    ("red", {"subject": a_person("wanted", born="1980")}),
    # "or a good photograph with more, such as alias or parents' names"
    ("green", {"subject": {**a_person("convicted"), "person": {"aliases": [{"family": "X"}]}}, "attachments": PHOTO}),
    ("green", {"subject": {**a_person("convicted"), "person": {"mother": {"family": "X"}}}, "attachments": PHOTO}),
    # yellow: "ID or photo"; one who cannot say who they are
    ("yellow", {"subject": {"kind": "person", "role": "unidentified", "person": {}}, "attachments": PHOTO}),
    ("special", {"subject": a_person("possible_threat")}),
    ("black", {"attachments": PRINTS}),
    ("purple", {"subject": {"kind": "vehicle", "vehicle": {"description": "A false floor."}}}),
    ("blue", {"subject": {"kind": "group", "role": "suspect", "group": {"description": "Three recruiters."}}}),
]


@pytest.mark.parametrize(("sort", "changes"), ACCEPTED)
def test_what_the_domain_allows_instead_is_accepted(sort: str, changes: dict[str, Any]) -> None:
    """Each alternative of the table is enough too."""
    check(BUILDERS[sort](**changes))


@pytest.mark.parametrize(
    "penalties",
    [
        {"maximum_penalty": {"kind": "term", "months": 24}},
        {"maximum_penalty": {"kind": "life"}},
        {"sentence": {"kind": "term", "months": 6}},
        {"remainder": {"kind": "term", "months": 6}},
        {"maximum_penalty": {"kind": "term", "months": 12}, "sentence": {"kind": "term", "months": 8}},
    ],
)
def test_a_red_notices_penalty_may_be_threatened_imposed_or_left(penalties: dict[str, Any]) -> None:
    """Two years at most, or six months imposed or left (RPD article 83)."""
    red = BUILDERS["red"]()
    none = {"maximum_penalty": None, "sentence": None, "remainder": None}
    check(changed(red, "judicial", {**red.model_dump(mode="json")["judicial"], **none, **penalties}))


@pytest.mark.parametrize("penalties", [{"sentence": 5}, {"remainder": 5}, {"maximum_penalty": 12, "remainder": 5}])
def test_a_red_notices_penalty_may_not_be_lower(penalties: dict[str, int]) -> None:
    """Five months imposed or left are too few (RPD article 83)."""
    red = BUILDERS["red"]()
    given = {name: {"kind": "term", "months": months} for name, months in penalties.items()}
    judicial = {**red.model_dump(mode="json")["judicial"], "maximum_penalty": None, **given}
    with pytest.raises(InvalidMessageError, match=r"judicial\.maximum_penalty"):
        check(changed(red, "judicial", judicial))
