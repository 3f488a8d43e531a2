"""A publisher's program, to be killed: publishes what is appended to a file, and journals what it was told.

    python -m tests.support.publishing DATA PLAN JOURNAL

Each line of the plan is a message as JSON, or empty. What was accepted is a line of the journal: the plan's line, the
message's id, where it landed. Started again it goes on after the journal's last line; what was accepted and not yet
journalled is published again, as any program would.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

from broker.errors import NoticewireError
from broker.model.diffusion import Diffusion
from broker.model.notice import Notice
from broker.observe.logging import configure_logging
from producers.client import Producer, Published

_AT_ONCE = 10
_PAUSE_SECONDS = 0.05


def message_of(line: str) -> Notice | Diffusion:
    """Read a line of the plan."""
    kind: type[Notice | Diffusion] = Notice if "-n-" in json.loads(line)["number"] else Diffusion
    return kind.model_validate_json(line)


def _lines_of(journal: Path) -> int:
    return len(_whole(journal)) if journal.exists() else 0


def _whole(file: Path) -> list[str]:
    """A file's lines, without one that is being written."""
    return file.read_text().rpartition("\n")[0].splitlines()


async def publish(data: Path, plan: Path, journal: Path, stopping: asyncio.Event) -> None:
    """Publish line by line until told to stop."""
    done = _lines_of(journal)
    async with Producer.connect(data=data, outcomes=False) as producer:
        with journal.open("a") as told:
            while not stopping.is_set():
                lines = _whole(plan)[done : done + _AT_ONCE]
                async for one in producer.publish_many(map(message_of, lines)):
                    assert isinstance(one.result, Published), one.result
                    told.write(f"{done} {one.message.message_id} {one.result.origin}\n")
                    told.flush()
                    done += 1
                if not lines:
                    await asyncio.sleep(_PAUSE_SECONDS)


async def _main(data: str, plan: str, journal: str) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    await publish(Path(data), Path(plan), Path(journal), stopping)


if __name__ == "__main__":
    configure_logging("publisher", as_json=True)
    try:
        asyncio.run(_main(*sys.argv[1:]))
    except NoticewireError as error:
        sys.exit(f"{error.code}: {error}")  # in one line, as the command does
