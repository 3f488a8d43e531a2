"""The installed command as a person types it, the demo's processes and ports, and what its topics hold."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import psutil
from aiokafka import ConsumerRecord

from broker.settings import KafkaSettings
from tests.support.eventually import eventually
from tests.support.plain import PlainRecord, plain

COMMAND = Path(sys.executable).with_name("noticewire")
STARTED_WITHIN_SECONDS = 240.0
"""Takes 40 s on two cores of its own; this is for a machine on which the other tests run, too."""

_NOT_AVRO = "checkpoints"
"""Holds signed notes."""

_COMMAND_SECONDS = 120.0
_ENDED_WITHIN_SECONDS = 60.0
_GONE_WITHIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it wrote for programs.

        Raises:
            AssertionError: it wrote something else.
        """
        try:
            return json.loads(self.out)
        except json.JSONDecodeError:
            raise AssertionError(str(self)) from None

    def expect(self, code: int) -> Self:
        """Return it, if it has this exit code."""
        assert self.code == code, f"exit code {self.code}, not {code}\n{self.out[-2000:]}\n{self.err[-4000:]}"
        return self


def environment() -> dict[str, str]:
    """Return this process's environment without any of our settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NOTICEWIRE_")}


def noticewire(*argv: str | Path) -> Finished:
    """Run a command of the installed program to its end."""
    ended = subprocess.run(
        [COMMAND, *argv],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=_COMMAND_SECONDS,
        check=False,
    )
    return Finished(ended.returncode, ended.stdout, ended.stderr)


@dataclass(kw_only=True)
class Demo:
    """`noticewire demo` in a process group of its own, as a shell would start it."""

    data: Path
    process: subprocess.Popen[bytes]
    log: Path
    seen: set[psutil.Process] = field(default_factory=set)
    """Every process of it that was seen; a process that has another's number is not equal to it."""
    ports: set[int] = field(default_factory=set)
    """Every port on which one of them was seen to listen."""

    @classmethod
    def start(cls, data: Path, *argv: str) -> Self:
        """Start it; what it prints goes into a file beside its data folder."""
        log = data.with_name(f"{data.name}.out")
        # Where the tests run in the background of a shell, SIGINT is ignored, and a child would inherit that. A handler
        # is not inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with log.open("wb") as out:
                process = subprocess.Popen(
                    [COMMAND, "demo", "--data", data, *argv],
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        finally:
            signal.signal(signal.SIGINT, before)
        return cls(data=data, process=process, log=log)

    def printed(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def await_line(self, words: str, *, seconds: float = STARTED_WITHIN_SECONDS) -> None:
        """Wait until it has printed some words.

        Raises:
            AssertionError: it ended before, or the deadline has passed; shows the end of what it printed.
        """

        def said() -> bool:
            self.look()
            assert words in self.printed() or self.process.poll() is None, f"it ended: {self.printed()[-4000:]}"
            return words in self.printed()

        try:
            eventually(said, seconds=seconds, what=f"the demo says {words!r}")
        except AssertionError as error:
            error.add_note(self.printed()[-4000:])
            raise

    def look(self) -> None:
        """Note its processes and their ports."""
        try:
            self.seen |= {psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)}
        except psutil.NoSuchProcess:
            return
        for process in self.seen:
            try:
                connections = process.net_connections("tcp")
            except psutil.Error:
                continue
            self.ports |= {one.laddr.port for one in connections if one.status == psutil.CONN_LISTEN}

    def interrupt(self) -> None:
        """Ctrl-C: the terminal sends SIGINT to the whole process group in its foreground."""
        self.look()
        os.killpg(self.process.pid, signal.SIGINT)

    def ended(self) -> int:
        """Wait until it has ended, and return its exit code."""
        try:
            return self.process.wait(_ENDED_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it still runs: {self.printed()[-4000:]}") from None

    def assert_nothing_is_left(self) -> None:
        """No process of it runs any more, whoever its parent is by now, and nobody listens on a port of it."""
        eventually(
            lambda: not self._left(),
            seconds=_GONE_WITHIN_SECONDS,
            what=f"nothing is left: {self._left()} runs or listens",
        )

    def _left(self) -> list[str]:
        left = [said for one in {*self.seen, *_processes_on(self.data)} if (said := _running(one))]
        return left + [f"port {port}" for port in self._ports() if _listens(port)]

    def _ports(self) -> set[int]:
        """Return those that were seen, and the two that Kafka was told to take."""
        try:
            chosen = int((self.data / "kafka" / "port").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return self.ports
        return self.ports | {chosen, chosen + 1}


@contextmanager
def a_demo(data: Path, *argv: str) -> Iterator[Demo]:
    """A demo that does not outlive the test, however that ends."""
    demo = Demo.start(data, *argv)
    try:
        yield demo
    finally:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()


def _processes_on(data: Path) -> Iterator[psutil.Process]:
    """Yield every process whose command line names a folder or something in it."""
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if any(re.search(rf"{re.escape(str(data))}(/|$)", word) for word in words):
            yield process


def _running(process: psutil.Process) -> str:
    """Say which process it is, or nothing if it has ended (a zombie has, too)."""
    try:
        return f"{process.pid} {' '.join(process.cmdline())[:200]}" if process.is_running() else ""
    except psutil.Error:
        return ""


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass(frozen=True, kw_only=True)
class History:
    """What lay on every topic at some moment, read_committed, by a plain consumer."""

    records: Sequence[ConsumerRecord[bytes | None, bytes | None]]

    @cached_property
    def topics(self) -> dict[str, list[ConsumerRecord[bytes | None, bytes | None]]]:
        """The records of each topic, in order within each partition."""
        found: dict[str, list[ConsumerRecord[bytes | None, bytes | None]]] = defaultdict(list)
        for record in self.records:
            found[record.topic].append(record)
        return found

    @cached_property
    def _decoded(self) -> dict[str, list[PlainRecord]]:
        return {
            topic: [plain(record, prefix="") for record in records]
            for topic, records in self.topics.items()
            if topic != _NOT_AVRO
        }

    def read(self, *words: str) -> list[PlainRecord]:
        """Return the records of the topics whose names begin with one of some words, decoded."""
        return [record for topic, records in self._decoded.items() if topic.startswith(words) for record in records]


@dataclass(frozen=True, kw_only=True)
class RunningDemo:
    """A demo that has done its work and runs on, and how everything stood then."""

    demo: Demo
    kafka: KafkaSettings
    history: History
    board: dict[str, Any]
    """What `status --json` wrote."""
    archive: Path
    """A copy of the archive."""

    def run(self, *argv: str | Path) -> Finished:
        """Run a command on its data folder."""
        return noticewire(*argv, "--data", self.demo.data)
