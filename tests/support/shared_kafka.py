"""One Apache Kafka for a whole run of the tests, shared by its parallel workers and started only if a test wants it.

The process that people start (pytest's controller, or the only process) owns it. Workers ask for it over a socket; the
first question starts it. So nothing depends on which worker ends first, and a run of the unit tests starts nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path

import psutil
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from broker.embedded import EmbeddedKafka
from broker.errors import NoticewireError

EXISTING = "NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS"
"""Names a cluster to be used instead."""

_FOLDER = "noticewire-tests-"

_SECRET = b"noticewire tests"  # pickles go over a socket in a folder that only we may enter


@dataclass(frozen=True)
class SharedKafka:
    """What the fixture `kafka` returns."""

    bootstrap_servers: str
    admin: AdminClient

    def delete_topics(self, prefix: str) -> None:
        """Delete every topic whose name begins with `prefix`, and wait until the controller has done so."""
        names = [name for name in self.admin.list_topics(timeout=30).topics if name.startswith(prefix)]
        if names:
            for future in self.admin.delete_topics(names, operation_timeout=30).values():
                error = future.exception()
                # A broker may still list what a test has deleted itself a moment ago.
                if error is not None and not _is_gone(error):
                    raise error


def _is_gone(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


class Owner:
    """In the process that owns it: starts it at the first question, stops it at the end."""

    def __init__(self) -> None:
        _remove_what_killed_runs_left()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        self.address = str(self._folder / "ask")
        self._lock = threading.Lock()
        self._kafka: EmbeddedKafka | None = None
        self._answer: tuple[bool, str] | None = None
        self._listener = Listener(self.address, family="AF_UNIX", authkey=_SECRET)
        self._closed = False
        threading.Thread(target=self._serve, daemon=True, name="shared kafka").start()

    def ask(self) -> tuple[bool, str]:
        """Start it if it was not; (True, bootstrap servers) or (False, what went wrong)."""
        with self._lock:
            if self._answer is None:
                self._answer = self._start()
            return self._answer

    def close(self) -> None:
        """Stop it, and remove its data."""
        self._closed = True
        with Client(self.address, family="AF_UNIX", authkey=_SECRET):
            pass  # wakes the thread, which then ends
        self._listener.close()
        with self._lock:
            self._answer = (False, "the run is over")
            if self._kafka is not None:
                self._kafka.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self) -> tuple[bool, str]:
        existing = os.environ.get(EXISTING)
        if existing:
            return True, existing
        self._kafka = EmbeddedKafka(self._folder / "kafka")
        try:
            self._kafka.start()
        except NoticewireError as error:
            return False, str(error)
        return True, self._kafka.bootstrap_servers

    def _serve(self) -> None:
        while True:
            connection = self._listener.accept()
            if self._closed:
                connection.close()
                return
            threading.Thread(target=self._reply, args=(connection,), daemon=True).start()

    def _reply(self, connection: Connection) -> None:
        with connection, contextlib.suppress(OSError):  # after Ctrl-C the worker that asked is gone
            connection.send(self.ask())


def _remove_what_killed_runs_left() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        pid = folder.name.removeprefix(_FOLDER).split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def ask_owner(address: str) -> tuple[bool, str]:
    """In a worker: what `Owner.ask` says."""
    with Client(address, family="AF_UNIX", authkey=_SECRET) as connection:
        ok, words = connection.recv()
        return bool(ok), str(words)
