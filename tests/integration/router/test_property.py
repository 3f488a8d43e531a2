"""The decision through a real Kafka: what each bureau is given of hundreds of messages, as an oracle says for it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from broker.members.bureau import Bureau
from broker.members.directory import Directory
from broker.members.seed import seeds_of
from broker.model import rules
from broker.model.change import BureauStatus
from broker.model.message import Event, Message
from consumers.router.life import NoticeState, Phase
from tests.support.deciding import TOLD_ANYHOW, Situation, expected
from tests.support.plain import PlainRecord
from tests.support.shared_kafka import SharedKafka
from tests.support.stories import CODES, ENTITIES, MEMBERS, Story, Turn, a_turn
from tests.support.world import World, a_world

NOTICES = 200
AT_ONCE = 60
"""Notices under way in each round; between rounds the directory changes."""
TURNS = 3

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
        for code in CODES:
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


@pytest.mark.parametrize("seed", [20260501])
async def test_a_message_reaches_its_recipients_all_of_them_and_nobody_else(
    seed: int, kafka: SharedKafka, prefix: str, tmp_path: Path
) -> None:
    """200 notices with all that happens to them: each inbox holds what section 2 says for its bureau, and no more."""
    chance = Random(seed)
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=(*MEMBERS, *ENTITIES)) as world:
        book = Book(_as_seeded())
        await _tell_stories(world, book, chance)

        inboxes = dict(zip(CODES, await asyncio.gather(*map(world.read_inbox, CODES)), strict=True))

    for code, records in inboxes.items():
        assert _given(records) == book.given[code], code
        assert _ended(records) == book.ended[code], code
        # An excluded holder gets notices of end only: said once more, without the oracle.
        ids = {one.value["message_id"] for one in records if one.subject in {"notice", "diffusion"}}
        assert not {str(one) for one in ids} & book.barred[code], code
        assert book.told_of[code] <= _ended(records), code
    rejected = [one for one in inboxes["ipsg"] if one.subject == "outcome" and one.value["verdict"] != "routed"]
    assert not rejected
    _check_that_rules_met(book.seen)


def _as_seeded() -> dict[str, Bureau]:
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
        for seed in seeds_of((*MEMBERS, *ENTITIES))
        if not seed.is_service
    }


async def _tell_stories(world: World, book: Book, chance: Random) -> None:
    """Let 200 notices live and end, each round one step of those under way; then the directory changes."""
    waiting = [Story(serial, chance) for serial in range(NOTICES, 0, -1)]
    under_way: list[Story] = []
    while waiting or under_way:
        while waiting and len(under_way) < AT_ONCE:
            under_way.append(waiting.pop())
        step = [story.next() for story in under_way]
        for message in step:
            rules.check(message)
            book.note(message, world.link.codec.encode(message))
        await asyncio.gather(*map(world.publish, step))  # one a notice: nothing depends on their order
        under_way = [story for story in under_way if not story.is_over]
        # Routed before the directory changes: it counts as it is at the moment of the decision.
        await world.route(*{message.shard for message in step})
        for _ in range(TURNS):
            turn = a_turn(chance, book.suspended)
            book.turn(turn)
            await world.change(turn.code, turn.kind, **turn.parts)


def _given(records: list[PlainRecord]) -> dict[str, list[str]]:
    """Number to message ids, in the inbox's order; every copy with the bytes that its issuer signed."""
    given: dict[str, list[str]] = defaultdict(list)
    for record in records:
        if record.subject in {"notice", "diffusion"}:
            assert record.key == record.value["number"].encode()
            given[record.value["number"]].append(str(record.value["message_id"]))
    return given


def _ended(records: list[PlainRecord]) -> Counter[End]:
    said = [one.value for one in records if one.subject == "notice-of-end"]
    return Counter((one["number"], one["event"], one["revision"], one["digest"]) for one in said)


def _check_that_rules_met(seen: Counter[str]) -> None:
    """Each event, each rule of entitlement and each way of being told came up, or the run proves less than it says."""
    wanted = {*(event.value for event in Event if event is not Event.UNKNOWN), "ACTUAL", "EXERCISE", "TEST"}
    wanted |= {"message", "end", "excluded", "clearance", "victim", "suspended", "not_asked_for"}
    wanted |= {"excluded holder told"}
    assert {name for name in wanted if seen[name] < 5} == set(), seen
