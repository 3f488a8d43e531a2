"""`noticewire demo --live`: the simulator keeps the board moving until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from sqlalchemy.ext.asyncio import AsyncEngine

from broker.cli.context import Context
from broker.cli.simulate import in_words, stopping
from broker.cli.simulating import Options, SimulationRun
from broker.cli.supervisor import Say
from broker.clock import SystemClock
from consumers.tracker.board import board_table, read_board, total
from producers.simulator.arrivals import Rate

SEED = 7
RATE = Rate(1.0)
"""Most messages go to some 200 bureaus, each of which answers in a file of its own."""

_FRAME_SECONDS = 0.5
_LINE_SECONDS = 5.0


async def keep_moving(context: Context, engine: AsyncEngine, console: Console, say: Say) -> bool:
    """Simulate the network, every bureau of it, and show the board until Ctrl-C; return whether all went well.

    Raises:
        UnavailableError: Kafka stayed away.
    """
    run = SimulationRun(context, Options(seed=SEED, start=SystemClock().now(), rate=RATE))
    async with contextlib.AsyncExitStack() as stack:
        stop = await stack.enter_async_context(stopping())
        say(f"The simulator keeps the board moving, {RATE.per_second:g} messages a second, until Ctrl-C")
        live = stack.enter_context(Live(console=console, auto_refresh=False)) if console.is_terminal else None
        running = asyncio.create_task(run.run(stop))
        try:
            line_at = monotonic()
            while not running.done():
                rows = await read_board(engine)
                figures = f"{run.published.total():,} messages simulated"
                if stop.is_set():
                    figures += "; ending"
                if live is not None:
                    live.update(Group(board_table(rows), figures), refresh=True)
                elif monotonic() >= line_at:
                    line_at = monotonic() + _LINE_SECONDS
                    whole = total(rows)
                    say(f"{figures}; {whole.received:,} of {whole.due:,} acknowledged")
                await asyncio.wait({running}, timeout=_FRAME_SECONDS)
            await running
        finally:
            running.cancel()
            await asyncio.wait({running})
    for line in in_words(run.summary()):
        say(line)
    return not run.failed
