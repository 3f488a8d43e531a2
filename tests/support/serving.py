"""Services of `noticewire serve` in the test's own process, with their listeners."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import ModuleType

import pytest

from broker.cli.context import load_context
from broker.observe.listener import HOST, free_row
from broker.transport.kafka import RawClient
from tests.support.world import World


@dataclass(frozen=True)
class Serving:
    """A service at work."""

    address: str
    client: RawClient


@contextlib.asynccontextmanager
async def serving(
    world: World, service: ModuleType, *, ends_with: type[Exception] | None = None
) -> AsyncIterator[Serving]:
    """Serve as the command does, on a world whose endpoints are written.

    Args:
        world: the installation.
        service: a module of `broker.cli.services`.
        ends_with: what it raises when it is told to stop.
    """
    context = load_context(world.data)
    client = RawClient(context.kafka, client_id="observed")
    await client.start()
    stopping, port = asyncio.Event(), free_row(1)
    task = asyncio.create_task(service.run(context, client, stopping, observe_port=port))
    try:
        yield Serving(f"http://{HOST}:{port}", client)
    finally:
        stopping.set()
        with pytest.raises(ends_with) if ends_with else contextlib.nullcontext():
            await task
        await client.stop()
