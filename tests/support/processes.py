"""Services of ours as processes of their own, to be killed and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from broker.cli.context import Endpoints, KafkaEndpoint
from broker.embedded import leash
from tests.support.eventually import eventually
from tests.support.world import World


def write_endpoints(world: World) -> None:
    """Let the commands find a world by its data folder."""
    Endpoints(
        kafka=KafkaEndpoint(bootstrap_servers=world.kafka.bootstrap_servers, prefix=world.kafka.prefix),
        installation=world.installation,
        root_key=world.keys.signer("ipsg").public.hex(),
    ).write(world.data)


@dataclass
class ServiceProcess:
    """`noticewire serve SERVICE` on a world's data folder, or a program of a test; every start appends to its log."""

    service: str
    data: Path
    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    process: leash.Leashed | None = None
    program: tuple[str, ...] = ()
    """What Python runs instead of the service: `-m`, a module, its arguments."""

    @property
    def log(self) -> Path:
        """What all its starts have logged."""
        return self.data / "logs" / f"{self.name}.log"

    @property
    def fault_log(self) -> Path:
        """Which named points were reached."""
        return self.data / "logs" / f"{self.name}.faults"

    def start(self, *, fault: str | None = None) -> None:
        """Start it; `fault` is `<point>:<pass>:<signal>`."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **self.settings, "NOTICEWIRE_FAULT_LOG": str(self.fault_log)}
        environment.pop("NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS", None)
        if fault is not None:
            environment["NOTICEWIRE_FAULT"] = fault
        served = ("-m", "broker.cli.main", "serve", self.service, "--data", str(self.data))
        argv = [sys.executable, *(self.program or served)]
        with self._out() as out:
            self.process = leash.spawn(argv, env=environment, stdout=out, stderr=out)

    def _out(self) -> IO[bytes]:
        """Where its output goes."""
        return self.log.open("ab")

    @property
    def is_running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self.process is not None and self.process.poll() is None

    def running(self) -> leash.Leashed:
        """Return the process.

        Raises:
            AssertionError: it has ended by itself; shows the end of its log.
        """
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} ended: {self.tail()}"
        return self.process

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.running().kill()
        assert self.process is not None
        self.process.wait(60)

    def end(self) -> None:
        """SIGKILL if it runs, and wait until it is gone."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)

    async def hang(self, seconds: float) -> None:
        """Let it hang (SIGSTOP), and wake it up."""
        process = self.running()
        os.kill(process.pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        os.kill(process.pid, signal.SIGCONT)

    def faults_passed(self) -> int:
        """How often a named fault has killed it."""
        return self.fault_log.read_text().count("\n") if self.fault_log.exists() else 0

    def await_own_death(self, *, seconds: float, what: str) -> None:
        """Wait until a named fault has killed it."""
        process = self.process
        assert process is not None
        code = eventually(process.poll, seconds=seconds, what=what)
        assert code == -signal.SIGKILL, self.tail()

    def stop(self, *, seconds: float = 90) -> None:
        """SIGTERM, and wait until it has finished what was in flight."""
        if self.process is not None and self.process.poll() is None:
            assert self.process.stop(seconds) == 0, self.tail()

    def tail(self, lines: int = 30) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])

    def said(self, words: str) -> int:
        """How often its log holds some words."""
        return self.log.read_text(encoding="utf-8", errors="replace").count(words) if self.log.exists() else 0
