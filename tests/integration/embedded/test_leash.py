"""Processes that cannot outlive the one that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from broker.embedded import leash
from tests.support.eventually import eventually

PARENT = """
import sys, time
from broker.embedded import leash
process = leash.spawn([sys.executable, "-c", "import time; time.sleep(600)"])
print(process.pid, flush=True)
time.sleep(600)
"""


def gone(pid: int) -> bool:
    """Whether a process has ended, also if nobody has waited for it yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_the_process_s_own(code: int) -> None:
    """Whoever waits learns how the process itself ended."""
    assert leash.spawn([sys.executable, "-c", f"raise SystemExit({code})"]).wait(90) == code


def test_a_signal_reaches_the_process_itself() -> None:
    """`pid` is the process and not the leash, and what a signal did to it is told as Popen tells it."""
    process = leash.spawn([sys.executable, "-c", "import time; time.sleep(600)"])
    assert process.poll() is None

    os.kill(process.pid, signal.SIGKILL)

    assert process.wait(90) == -signal.SIGKILL


def test_a_program_that_is_not_there() -> None:
    """A program that cannot be started is an OSError at once, as with Popen."""
    with pytest.raises(FileNotFoundError):
        leash.spawn(["/nowhere/to/be/found"])


def test_one_that_ignores_sigterm_is_killed() -> None:
    """`stop` is bounded."""
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    ready, out = os.pipe()
    process = leash.spawn([sys.executable, "-c", code], stdout=out)
    os.close(out)
    with os.fdopen(ready) as reader:
        assert reader.readline() == "ready\n"

    began = time.monotonic()
    assert process.stop(0.2) == -signal.SIGKILL
    assert time.monotonic() - began < 10


def test_ctrl_c_does_not_reach_it() -> None:
    """It is in a session of its own: what the terminal sends to the foreground reaches only us."""
    process = leash.spawn([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        assert os.getsid(process.pid) != os.getsid(0)
    finally:
        process.stop(5)


def test_it_ends_when_its_parent_is_killed() -> None:
    """After SIGKILL of the parent nothing is left: neither the process nor its leash."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        leash_pid = psutil.Process(pid).ppid()

        parent.kill()
        parent.wait()

        eventually(lambda: gone(pid) and gone(leash_pid), seconds=10, what="process and leash have ended")


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_it_ends_when_its_leash_is_killed() -> None:
    """After SIGKILL of the leash the kernel ends the process."""
    process = leash.spawn([sys.executable, "-c", "import time; time.sleep(600)"])

    os.kill(psutil.Process(process.pid).ppid(), signal.SIGKILL)

    eventually(lambda: gone(process.pid), seconds=10, what="the process has ended")
    assert process.wait(10) == -signal.SIGKILL
