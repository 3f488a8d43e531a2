"""Processes whose disk is full, by a limit on the size of the files that they write."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil
from typing_extensions import override

from tests.support.processes import ServiceProcess


@dataclass
class LimitedProcess(ServiceProcess):
    """A process whose disk can be filled and emptied while it runs: every write to a file fails meanwhile (EFBIG)."""

    @override
    def _out(self) -> IO[bytes]:
        """Log through a pipe, which no limit holds up: what it cannot write to a file it can still say."""
        reading, writing = os.pipe()
        threading.Thread(target=_copy, args=(reading, self.log), daemon=True).start()
        return os.fdopen(writing, "wb")

    def fill(self) -> None:
        """Let no file of it grow, or be written to at all."""
        self._limit(0)

    def empty(self) -> None:
        """Let it write as much as it likes."""
        self._limit(psutil.RLIM_INFINITY)

    def _limit(self, size_bytes: int) -> None:
        psutil.Process(self.running().pid).rlimit(psutil.RLIMIT_FSIZE, (size_bytes, psutil.RLIM_INFINITY))


def _copy(reading: int, log: Path) -> None:
    with os.fdopen(reading, "rb", buffering=0) as pipe, log.open("ab", buffering=0) as out:
        while chunk := pipe.read(1 << 16):
            out.write(chunk)
