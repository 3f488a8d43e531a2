"""Named points at which a test kills a process; inert unless `NOTICEWIRE_FAULT` is set.

`NOTICEWIRE_FAULT=after_produce:3:SIGKILL` sends this process that signal when it passes `after_produce` for the third
time. Several are separated by commas. With a file named by `NOTICEWIRE_FAULT_LOG`, a line there says that it took
place, before it does.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from broker.errors import MisuseError

Faults = Callable[[str], Awaitable[None]]
"""Is told the name of each point as it is passed; may raise, wait or kill."""


def faults_from(environ: Mapping[str, str] = os.environ) -> Faults | None:
    """Return what the environment asks for: usually nothing.

    Raises:
        MisuseError: it asks for something else than `<point>:<pass>:<signal>`.
    """
    text = environ.get("NOTICEWIRE_FAULT", "")
    if not text:
        return None
    wanted: dict[tuple[str, int], signal.Signals] = {}
    for item in text.split(","):
        try:
            point, number, name = item.split(":")
            wanted[point, int(number)] = signal.Signals[name]
        except (ValueError, KeyError):
            raise MisuseError(f"NOTICEWIRE_FAULT: {item!r} is not <point>:<pass>:<signal>") from None
    log = environ.get("NOTICEWIRE_FAULT_LOG")
    passed: Counter[str] = Counter()

    async def fault(point: str) -> None:
        passed[point] += 1
        if (chosen := wanted.get((point, passed[point]))) is not None:
            if log is not None:
                with Path(log).open("a") as lines:  # noqa: ASYNC230 - the process ends here
                    lines.write(f"{os.getpid()} {point} {passed[point]} {chosen.name}\n")
            os.kill(os.getpid(), chosen)

    return fault
