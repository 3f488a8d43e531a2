"""A publisher's program, to be killed: `python publisher_program.py DATA MESSAGES JOURNAL ACCEPTED`.

Accepts the messages of a JSON Lines file, and writes the id of each into a file once `accept` has returned.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from broker.model.parsing import parse_message
from broker.observe.faultpoints import faults_from
from producers.client import Producer


async def main(data: Path, messages: Path, journal: Path, accepted: Path) -> None:
    """Publish what was not accepted yet, and whatever the journal holds."""
    lines = await asyncio.to_thread(messages.read_text, encoding="utf-8")
    done = await asyncio.to_thread(lambda: accepted.read_text().split() if accepted.exists() else [])
    with accepted.open("a", encoding="utf-8") as told:
        async with Producer.connect(data=data, outcomes=False, journal=journal, faults=faults_from()) as producer:
            for line in lines.splitlines():
                message = parse_message(json.loads(line))
                if str(message.message_id) not in done:
                    await producer.accept(message)
                    told.write(f"{message.message_id}\n")
                    told.flush()


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:])))
