from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from broker.errors import MisuseError, UnavailableError
from producers.client import Producer
from producers.simulator.generator import FIRST_SERIAL
from producers.simulator.numbers import Numbers
from producers.simulator.player import at_once, on_time, planned, play, waiting_for
from tests.support.simulations import START, a_simulation


class Hands:
    """Waits by turning a clock; told to stop at some moment, if at all."""

    def __init__(self, *, stop_after: timedelta | None = None, held_up: timedelta = timedelta(0)) -> None:
        self.at = timedelta(0)
        self.stop_after = stop_after
        self.held_up = held_up

    async def wait(self, left: timedelta) -> bool:
        """Turn the hands; return whether to stop."""
        self.at += left + (self.held_up if left else timedelta(0))
        self.held_up = timedelta(0)
        return self.stop_after is not None and self.at >= self.stop_after

    def now(self) -> float:
        """What the hands say, in seconds."""
        return self.at.total_seconds()


async def test_each_message_comes_when_it_is_due() -> None:
    """Played at its own pace, a message comes as long after the beginning as it was planned after the start."""
    hands = Hands()
    plan = list(planned(a_simulation(per_second=5.0), count=100))
    came = [(message, hands.at) async for message in on_time(iter(plan), start=START, wait=hands.wait, now=hands.now)]

    assert [message for message, _ in came] == [one.message for one in plan]
    assert [after for _, after in came] == [one.at - START for one in plan]


async def test_who_was_held_up_catches_up() -> None:
    """After a delay, what is overdue comes at once, and the rest when it is due."""
    hands = Hands(held_up=timedelta(seconds=10))
    plan = list(planned(a_simulation(per_second=5.0), count=200))
    came = [hands.at async for _ in on_time(iter(plan), start=START, wait=hands.wait, now=hands.now)]
    first = plan[0].at - START + timedelta(seconds=10)

    assert came == [max(one.at - START, first) for one in plan]


async def test_a_duration_bounds_it() -> None:
    """A minute at 5 a second is about 300 messages, and none after the minute."""
    counts = [
        len(list(planned(a_simulation(seed, per_second=5.0), duration=timedelta(minutes=1)))) for seed in range(40)
    ]

    assert sum(counts) / len(counts) == pytest.approx(300, rel=0.1)
    last = list(planned(a_simulation(per_second=5.0), duration=timedelta(minutes=1)))[-1]
    assert last.at < START + timedelta(minutes=1)
    assert len(list(planned(a_simulation(), count=3, duration=timedelta(minutes=1)))) == 3


async def test_it_stops_when_told() -> None:
    """Told to stop while it waits, it ends at once; also when nothing is waited for."""
    hands = Hands(stop_after=timedelta(seconds=4))
    messages = on_time(planned(a_simulation(per_second=5.0)), start=START, wait=hands.wait, now=hands.now)
    assert 1 <= len([message async for message in messages]) < 60

    stop = asyncio.Event()
    seen = 0
    async for _ in at_once(planned(a_simulation()), wait=waiting_for(stop)):
        seen += 1
        if seen == 3:
            stop.set()
    assert seen == 3


def test_numbers_go_on_where_the_last_run_ended(tmp_path: Path) -> None:
    """A new run begins after the last one's numbers; the same run again begins with its own; killed, it wastes few."""
    with Numbers.held(tmp_path, run="a") as numbers:
        assert numbers.first_serial == FIRST_SERIAL
        numbers.use(FIRST_SERIAL + 1)
        numbers.use(FIRST_SERIAL + 70)
        numbers.close(FIRST_SERIAL + 70)
    with Numbers.held(tmp_path, run="b") as numbers:
        assert numbers.first_serial == FIRST_SERIAL + 70
        numbers.use(FIRST_SERIAL + 71)  # and then it is killed
    with Numbers.held(tmp_path, run="b") as numbers:
        assert numbers.first_serial == FIRST_SERIAL + 70
        numbers.use(FIRST_SERIAL + 71)
        numbers.close(FIRST_SERIAL + 72)
    with Numbers.held(tmp_path, run="c") as numbers:
        assert FIRST_SERIAL + 71 < numbers.first_serial <= FIRST_SERIAL + 1_071


def test_one_simulation_at_a_time(tmp_path: Path) -> None:
    """A second simulation on a folder is refused while one runs, and so is a damaged account of the numbers."""
    with (
        Numbers.held(tmp_path, run="a"),
        pytest.raises(MisuseError, match="another simulation runs"),
        Numbers.held(tmp_path, run="b"),
    ):
        pass
    (tmp_path / "simulator.json").write_text("{", encoding="utf-8")
    with pytest.raises(MisuseError, match="damaged"), Numbers.held(tmp_path, run="a"):
        pass


class Unsteady:
    """A producer to whom Kafka goes away now and then, before or after a message landed."""

    def __init__(self) -> None:
        self.feed: list[str] = []
        self.left = [3, 0, 5]

    async def publish_many(self, messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Publish until Kafka goes away; the last message before that landed, and nobody was told."""
        many = self.left.pop(0) if self.left else None
        async for message in messages:
            self.feed.append(message.number)
            if many is not None and many == 0:
                raise UnavailableError("away")
            many = None if many is None else many - 1
            yield message


async def test_what_did_not_land_is_published_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka goes away three times: every message lands, in order, told once; one that landed unheard is a repeat."""
    monkeypatch.setattr("producers.simulator.player._PAUSE_SECONDS", 0)
    plan = list(planned(a_simulation(), count=20))
    producer, told, landed = Unsteady(), list[Any](), list[Any]()
    messages = at_once(iter(plan), wait=waiting_for(asyncio.Event()))
    await play(cast("Producer", producer), messages, about_to=told.append, landed=landed.append)

    assert told == landed == [one.message for one in plan]
    assert len(producer.feed) == 20 + 3
