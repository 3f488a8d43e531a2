"""Programs of strangers and commands of ours, run to their ends."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.eventually import AT_REST


class Ended(NamedTuple):
    """What a program left."""

    code: int
    out: bytes
    errors: bytes


async def run_to_end(*arguments: str | Path, seconds: float = 20) -> Ended:
    """Run a program; `seconds` are for a machine at rest."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(seconds * AT_REST):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out, errors)


async def noticewire(data: Path, *arguments: str) -> Ended:
    """Run a command on a data folder."""
    return await run_to_end(sys.executable, "-m", "broker.cli.main", *arguments, "--data", data)
