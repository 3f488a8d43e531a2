"""What `demo --live` does once the samples are through, on a small installation."""

from __future__ import annotations

import asyncio
import os
import signal
from io import StringIO
from pathlib import Path

from rich.console import Console

from broker.cli.context import load_context
from broker.cli.live import keep_moving
from broker.model.naming import SHARDS
from broker.store.engine import open_store, sqlite_url
from tests.support.eventually import eventually_async
from tests.support.processes import write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import a_world


async def test_the_board_moves_until_ctrl_c(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """Messages are simulated one after another, progress is said, and Ctrl-C ends it with a summary and all well."""
    said: list[str] = []
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke", "fr")) as world:
        write_endpoints(world)
        engine = await open_store(sqlite_url(tmp_path / "tracker.db"))

        async def entered() -> int:
            await world.route(*SHARDS)
            return len(await world.read_ledger(SHARDS))

        try:
            moving = asyncio.create_task(
                keep_moving(load_context(world.data), engine, Console(file=StringIO()), said.append)
            )
            await eventually_async(entered, seconds=60, what="a simulated message is in the ledger")
            os.kill(os.getpid(), signal.SIGINT)
            async with asyncio.timeout(90):
                assert await moving
        finally:
            await engine.dispose()

    assert any("messages simulated; 0 of 0 acknowledged" in line for line in said)
    assert any("messages published in" in line for line in said)
    assert said[-1].startswith("Repeat it with --seed 7 --start ")
