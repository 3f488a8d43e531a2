from __future__ import annotations

import os
import signal
import sys

import psutil

from broker.cli.supervisor import BACK_OFF_SECONDS, HEALTHY_SECONDS, KEEPS_DYING, Supervisor
from broker.embedded import leash
from tests.support.eventually import eventually

SLEEPS = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"]
ENDS = [sys.executable, "-I", "-S", "-c", "raise SystemExit(3)"]
STUBBORN = [
    sys.executable,
    "-I",
    "-S",
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)",
]


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        """What the hands say."""
        return self.seconds


def a_supervisor(time: Time, said: list[str], patience_seconds: float = 10.0) -> Supervisor:
    return Supervisor(said.append, patience_seconds=patience_seconds, now=time)


def died(supervisor: Supervisor) -> None:
    """Wait until the only service has ended, without letting the supervisor see it."""
    process = supervisor.services[0].process
    assert process is not None
    eventually(lambda: process.poll() is not None, seconds=20, what="the process has ended")


def test_starts_again_whoever_was_killed_and_says_by_what() -> None:
    """A service that is killed runs again after the shortest wait, and the signal and its last words are shown."""
    time, said = Time(), list[str]()
    supervisor = a_supervisor(time, said)
    with supervisor.running():
        service = supervisor.add("router", lambda: leash.spawn(SLEEPS), last_words=lambda: "its log's end")
        first = service.process
        assert first is not None
        os.kill(first.pid, signal.SIGKILL)
        died(supervisor)

        assert not supervisor.check()
        time.seconds += BACK_OFF_SECONDS[0]
        assert supervisor.check()

        assert service.process is not None
        assert service.process.pid != first.pid
        assert said == ["router was ended by SIGKILL; started again in 0.5 s\nits log's end"]
    assert service.process is None


def test_waits_longer_each_time_reports_who_keeps_dying_and_goes_on_with_the_others() -> None:
    """The wait grows to its limit, the report names the one that keeps dying, and another service never stops."""
    time, said = Time(), list[str]()
    supervisor = a_supervisor(time, said)
    with supervisor.running():
        failing = supervisor.add("tracker", lambda: leash.spawn(ENDS))
        other = supervisor.add("audit", lambda: leash.spawn(SLEEPS))
        for wait in (*BACK_OFF_SECONDS, BACK_OFF_SECONDS[-1]):
            died(supervisor)
            supervisor.check()
            assert f"tracker ended with code 3; started again in {wait:g} s" in said[-1]
            time.seconds += wait
            supervisor.check()

        assert failing.is_failing
        assert ["it keeps dying" in line for line in said].index(True) == KEEPS_DYING - 1
        assert other.deaths == 0
        assert other.process is not None
        assert other.process.poll() is None


def test_forgets_earlier_deaths_of_whoever_has_run_long_enough() -> None:
    """A death after a healthy while is a first one again."""
    time, said = Time(), list[str]()
    supervisor = a_supervisor(time, said)
    with supervisor.running():
        service = supervisor.add("router", lambda: leash.spawn(ENDS))
        died(supervisor)
        supervisor.check()
        time.seconds += BACK_OFF_SECONDS[0]
        supervisor.check()
        died(supervisor)
        time.seconds += HEALTHY_SECONDS
        supervisor.check()

        assert service.deaths == 1
        assert said[-1].endswith("started again in 0.5 s")


def test_whoever_runs_well_again_is_not_failing_any_more() -> None:
    """A service that kept dying stops being reported once it has run for the stated time, without another death."""
    time, said = Time(), list[str]()
    supervisor = a_supervisor(time, said)
    programs = iter([*[ENDS] * KEEPS_DYING, SLEEPS])
    with supervisor.running():
        service = supervisor.add("tracker", lambda: leash.spawn(next(programs)))
        for _ in range(KEEPS_DYING):
            died(supervisor)
            supervisor.check()
            time.seconds += BACK_OFF_SECONDS[-1]
            supervisor.check()
        time.seconds += HEALTHY_SECONDS - 1
        supervisor.check()
        assert service.is_failing

        time.seconds += 1
        supervisor.check()

        assert not service.is_failing


def test_a_program_that_is_not_there_stops_nothing() -> None:
    """What cannot be started is tried again like what died."""
    time, said = Time(), list[str]()
    supervisor = a_supervisor(time, said)
    with supervisor.running():
        supervisor.add("audit", lambda: leash.spawn(["/nonexistent/program"]))

        assert said == ["audit could not be started: No such file or directory; started again in 0.5 s"]
        time.seconds += BACK_OFF_SECONDS[0]
        supervisor.check()
        assert "1 s" in said[-1]


def test_ends_whoever_does_not_stop_in_time() -> None:
    """Once it has stopped, nothing of it runs, also what ignores SIGTERM."""
    time, said = Time(), list[str]()
    supervisor = a_supervisor(time, said, patience_seconds=0.3)
    process = supervisor.add("stubborn", lambda: leash.spawn(STUBBORN)).process
    assert process is not None

    supervisor.stop()

    assert not psutil.pid_exists(process.pid)
