"""What `demo --live` does once the samples are through, on a small installation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from broker.cli import live
from broker.cli.context import load_context
from broker.cli.live import keep_moving
from broker.cli.services import tracker
from broker.model.naming import SHARDS
from broker.store.engine import open_store, sqlite_url
from tests.support.eventually import eventually_async
from tests.support.processes import write_endpoints
from tests.support.serving import serving
from tests.support.shared_kafka import SharedKafka
from tests.support.world import a_world


def figures(said: list[str]) -> list[tuple[int, int]]:
    """What the lines say: acknowledged, of how many."""
    found = [re.search(r"messages simulated.*; ([\d,]+) of ([\d,]+) acknowledged", line) for line in said]
    return [(int(one[1].replace(",", "")), int(one[2].replace(",", ""))) for one in found if one]


async def test_the_board_moves_until_ctrl_c(
    kafka: SharedKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages are simulated one after another, the bureaus acknowledge them and the board says so, until Ctrl-C."""
    said: list[str] = []
    monkeypatch.setattr(live, "_LINE_SECONDS", 0.5)
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        write_endpoints(world)
        engine = await open_store(sqlite_url(tmp_path / "tracker.db"))

        async def moves() -> bool:
            await world.route(*SHARDS)
            return len({acknowledged for acknowledged, _ in figures(said)}) > 2

        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(engine.dispose)
            await stack.enter_async_context(serving(world, tracker))
            moving = asyncio.create_task(
                keep_moving(load_context(world.data), engine, Console(file=StringIO()), said.append)
            )
            await eventually_async(moves, seconds=90, what="what is acknowledged goes up twice")
            os.kill(os.getpid(), signal.SIGINT)
            async with asyncio.timeout(90):
                assert await moving

    shown = figures(said)
    assert shown[0] == (0, 0)
    assert shown == sorted(shown)
    assert all(acknowledged <= due for acknowledged, due in shown)
    assert any("messages published in" in line for line in said)
    assert said[-1].startswith("Repeat it with --seed 7 --start ")
