"""What a check finds, and the mend."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from broker.errors import NoticewireError


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Works, and not as it should in production."""
    PROBLEM = "problem"
    """Something does not work, or will not: the exit code is 1."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """`java`, `topics`, `clock`, ...: stable, for programs."""
    level: Level
    what: str
    mend: str = ""
    """What to do; empty where all is well."""


def ok(check: str, what: str) -> Finding:
    """Return that all is well."""
    return Finding(check, Level.OK, what)


def warning(check: str, what: str, mend: str) -> Finding:
    """Return what works, and not as it should."""
    return Finding(check, Level.WARNING, what, mend)


def problem(check: str, what: str, mend: str) -> Finding:
    """Return what does not work, with its mend."""
    return Finding(check, Level.PROBLEM, what, mend)


async def looked(check: str, look: Callable[[], Awaitable[Iterable[Finding]]], *, mend: str) -> list[Finding]:
    """Return what a look finds; what it cannot find out is a finding too, with a general mend."""
    try:
        return list(await look())
    except NoticewireError as error:
        return [problem(check, " ".join(str(error).split()), mend)]
