"""Any situation in which a message is decided, and who is given what in it: said once more, naively, for one bureau.

The oracle is written from section 2 of the design and shares no code with the router: it looks at one bureau at a time,
knows nothing of groups, and compares words.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from broker.members.bureau import Bureau
from broker.members.directory import Directory
from broker.model.change import BureauKind, BureauStatus, Subscription
from broker.model.message import Classification, Event, Message
from broker.model.naming import Region
from broker.model.parsing import parse_message
from consumers.router.life import NoticeState, Phase

REGIONS = ("africa", "americas", "europe")
TYPES = ("red", "blue", "green", "yellow", "black", "purple", "orange", "special")
KINDS = ("arrest", "locate", "information", "identification", "warning", "missing")
OFFENCES = ("thb", "thb.labour", "thb.labour.mining", "drugs", "fraud")
OPERATIONS = ("harmattan-2026", "mistral-2026")
LEVELS = ("for_official_use_only", "restricted", "confidential")
STATUSES = ("ACTUAL", "EXERCISE", "TEST")

BY_OWNER = {"requested", "withdrawn", "sent"}
TO_RECIPIENTS = {"published", "sent", "revised"}
TO_HOLDERS = {"suspended", "reinstated", "cancelled", "withdrawn", "expired"}
TOLD_ANYHOW = {"revised", "suspended", "cancelled", "withdrawn", "expired"}


@dataclass(frozen=True, slots=True)
class Situation:
    """A message, the directory and the notice's past."""

    message: Message
    directory: Directory
    past: NoticeState | None

    @property
    def holders(self) -> frozenset[str]:
        """Who was given any revision."""
        return self.past.holders if self.past is not None else frozenset()


@dataclass(frozen=True, slots=True)
class Given:
    """What one bureau is given: `message`, `end` or nothing; and the rule that took the message away."""

    what: str | None
    withheld: str | None = None


def expected(situation: Situation, code: str) -> Given:
    """Return what section 2 of the design gives to one bureau."""
    message, holders = situation.message, situation.holders
    event = message.event.value
    if event == "requested":  # to ipsg, for review
        return Given("message" if code == "ipsg" and message.issuer != "ipsg" else None)
    if code == message.issuer:  # only the outcome
        return Given(None)
    if code == message.owner:  # always a copy
        return Given("message")
    bureau = situation.directory.get(code)
    assert bureau is not None
    if event in TO_RECIPIENTS:
        reached = is_candidate(message, bureau)
    elif event in TO_HOLDERS:
        reached = code in holders
    else:
        reached = False
    rule = taken_away_by(message, bureau) if reached else None
    if reached and rule is None:
        return Given("message")
    return Given("end" if code in holders and event in TOLD_ANYHOW else None, rule)


def is_candidate(message: Message, bureau: Bureau) -> bool:
    """The three ways of becoming a candidate, one bureau at a time."""
    circulation = message.circulation
    scope = circulation.scope.value
    if bureau.kind.value == "service":
        return False
    if scope == "bureaus" and bureau.code in circulation.bureaus:
        return True
    addressed = bureau.kind.value == "member" and (
        scope == "all" or (scope == "regions" and bureau.region.value in [one.value for one in circulation.regions])
    )
    matching = [one for one in bureau.subscriptions if subscription_matches(message, one)]
    if addressed:
        return bool(matching) or needs_no_match(message)
    is_open = ".".join(message.number.split("-")[-3:-2]) == "n" and scope != "bureaus" and not circulation.closed
    return is_open and any(message.region in one.regions for one in matching)


def needs_no_match(message: Message) -> bool:
    """Red, orange, and missing children: here whoever was born after 2008."""
    word = message.wire_type
    person = message.subject.person
    is_child = person is None or person.born is None or person.born.year > 2008
    return word in ("red", "orange") or (word in ("yellow", "missing") and is_child)


def subscription_matches(message: Message, subscription: Subscription) -> bool:
    """Each part that is there must hold the message's."""
    if subscription.regions and message.region not in subscription.regions:
        return False
    if subscription.types and message.wire_type not in subscription.types:
        return False
    if subscription.operations and message.operation not in subscription.operations:
        return False
    if subscription.statuses and message.status not in subscription.statuses:
        return False
    if not subscription.offences:
        return True
    return any((offence + ".").startswith(wide + ".") for wide in subscription.offences for offence in message.offences)


def taken_away_by(message: Message, bureau: Bureau) -> str | None:
    """The first rule of entitlement that holds, in the design's order."""
    circulation = message.circulation
    role = message.subject.role.value if message.subject.role is not None else ""
    by_name = circulation.bureaus if circulation.scope.value == "bureaus" else ()
    asked_for = [one for one in bureau.subscriptions if message.status in one.statuses]
    if bureau.code in circulation.exclusions:
        return "excluded"
    if LEVELS.index(message.classification.value) > LEVELS.index(bureau.clearance.value):
        return "clearance"
    if role in ("victim", "witness") and bureau.code not in by_name:
        return "victim"
    if bureau.status.value == "suspended":
        return "suspended"
    if message.status.value != "ACTUAL" and not any(subscription_matches(message, one) for one in asked_for):
        return "not_asked_for"
    return None


# ------------------------------------------------------------------------------------------------------- strategies

_HOMES = {"zw": "africa", "sn": "africa", "br": "americas", "mx": "americas", "fr": "europe", "de": "europe"}
_ENTITIES = {"ipsg": "europe", "europol": "europe", "afripol": "africa"}
CODES = (*_HOMES, *_ENTITIES, "broker")


_WITH_INBOX = tuple(code for code in CODES if code != "broker")

# Everything is drawn from lists that are made once: a thousand situations take seconds, not minutes.
_SUBSCRIPTIONS = tuple(
    Subscription.model_validate(
        {"regions": regions, "types": types, "offences": offences, "operations": operations, "statuses": statuses}
    )
    for regions, types, offences, operations, statuses in product(
        ((), ("africa",), ("americas", "europe"), ("global",)),
        ((), ("red", "blue", "arrest", "special"), ("yellow", "missing", "purple", "locate")),
        ((), ("thb",), ("thb.labour", "drugs")),
        ((), ("harmattan-2026",)),
        (("ACTUAL",), (), ("ACTUAL", "EXERCISE"), ("EXERCISE", "TEST")),
    )
    if sum(map(bool, (regions, types, offences, operations))) < 3  # narrower ones match next to nothing
)
subscriptions = st.lists(st.sampled_from(_SUBSCRIPTIONS), max_size=2).map(tuple)


def _some(of: tuple[str, ...], most: int = 2) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(of), unique=True, max_size=most).map(tuple)


def _mostly(*usual_first: Any) -> st.SearchStrategy[Any]:
    """The usual value most of the time, so that the rules meet each other rather than hide each other."""
    return st.sampled_from((usual_first[0],) * 2 * len(usual_first) + usual_first)


_clearances = _mostly(*(Classification(level) for level in reversed(LEVELS)))
_statuses = _mostly(BureauStatus.ACTIVE, BureauStatus.SUSPENDED)


def _bureaus(code: str) -> st.SearchStrategy[Bureau]:
    """A bureau with any subscriptions, clearance and status; its kind and home are its own."""
    kind = "member" if code in _HOMES else "service" if code == "broker" else "international_entity"
    return st.builds(
        lambda clearance, status, subscriptions: Bureau(
            code=code,
            name=code,
            kind=BureauKind(kind),
            region=Region(_HOMES.get(code) or _ENTITIES.get(code, "global")),
            city="",
            clearance=clearance,
            status=status,
            subscriptions=subscriptions,
        ),
        _clearances,
        _statuses,
        subscriptions,
    )


directories = st.tuples(*(_bureaus(code) for code in CODES)).map(
    lambda bureaus: Directory(bureaus, offset=len(bureaus), installation="tests")
)
"""A directory of ten."""

_narrowing = {"exclusions": _mostly((), *((code,) for code in _WITH_INBOX)), "closed": _mostly(False, True)}
circulations = st.one_of(
    st.fixed_dictionaries({"scope": st.just("all"), **_narrowing}),
    st.fixed_dictionaries({"scope": st.just("regions"), "regions": _some(REGIONS), **_narrowing}),
    st.fixed_dictionaries({"scope": st.just("bureaus"), "bureaus": _some(_WITH_INBOX, 4), **_narrowing}),
)
"""Any audience."""

_NOTICE_EVENTS = (*["published"] * 6, *["revised"] * 3, "requested", "refused", *sorted(TO_HOLDERS))
_DIFFUSION_EVENTS = (*["sent"] * 3, *["revised"] * 2, *sorted(TO_HOLDERS))
_parts = st.fixed_dictionaries(
    {
        "owner": st.sampled_from(("zw", "zw", "br", "fr", "europol")),
        "status": _mostly(*STATUSES),
        "classification": _mostly(*LEVELS),
        "circulation": circulations,
        "operation": st.sampled_from((None, *OPERATIONS)),
        "offences": _some(OFFENCES),
    }
)
_roles = _mostly("missing", "suspect", "victim", "witness")
_births = st.sampled_from(("1980", "2015"))
_TYPES_DRAWN = (*TYPES, "red", "orange", "yellow", "purple")
_notices = st.tuples(st.just("type"), st.sampled_from(_NOTICE_EVENTS), st.sampled_from(_TYPES_DRAWN))
_diffusions = st.tuples(st.just("kind"), st.sampled_from(_DIFFUSION_EVENTS), st.sampled_from(KINDS))
_continuing = st.sampled_from(("revised", *sorted(TO_HOLDERS)))
_either = st.one_of(_notices, _notices, _diffusions)


@st.composite
def messages(draw: st.DrawFn, *, after_a_beginning: bool = False) -> Message:
    """Any message that its issuer may say, of good shape; the rules of the domain are not this test's subject."""
    field, event, word = draw(_either)
    if after_a_beginning:
        event = draw(_continuing)
    parts = draw(_parts)
    owner = parts["owner"]
    by_owner = event in BY_OWNER or (event == "revised" and field == "kind")
    return parse_message(
        {
            **parts,
            field: word,
            "message_id": UUID(int=1),
            "number": f"{owner}-{'n' if field == 'type' else 'd'}-2026-000001",
            "event": event,
            "revision": 1,
            "issuer": owner if by_owner else "ipsg",
            "region": _HOMES.get(owner, "global"),
            "issued_at": datetime(2026, 5, 1, tzinfo=UTC),
            "subject": {"kind": "person", "role": draw(_roles), "person": {"born": draw(_births)}},
        }
    )


_holders = _some(_WITH_INBOX, 9)


@st.composite
def situations(draw: st.DrawFn, *, after_a_beginning: bool = False) -> Situation:
    """Any message, in any directory, after any past that could have led to it.

    Args:
        draw: hypothesis's.
        after_a_beginning: only what continues a notice, and so may end it.
    """
    message = draw(messages(after_a_beginning=after_a_beginning))
    directory = draw(directories)
    if message.event in {Event.REQUESTED, Event.SENT}:
        return Situation(message, directory, None)
    holders = frozenset({*draw(_holders), message.owner})
    return Situation(message, directory, NoticeState(Phase.IN_FORCE, 1, holders))
