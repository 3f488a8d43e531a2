"""A bureau's program, to be killed: accepts what it is given, purges what has ended.

    python -m tests.support.receiving host|inbox DATA CODE...

`host`: all of them over one connection. `inbox`: each with a client of its own.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from broker.endpoints import locate
from broker.errors import NoticewireError
from broker.observe.logging import configure_logging
from consumers.bureau.client import Inbox
from consumers.bureau.host import BureauHost, accept_or_purge


async def _host(data: Path, codes: list[str], stopping: asyncio.Event) -> None:
    found = locate(data)
    async with BureauHost.connect(codes, data=data, kafka=found.kafka, root_public=found.root_public) as host:
        await host.run(stopping)


async def _inbox(data: Path, code: str, stopping: asyncio.Event) -> None:
    async with Inbox.connect(code, data=data) as inbox:

        async def receive() -> None:
            async for delivery in inbox:
                for decision in await accept_or_purge(delivery):
                    await inbox.acknowledge(delivery, decision.stage, reason=decision.reason)

        receiving = asyncio.create_task(receive())
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({receiving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not receiving.cancel():
            receiving.result()
        await asyncio.gather(receiving, stopped, return_exceptions=True)


async def _main(how: str, data: str, *codes: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    if how == "host":
        await _host(Path(data), list(codes), stopping)
    else:
        async with asyncio.TaskGroup() as group:
            for code in codes:
                group.create_task(_inbox(Path(data), code, stopping))


if __name__ == "__main__":
    configure_logging("bureau", as_json=True)
    try:
        asyncio.run(_main(*sys.argv[1:]))
    except* NoticewireError as group:
        sys.exit(f"{group.exceptions[0]}")  # in one line, as the command does
