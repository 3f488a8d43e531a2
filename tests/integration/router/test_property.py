"""The decision through a real Kafka: what each bureau is given of hundreds of messages, as an oracle says for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from broker.model import rules
from broker.model.message import Event
from tests.support.book import Book, as_seeded, ended_in, given_in
from tests.support.shared_kafka import SharedKafka
from tests.support.stories import CODES, ENTITIES, MEMBERS, Story, a_turn
from tests.support.world import World, a_world

NOTICES = 200
AT_ONCE = 60
"""Notices under way in each round; between rounds the directory changes."""
TURNS = 3


@pytest.mark.parametrize("seed", [20260501])
async def test_a_message_reaches_its_recipients_all_of_them_and_nobody_else(
    seed: int, kafka: SharedKafka, prefix: str, tmp_path: Path
) -> None:
    """200 notices with all that happens to them: each inbox holds what section 2 says for its bureau, and no more."""
    chance = Random(seed)
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=(*MEMBERS, *ENTITIES)) as world:
        book = Book(as_seeded((*MEMBERS, *ENTITIES)))
        await _tell_stories(world, book, chance)

        inboxes = dict(zip(CODES, await asyncio.gather(*map(world.read_inbox, CODES)), strict=True))

    for code, records in inboxes.items():
        assert given_in(records) == book.given[code], code
        assert ended_in(records) == book.ended[code], code
        # An excluded holder gets notices of end only: said once more, without the oracle.
        ids = {one.value["message_id"] for one in records if one.subject in {"notice", "diffusion"}}
        assert not {str(one) for one in ids} & book.barred[code], code
        assert book.told_of[code] <= ended_in(records), code
    rejected = [one for one in inboxes["ipsg"] if one.subject == "outcome" and one.value["verdict"] != "routed"]
    assert not rejected
    _check_that_rules_met(book.seen)


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


def _check_that_rules_met(seen: Counter[str]) -> None:
    """Each event, each rule of entitlement and each way of being told came up, or the run proves less than it says."""
    wanted = {*(event.value for event in Event if event is not Event.UNKNOWN), "ACTUAL", "EXERCISE", "TEST"}
    wanted |= {"message", "end", "excluded", "clearance", "victim", "suspended", "not_asked_for"}
    wanted |= {"excluded holder told"}
    assert {name for name in wanted if seen[name] < 5} == set(), seen
