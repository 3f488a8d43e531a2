"""A publisher's program with a journal: `python -m tests.support.accepting DATA JOURNAL`.

Accepts each line of its input, a message as JSON, and says what came of it in a line of its output.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry

from broker.errors import NoticewireError
from broker.model.parsing import parse_message
from broker.observe.counting import DoorMetrics
from broker.observe.logging import configure_logging
from producers.client import Producer


async def _main(data: Path, journal: Path) -> None:
    registry = CollectorRegistry()
    async with Producer.connect(data=data, outcomes=False, journal=journal, observer=DoorMetrics(registry)) as producer:
        while line := await asyncio.to_thread(sys.stdin.readline):
            try:
                accepted = await producer.accept(parse_message(json.loads(line)))
            except NoticewireError as error:
                said = {"code": error.code, "problem": str(error)}
            else:
                said = {"accepted": str(accepted.message_id)}
            failures = registry.get_sample_value("noticewire_storage_failures_total", {"service": "producer"})
            sys.stdout.write(json.dumps(said | {"failures": failures}) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    configure_logging("publisher", as_json=True)
    asyncio.run(_main(*map(Path, sys.argv[1:])))
