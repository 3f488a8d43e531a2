"""One Apache Kafka node on this machine, for the demo, for trials and for the tests: no root, no container.

The data folder holds all of it: `server.properties` and `log4j2.properties` (written anew at each start), `port`,
`lock`, `kafka.log` (what Kafka logs, bounded), `kafka.out` (what the JVM itself prints) and `logs` (Kafka's data).
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import os
import random
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from broker.embedded import leash
from broker.embedded.jars import default_cache, jars_folder
from broker.embedded.java import Java, find_java
from broker.embedded.properties import HOST, LOG4J, PORTS_PER_NODE, Seat, server_properties
from broker.errors import UnavailableError

_PORTS = range(20_000, 32_000)
"""Below the range from which the kernel takes ports for outgoing connections (from 32,768), so that a port which was
chosen once is still free when Kafka starts again."""

_PORTS_ALONE = 2
"""A node alone copies to nobody: it goes on also if somebody has taken the third of its ports."""

_READY_SECONDS = 90.0
"""A start takes 3 s; this is for a machine on which everything else starts at the same time."""

_STOP_SECONDS = 15.0
"""A clean stop takes 1 s. Afterwards SIGKILL: Kafka recovers its log at the next start."""

_PREDECESSOR_SECONDS = 10.0
"""How long to wait for a Kafka whose owner has died and that is ending right now."""

_TAIL_LINES = 25

_ATTEMPTS = 3

_PORT_TAKEN = "Address already in use"


def _quiet(_: str) -> None:
    """Report no progress."""


class EmbeddedKafka:
    """One KRaft node, broker and controller in one, on 127.0.0.1.

    It ends when this process ends, whatever ends it, and Ctrl-C does not reach it (see `leash`). Synchronous: from
    asyncio, call the methods with `asyncio.to_thread`.

    Args:
        data: its folder, made if it is not there. One Kafka at a time uses it; a lock sees to that.
        heap_mb: the JVM's largest heap, in MiB.
        progress: is told what goes on, a line at a time.
        cache: where the jars are kept; by default the folder that all checkouts share.
        settings: Kafka's own settings, beside or instead of those in `server_properties`.
        long_lived: whether it runs for hours, so that the JVM's second compiler pays. Measured on two cores with 226
            topics: without it start and topics take 4.5 s of CPU instead of 6.6, and the first 34,000 records 3.0
            instead of 5.4; only after some 150,000 records is it ahead (0.2 against 0.35 for 34,000).
        seat: its place in a cluster; see `EmbeddedCluster`. Alone where left out.
    """

    def __init__(
        self,
        data: Path,
        *,
        heap_mb: int = 768,
        progress: Callable[[str], None] = _quiet,
        cache: Path | None = None,
        settings: Mapping[str, str] | None = None,
        long_lived: bool = False,
        seat: Seat | None = None,
    ) -> None:
        self._data = data.absolute()
        self._heap_mb = heap_mb
        self._progress = progress
        self._cache = cache
        self._long_lived = long_lived
        self._settings = dict(settings or {})
        self._process: leash.Leashed | None = None
        self._seat = seat
        self._port: int | None = None if seat is None else seat.ports[seat.node]
        self._is_known = seat is not None  # others know its ports, so it may take no other
        self._log_begin = 0

    @property
    def bootstrap_servers(self) -> str:
        """Where clients connect; valid once it has been started, and the same after `kill` and `start`."""
        if self._port is None:
            message = "the embedded Kafka has not been started"
            raise RuntimeError(message)
        return f"{HOST}:{self._port}"

    @property
    def pid(self) -> int:
        """The process id of the JVM."""
        if self._process is None:
            message = "the embedded Kafka does not run"
            raise RuntimeError(message)
        return self._process.pid

    @property
    def _node(self) -> int:
        return 1 if self._seat is None else self._seat.node

    def _ports(self, first: int) -> range:
        return range(first, first + (_PORTS_ALONE if self._seat is None else PORTS_PER_NODE))

    @property
    def running(self) -> bool:
        """Whether the JVM runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How a JVM that had served ended by itself; None while one runs, and once another start was tried."""
        return None if self._process is None else self._process.poll()

    def log_tail(self, lines: int = _TAIL_LINES) -> str:
        """The last lines of what the JVM printed and of what Kafka logged."""
        parts = [
            f"--- {name}\n" + "\n".join(text.splitlines()[-lines:])
            for name, text in (("kafka.out", self._read("kafka.out")), ("kafka.log", self._log()))
            if text
        ]
        return "\n".join(parts) or "(it wrote nothing)"

    def start(self) -> None:
        """Start it, and return when it serves: topics can be made at once. Does nothing if it runs.

        The first start on a machine downloads Kafka, the first one in a folder formats it. A port that is taken is
        replaced by another at the first start only: later, others know this one.

        Raises:
            UnavailableError: it did not start (with the end of its log), its port is taken, another one uses the
                folder (with the process that holds it), or Java or the jars cannot be had. Nothing of it runs then.
        """
        if self.running:
            return
        self._process = None
        try:
            java = find_java()
            jars = jars_folder(self._cache or default_cache(), self._progress)
        except UnavailableError as error:
            message = (
                f"{error}\nTo use an Apache Kafka that exists instead, name it: "
                "NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS=host:9092"
            )
            raise UnavailableError(message) from error
        self._data.mkdir(parents=True, exist_ok=True)
        lock = self._hold()
        try:
            self._run(java, jars, lock)
        finally:
            os.close(lock)  # leash and JVM inherited it, and hold it for as long as they live

    def stop(self) -> None:
        """Stop it cleanly, or after 15 seconds with SIGKILL; idempotent. Nothing of it runs once this returns.

        A `start` under way in another thread fails.
        """
        process, self._process = self._process, None
        if process is not None:
            process.stop(_STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as a fault would; `start` goes on with the same data and the same port."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    # ------------------------------------------------------------------------------------------------------- parts

    def _hold(self) -> int:
        """Lock the folder, and write into the lock who holds it.

        The lock belongs to the open file, which the leash and the JVM inherit. So it lasts as long as anything that
        uses the folder, also if this process is killed.
        """
        lock = os.open(self._data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _PREDECESSOR_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip()
                    if _alive(holder) or time.monotonic() > deadline:
                        message = f"{self._data} is in use: process {holder or 'unknown'} runs a Kafka on it"
                        raise UnavailableError(message) from None
                    time.sleep(0.05)
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _read(self, name: str, offset: int = 0) -> str:
        try:
            content = (self._data / name).read_bytes()
        except OSError:
            return ""
        return content[offset if offset <= len(content) else 0 :].decode("utf-8", "replace")

    def _log(self) -> str:
        """What Kafka has logged since the last start."""
        return self._read("kafka.log", self._log_begin)

    def _run(self, java: Java, jars: Path, lock: int) -> None:
        port_file = self._data / "port"
        port = self._port
        if port is None:
            with contextlib.suppress(OSError, ValueError):
                port = int(port_file.read_text(encoding="ascii"))
        for attempt in range(1, _ATTEMPTS + 1):
            taken = [] if port is None else [one for one in self._ports(port) if not _free(one)]
            if taken and self._is_known:
                message = f"{HOST}:{taken[0]} is taken, and others know this Kafka by its ports: end what listens there"
                raise UnavailableError(message)
            if port is None or taken:
                port = choose_port()
            port_file.write_text(f"{port}\n", encoding="ascii")
            self._write_configuration(port)
            if not (self._data / "logs" / "meta.properties").exists():
                self._format(java, jars)
            self._progress(f"Starting Apache Kafka on {HOST}:{port} with Java {java.version} from {java.found}")
            self._port = port
            process = self._spawn(java, jars, "kafka.Kafka", [self._data / "server.properties"], lock)
            self._process = process  # at once: whoever stops it while it starts must find it
            try:
                self._await_ready(process)
            except BaseException as error:
                process.kill()
                process.wait()
                self._process = None
                if attempt < _ATTEMPTS and isinstance(error, UnavailableError) and _PORT_TAKEN in self._log():
                    port = port if self._is_known else None  # somebody took it between our look and Kafka's
                    continue
                raise
            self._is_known = True
            return

    def _spawn(
        self, java: Java, jars: Path, program: str, arguments: list[str | Path], *pass_fds: int
    ) -> leash.Leashed:
        """Run a class of Kafka's; what the JVM prints goes into kafka.out, begun anew."""
        log = self._data / "kafka.log"
        self._log_begin = log.stat().st_size if log.exists() else 0
        argv: list[str | Path] = [
            java.path,
            f"-Xms{min(128, self._heap_mb)}m",
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",  # on two cores G1 took half as much CPU again, and more memory
            *([] if self._long_lived else ["-XX:TieredStopAtLevel=1"]),
            "-XX:+ExitOnOutOfMemoryError",  # half a broker is worse than none
            "-XX:-UsePerfData",  # no files outside the data folder
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={self._data / 'log4j2.properties'}",
            "-cp",
            f"{jars}/*",
            program,
            *arguments,
        ]
        with (self._data / "kafka.out").open("wb") as out:
            return leash.spawn(argv, cwd=self._data, stdout=out, stderr=subprocess.STDOUT, pass_fds=pass_fds)

    def _write_configuration(self, port: int) -> None:
        properties = server_properties(port=port, logs=self._data / "logs", seat=self._seat) | self._settings
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (self._data / "server.properties").write_text(text, encoding="utf-8")
        (self._data / "log4j2.properties").write_text(LOG4J.format(file=self._data / "kafka.log"), encoding="utf-8")

    def _format(self, java: Java, jars: Path) -> None:
        self._progress("Formatting a new data folder for Apache Kafka")
        cluster = new_cluster_id() if self._seat is None else self._seat.cluster_id
        arguments: list[str | Path] = [
            "format",
            f"--cluster-id={cluster}",  # in one word, because an id may begin with a hyphen
            "--ignore-formatted",  # a format that was interrupted is done again
            "--config",
            self._data / "server.properties",
        ]
        process = self._spawn(java, jars, "kafka.tools.StorageTool", arguments)
        try:
            code = process.wait(_READY_SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code != 0:
            message = f"Apache Kafka could not format {self._data} (exit code {code}):\n{self.log_tail()}"
            raise UnavailableError(message)

    def _await_ready(self, process: leash.Leashed) -> None:
        """Wait until it serves or has ended; ready means that it says itself that its one broker is unfenced."""
        began = time.monotonic()
        while True:
            code = process.poll()
            if code is not None:
                message = (
                    f"Apache Kafka ended while starting (exit code {code}). The end of its log:\n{self.log_tail()}"
                )
                raise UnavailableError(message)
            if _listens(self._port) and self._node in brokers_of(self.bootstrap_servers):
                self._progress(f"Apache Kafka is ready after {time.monotonic() - began:.1f} s")
                return
            if time.monotonic() - began > _READY_SECONDS:
                message = (
                    f"Apache Kafka was not ready after {_READY_SECONDS:.0f} s. The end of its log:\n{self.log_tail()}"
                )
                raise UnavailableError(message)
            time.sleep(0.05)


def _alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _free(port: int) -> bool:
    """Whether Kafka could listen there; as Kafka does, connections that have just been closed do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def are_free(port: int) -> bool:
    """Whether a node could have all of its ports from this one on."""
    return all(_free(port + more) for more in range(PORTS_PER_NODE))


def choose_port() -> int:
    """A port that is free, and the next ones too. At random, so that several starts at once hardly ever meet."""
    choice = random.SystemRandom()
    for _ in range(1000):
        port = choice.choice(_PORTS)
        if are_free(port):
            return port
    message = f"no {PORTS_PER_NODE} free ports in a row found between {_PORTS.start} and {_PORTS.stop}"
    raise UnavailableError(message)


def new_cluster_id() -> str:
    """What a new cluster is called."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode("ascii")


def _listens(port: int | None) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def brokers_of(bootstrap_servers: str) -> frozenset[int]:
    """The numbers of the brokers that are unfenced, as the one that answers knows; none where nobody does."""
    try:
        client = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0, "socket.timeout.ms": 2000})
        return frozenset(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return frozenset()
