from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.errors import MisuseError
from broker.observe.faultpoints import faults_from

_PROGRAM = """
import asyncio
from broker.observe.faultpoints import faults_from

async def main():
    faults = faults_from()
    for turn in range(5):
        print(turn, flush=True)
        await faults("before_commit")
        await faults("after_produce")

asyncio.run(main())
"""


def test_nothing_is_asked_for_usually() -> None:
    """Without the variable there is no hook at all."""
    assert faults_from({}) is None


@pytest.mark.parametrize("text", ["after_produce", "after_produce:x:SIGKILL", "after_produce:1:SIGNOTHING"])
def test_a_mistake_is_refused(text: str) -> None:
    """A fault that would never happen is told, or a test would prove nothing."""
    with pytest.raises(MisuseError, match="NOTICEWIRE_FAULT"):
        faults_from({"NOTICEWIRE_FAULT": text})


def test_the_process_is_killed_at_the_named_pass(tmp_path: Path) -> None:
    """The third pass of the point, and no other, gets the signal; the log says that it took place."""
    log = tmp_path / "faults"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={"NOTICEWIRE_FAULT": "after_produce:3:SIGKILL", "NOTICEWIRE_FAULT_LOG": str(log)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]
    assert log.read_text().split()[1:] == ["after_produce", "3", "SIGKILL"]
