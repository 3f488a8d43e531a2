"""What each bureau is to have of whatever is published, written down beside it; and what an inbox holds.

Who is given what is the naive oracle's word (`tests.support.deciding`), one bureau at a time; the router is not asked.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from hashlib import sha256

from broker.members.bureau import Bureau
from broker.members.directory import Directory
from broker.members.seed import seeds_of
from broker.model.change import BureauStatus
from broker.model.message import Event, Message
from consumers.router.life import NoticeState, Phase
from tests.support.deciding import TOLD_ANYHOW, Situation, expected
from tests.support.plain import PlainRecord
from tests.support.stories import Turn

End = tuple[str, str, int, bytes]
"""What a notice of end says: number, event, revision, and the digest of the issuer's message."""


@dataclass(slots=True)
class Book:
    """What each bureau is to have, by the oracle; written when a message is published, not asked of the program."""

    bureaus: dict[str, Bureau]
    holders: dict[str, frozenset[str]] = field(default_factory=dict)
    given: dict[str, dict[str, list[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    """Bureau to number to message ids, in order."""
    ended: dict[str, Counter[End]] = field(default_factory=lambda: defaultdict(Counter))
    barred: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Bureau to the messages whose issuer excludes it."""
    told_of: dict[str, Counter[End]] = field(default_factory=lambda: defaultdict(Counter))
    """Bureau to the notices of end that it is owed as a holder whom the issuer excludes."""
    seen: Counter[str] = field(default_factory=Counter)
    """How often each rule decided something: a run that never meets one proves nothing about it."""

    def turn(self, turn: Turn) -> None:
        """Note a change of the directory."""
        self.bureaus[turn.code] = replace(self.bureaus[turn.code], **turn.parts)

    @property
    def suspended(self) -> frozenset[str]:
        """Who is suspended now."""
        return frozenset(code for code, one in self.bureaus.items() if one.status is BureauStatus.SUSPENDED)

    def note(self, message: Message, value: bytes) -> None:
        """Note who is to be given what of a message, one bureau at a time."""
        holders = self.holders.get(message.number)
        past = NoticeState(Phase.IN_FORCE, 1, holders) if holders is not None else None
        situation = Situation(message, Directory(self.bureaus.values(), offset=0, installation=None), past)
        end = (message.number, message.event.value, message.revision, sha256(value).digest())
        got = {message.owner, message.issuer}
        for code in self.bureaus:
            wanted = expected(situation, code)
            if wanted.what == "message":
                self.given[code][message.number].append(str(message.message_id))
                got.add(code)
            elif wanted.what == "end":
                self.ended[code][end] += 1
            if code in message.circulation.exclusions and code not in {message.owner, message.issuer}:
                self._note_barred(code, message, end)
            self.seen.update(filter(None, (wanted.what, wanted.withheld)))
        self.holders[message.number] = situation.holders | got
        self.seen[message.event.value] += 1
        self.seen[message.status.value] += 1

    def _note_barred(self, code: str, message: Message, end: End) -> None:
        if message.event is Event.REQUESTED:
            return  # the reviewer sees every request
        self.barred[code].add(str(message.message_id))
        if code in self.holders.get(message.number, ()) and message.event.value in TOLD_ANYHOW:
            self.told_of[code][end] += 1
            self.seen["excluded holder told"] += 1


def as_seeded(codes: Collection[str]) -> dict[str, Bureau]:
    """The bureaus that an installation of these codes begins with."""
    return {
        seed.code: Bureau(
            code=seed.code,
            name=seed.code,
            kind=seed.facts.kind,
            region=seed.facts.region,
            city="",
            clearance=seed.facts.clearance,
            subscriptions=seed.subscriptions,
        )
        for seed in seeds_of(codes)
        if not seed.is_service
    }


def given_in(records: Iterable[PlainRecord]) -> dict[str, list[str]]:
    """Number to message ids, in the inbox's order."""
    given: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.subject in {"notice", "diffusion"}:
            assert record.key == record.value["number"].encode()
            given[record.value["number"]].append(str(record.value["message_id"]))
    return given


def ended_in(records: Iterable[PlainRecord]) -> Counter[End]:
    """What an inbox's notices of end say, and how often."""
    said = [one.value for one in records if one.subject == "notice-of-end"]
    return Counter((one["number"], one["event"], one["revision"], one["digest"]) for one in said)
