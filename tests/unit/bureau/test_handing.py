"""Handing over: what was taken is finished, whatever was acknowledged of it before."""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker.clock import ManualClock
from broker.model.receipt import Receipts, Stage
from broker.schema.codec import Codec
from broker.transport.inbox import Delivery, InboxDecoder
from consumers.bureau.answers import Answer
from consumers.bureau.desk import Desk
from consumers.bureau.handing import hand_over
from consumers.bureau.state import BureauState
from tests.support.inbox_world import INSTALLATION, NOW, InboxWorld, a_batch, a_notice


class _Inbox:
    """A desk without a Kafka behind it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def acknowledge(self, delivery: Delivery, stage: Stage, **given: Any) -> None:
        self._desk.acknowledge(delivery, stage, **given)

    async def finish(self, delivery: Delivery) -> None:
        self._desk.finish(delivery)


class _Program:
    """The other side: answers the same each time."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.taken = 0

    async def take(self, _delivery: Delivery) -> Answer:
        self.taken += 1
        return self._answer

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("answer", "default"),
    [(Answer(), Stage.ACCEPTED), (Answer(stage=Stage.ACCEPTED), None)],
    ids=["--accept", "--exec-open"],
)
@pytest.mark.parametrize("before", [Stage.ACTIONED, Stage.PURGED])
async def test_what_an_officer_took_further_by_hand_is_finished(
    tmp_path: Path, before: Stage, answer: Answer, default: Stage | None
) -> None:
    """It comes again after a restart: it is handed over once, its stage stays, and the inbox goes on."""
    world, path = InboxWorld(Codec.load()), tmp_path / "gh.db"
    record, program = world.record(a_notice()), _Program(answer)
    for restarted in (False, True):
        with closing(BureauState.open(path, bureau="gh", installation=INSTALLATION)) as state:
            desk = Desk(
                state=state,
                decoder=InboxDecoder(world.codec),
                codec=world.codec,
                signer=world.signers["gh"],
                installation=INSTALLATION,
                clock=ManualClock(NOW),
                received_when_finished=True,
            )
            (delivery,) = desk.take([a_batch(record)], world.directory)
            if not restarted:
                desk.acknowledge(delivery, before, actor="duty-7")
                desk.settle(desk.seal())
                continue
            inbox: Any = _Inbox(desk)
            handing = hand_over(
                inbox, delivery, to=program, default=lambda _: Answer(stage=default), not_taken=lambda _: None
            )
            await asyncio.wait_for(handing, 5)
            given = [world.codec.decode(one.value, Receipts) for one in desk.seal()]
            (known,) = state.deliveries(delivery.number)

    assert program.taken == 1
    assert given == []
    assert (known.stage, known.finished) == (before, True)
