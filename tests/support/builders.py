"""Valid messages, one builder for each notice type and diffusion kind; any field can be changed by name.

    a_red_notice(owner="zw", circulation=ALL, exclusions={"xa"})

A change may be whatever a file may hold. `exclusions` is a shorthand for the circulation's; number, issuer, region,
revision and reason follow from owner and event unless they are given. Everybody in it is fictitious.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Collection, Mapping
from importlib.resources import files
from itertools import count
from typing import Any, cast

from broker.model.base import Model
from broker.model.circulation import Circulation, Scope
from broker.model.diffusion import Diffusion
from broker.model.naming import Region
from broker.model.notice import Notice
from broker.model.parsing import parse_message

ALL = Circulation(scope=Scope.ALL)


def regions(*named: Region | str) -> Circulation:
    """A circulation to the member countries of regions."""
    return Circulation(scope=Scope.REGIONS, regions=tuple(Region(one) for one in named))


def bureaus(*codes: str) -> Circulation:
    """A circulation to bureaus by name."""
    return Circulation(scope=Scope.BUREAUS, bureaus=codes)


_serials = count(1)

with (files("broker.members") / "members.csv").open(encoding="utf-8") as _members:
    _HOME_REGIONS = {row["iso2"].lower(): row["region"] for row in csv.DictReader(_members)}

_REVISIONS = {"requested": 0, "refused": 0, "published": 1, "sent": 1, "revised": 2}

_REASONS = {
    "refused": "not_compliant",
    "suspended": "validity_in_doubt",
    "reinstated": "doubt_resolved",
    "cancelled": "purpose_met",
    "withdrawn": "owner_decision",
    "expired": "not_renewed",
}

_TEXTS = [{"language": "en", "title": "Example", "body": "A fictitious case, for tests."}]

_PERSON = {
    "name": {"family": "EXAMPLE", "forename": "Alex"},
    "sex": "M",
    "born": "1980-01-31",
    "nationalities": [{"country": "XA"}],
    "description": {"height_cm": 178, "eyes": "brown"},
}

_FACTS = {
    "summary": "Recruited workers by deception and kept their papers.",
    "place": {"country": "XB", "locality": "Sampletown"},
    "happened": "2024-03",
    "police_reference": "XB-2024-17",
}

_JUDICIAL = {
    "charges": [{"original": "Traite des êtres humains", "language": "fr", "translation": "Trafficking in humans"}],
    "law": "Penal code, section 12",
    "maximum_penalty": {"kind": "term", "months": 120},
    "warrants": [{"number": "17/2024", "authority": "High Court", "country": "XB", "issued_on": "2024-06-01"}],
    "extradition_will_be_sought": True,
}

_CONTACTS = [{"kind": "bureau", "name": "The owner's bureau"}]


def an_attachment(kind: str = "photograph", content: bytes = b"pixels", **changes: Any) -> dict[str, Any]:
    """An attachment whose digest is that of the content, as a file would hold it."""
    digest = hashlib.sha256(content).hexdigest()
    whole = {"kind": kind, "media_type": "image/jpeg", "size_bytes": len(content), "sha256": digest}
    return {**whole, "uri": f"store:{digest}", **changes}


def a_person(role: str, **changes: Any) -> dict[str, Any]:
    """A person as a subject; the changes are to the person."""
    return {"kind": "person", "role": role, "person": {**_PERSON, **changes}}


_ASSETS = {
    "kind": "assets",
    "role": "charged",
    "person": {"name": {"family": "EXAMPLE", "forename": "Alex"}},
    "assets": [{"kind": "account", "account": {"institution": "Bank of Sampletown", "number": "XB00SAMPLE"}}],
}


def a_red_notice(**changes: Any) -> Notice:
    """A published request for an arrest in order to extradite."""
    return _notice(
        {
            "type": "red",
            "subject": a_person("wanted"),
            "facts": _FACTS,
            "judicial": _JUDICIAL,
            "offences": ["thb.labour"],
        },
        changes,
    )


def a_blue_notice(**changes: Any) -> Notice:
    """A published question about a person in an investigation."""
    return _notice({"type": "blue", "subject": a_person("suspect"), "facts": _FACTS, "asked": ["location"]}, changes)


def a_green_notice(**changes: Any) -> Notice:
    """A published warning of a likely repeat offender."""
    assessment = {"grounds": "Three convictions for the same offence."}
    return _notice(
        {
            "type": "green",
            "subject": a_person("convicted"),
            "assessment": assessment,
            "offences": ["thb.child-tourism"],
        },
        changes,
    )


def a_yellow_notice(**changes: Any) -> Notice:
    """A published search for a missing adult."""
    return _notice({"type": "yellow", "subject": a_person("missing"), "facts": _FACTS}, changes)


def a_missing_child_notice(**changes: Any) -> Notice:
    """A published search for a missing child of nine."""
    return a_yellow_notice(**{"subject": a_person("missing", born="2014-05"), "urgency": "urgent", **changes})


def a_black_notice(**changes: Any) -> Notice:
    """A published question about a body."""
    body = {"kind": "body", "role": "unidentified", "body": {"sex": "F", "age_from_years": 25, "age_to_years": 40}}
    return _notice({"type": "black", "subject": body, "facts": _FACTS, "attachments": [an_attachment("dna")]}, changes)


def a_purple_notice(**changes: Any) -> Notice:
    """A published warning of a modus operandi."""
    trick = {"kind": "modus_operandi", "modus_operandi": {"description": "Job offers with a prepaid ticket."}}
    return _notice({"type": "purple", "subject": trick}, changes)


def an_orange_notice(**changes: Any) -> Notice:
    """A published warning of an imminent threat."""
    threat = {
        "kind": "object",
        "description": "A parcel that may explode.",
        "place": {"country": "XB"},
        "expected": "2026-05",
        "reliability": "probable",
    }
    return _notice({"type": "orange", "subject": {"kind": "threat", "threat": threat}, "urgency": "urgent"}, changes)


def a_special_notice(**changes: Any) -> Notice:
    """A published notice about an organisation that the UN Security Council lists."""
    organisation = {"kind": "organisation", "organisation": {"name": "Example Trading"}}
    listing = {"reference": "XXe.001", "measures": ["asset_freeze", "arms_embargo"]}
    return _notice({"type": "special", "subject": organisation, "listing": listing}, changes)


def a_silver_notice(**changes: Any) -> Notice:
    """A published search for the assets of a person."""
    return _notice({"type": "silver", "subject": _ASSETS, "offences": ["fraud"], "asked": ["assets"]}, changes)


def an_arrest_diffusion(**changes: Any) -> Diffusion:
    """A wanted person, sent straight to some bureaus."""
    return _diffusion(
        {
            "kind": "arrest",
            "subject": a_person("wanted"),
            "facts": _FACTS,
            "judicial": _JUDICIAL,
            "offences": ["thb.labour"],
        },
        changes,
    )


def a_locate_diffusion(**changes: Any) -> Diffusion:
    """A victim whom some bureaus are asked to find and protect."""
    return _diffusion(
        {
            "kind": "locate",
            "subject": a_person("victim"),
            "facts": _FACTS,
            "classification": "restricted",
            "contacts": _CONTACTS,
        },
        changes,
    )


def an_information_diffusion(**changes: Any) -> Diffusion:
    """A question to some bureaus."""
    return _diffusion({"kind": "information", "subject": a_person("suspect"), "asked": ["movements"]}, changes)


def an_identification_diffusion(**changes: Any) -> Diffusion:
    """A face without a name."""
    return _diffusion(
        {"kind": "identification", "subject": a_person("unidentified"), "attachments": [an_attachment()]}, changes
    )


def a_warning_diffusion(**changes: Any) -> Diffusion:
    """A warning to some bureaus."""
    assessment = {"grounds": "Was seen with a forged passport."}
    return _diffusion({"kind": "warning", "subject": a_person("suspect"), "assessment": assessment}, changes)


def a_missing_diffusion(**changes: Any) -> Diffusion:
    """A missing adult, sent to some bureaus."""
    return _diffusion({"kind": "missing", "subject": a_person("missing"), "facts": _FACTS}, changes)


def a_silver_diffusion(**changes: Any) -> Diffusion:
    """A question to some bureaus about an account."""
    return _diffusion({"kind": "silver", "subject": _ASSETS, "offences": ["fraud"]}, changes)


NOTICE_BUILDERS = {
    "red": a_red_notice,
    "blue": a_blue_notice,
    "green": a_green_notice,
    "yellow": a_yellow_notice,
    "black": a_black_notice,
    "purple": a_purple_notice,
    "orange": an_orange_notice,
    "special": a_special_notice,
    "silver": a_silver_notice,
}
DIFFUSION_BUILDERS = {
    "arrest": an_arrest_diffusion,
    "locate": a_locate_diffusion,
    "information": an_information_diffusion,
    "identification": an_identification_diffusion,
    "warning": a_warning_diffusion,
    "missing": a_missing_diffusion,
    "silver_diffusion": a_silver_diffusion,
}


def changed(message: Notice | Diffusion, path: str, value: Any) -> Notice | Diffusion:
    """The same message with another value at a path such as `subject.person.sex` or `judicial.warrants.0.number`."""
    data = message.model_dump(mode="json")
    *steps, last = path.split(".")
    at: Any = data
    for step in steps:
        at = at[int(step)] if step.isdecimal() else at[step]
    at[int(last) if last.isdecimal() else last] = value
    return parse_message(data)


def _notice(facts: Mapping[str, Any], changes: Mapping[str, Any]) -> Notice:
    event = str(changes.get("event", "published"))
    owner = changes.get("owner", "zw")
    issuer = owner if event in {"requested", "withdrawn"} else "ipsg"
    return cast("Notice", _message("n", {"event": event, "issuer": issuer, "circulation": ALL, **facts}, changes))


def _diffusion(facts: Mapping[str, Any], changes: Mapping[str, Any]) -> Diffusion:
    event = str(changes.get("event", "sent"))
    owner = changes.get("owner", "zw")
    issuer = "ipsg" if event in {"suspended", "reinstated", "cancelled", "expired"} else owner
    base = {"event": event, "issuer": issuer, "circulation": bureaus("xb", "fr"), **facts}
    return cast("Diffusion", _message("d", base, changes))


def _home_region(owner: str) -> str:
    """A member's own; `global` for an entity, and Africa for the user-assigned codes of made-up countries."""
    return _HOME_REGIONS.get(owner, "africa" if len(owner) == 2 else "global")


def _message(letter: str, base: Mapping[str, Any], changes: Mapping[str, Any]) -> Notice | Diffusion:
    changes = dict(changes)
    exclusions: Collection[str] = changes.pop("exclusions", ())
    event, owner = str(base["event"]), changes.get("owner", "zw")
    data = {
        "number": f"{owner}-{letter}-2026-{next(_serials):06d}",
        "owner": owner,
        "region": _home_region(owner),
        "revision": _REVISIONS.get(event, 1),
        "reason": _REASONS.get(event),
        "issued_at": "2026-05-01T12:00:00Z",
        "texts": _TEXTS,
        "retained_until": "2030-12-31",
        **base,
        **changes,
    }
    if exclusions:
        circulation = data["circulation"]
        whole = circulation.model_dump() if isinstance(circulation, Model) else circulation
        data["circulation"] = {**whole, "exclusions": sorted(exclusions)}
    return parse_message(data)
