"""How the benches measure and show: CPU time, rounds in turn, medians, and every figure beside its unit.

Wall-clock time on a shared machine says as much about the neighbours as about the program. So everything that is
compared runs in turn, round after round, within one run, and what counts is the ratio.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from broker.embedded import EmbeddedKafka

Work = Callable[[], object]


def arguments(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that shows a bench's own docstring as its help."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def progress(words: str) -> None:
    """Say on standard error what goes on; the results alone go to standard output."""
    print(f"  {words}", file=sys.stderr, flush=True)


def cpu_us(works: Mapping[str, Work], *, each: int, rounds: int) -> dict[str, float]:
    """Return the CPU time of one unit of each work, in µs: the median of rounds in which they take turns.

    Args:
        works: what to run, by name; each run does `each` units.
        each: units in one run, by which its time is divided.
        rounds: how many runs of each count; one more, before them, warms up.
    """
    found: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        progress(f"round {turn} of {rounds}" if turn else "warming up")
        for name, work in works.items():
            gc.collect()
            gc.disable()  # else whoever comes next pays for the garbage of those before
            try:
                began = time.thread_time_ns()
                work()
                took = time.thread_time_ns() - began
            finally:
                gc.enable()
            if turn:
                found[name].append(took / 1000 / each)
    return {name: median(times) for name, times in found.items()}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a head: the first column to the left, figures to the right."""
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    for row in (head, *rows):
        cells = (
            cell.ljust(width) if not at else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells).rstrip())


@contextmanager
def kafka() -> Iterator[tuple[str, int | None]]:
    """Give a cluster's bootstrap servers, and the process id of the broker if it is one of our own.

    The cluster that NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS names; else an embedded Kafka that ends with the block, on a
    folder that goes with it.
    """
    named = os.environ.get("NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS")
    if named:
        progress(f"using the Kafka at {named}")
        yield named, None
        return
    with (
        tempfile.TemporaryDirectory(prefix="noticewire-bench-") as folder,
        EmbeddedKafka(Path(folder), progress=progress, long_lived=True) as embedded,
    ):
        yield embedded.bootstrap_servers, embedded.pid
