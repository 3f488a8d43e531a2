"""Which notice numbers a data folder's simulations have used, so that the next one begins after them."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from broker.errors import MisuseError
from producers.simulator.generator import FIRST_SERIAL

_AHEAD = 1_000
"""Numbers reserved at once: a run that is killed leaves at most so many unused."""


class Numbers:
    """The numbers of one data folder.

    Use `held`.
    """

    def __init__(self, path: Path, *, first: int, run: str) -> None:
        self._path = path
        self._run = run
        self.first_serial = first
        self._reserved = first
        self._least = first

    @classmethod
    @contextmanager
    def held(cls, data: Path, *, run: str) -> Iterator[Self]:
        """Hold a folder's numbers for one simulation.

        Args:
            data: the data folder; the numbers are in `simulator.json`.
            run: names a run by all that it follows from. The last run again is given the same numbers: what it
                publishes are repeats.

        Raises:
            MisuseError: another simulation runs on the folder.
        """
        path = data / "simulator.json"
        with (data / "simulator.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MisuseError(f"another simulation runs on {data}") from None
            known = _read(path)
            is_again = known.get("run") == run
            numbers = cls(path, first=int(known["first" if is_again else "next"]), run=run)
            if is_again:
                numbers._reserved = numbers._least = int(known["next"])
            yield numbers

    def use(self, next_serial: int) -> None:
        """Note, before anything is published with them, that the numbers before this one are used."""
        if next_serial > self._reserved or not self._path.exists():
            self._reserved = next_serial + _AHEAD
            self._write(self._reserved)

    def close(self, next_serial: int) -> None:
        """Give back what was reserved and not used."""
        if _read(self._path).get("run") == self._run:
            self._write(max(next_serial, self._least))

    def _write(self, following: int) -> None:
        temporary = self._path.with_suffix(".new")
        known = {"run": self._run, "first": self.first_serial, "next": following}
        temporary.write_text(json.dumps(known), encoding="utf-8")
        temporary.replace(self._path)


def _read(path: Path) -> dict[str, str | int]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {"run": str(known["run"]), "first": int(known["first"]), "next": int(known["next"])}
    except FileNotFoundError:
        return {"next": FIRST_SERIAL}
    except (ValueError, KeyError, TypeError):
        raise MisuseError(f"{path} is damaged: it says which notice numbers were used; see what it should be") from None
