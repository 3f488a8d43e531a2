"""Every exception that Noticewire raises on purpose, sorted by what the caller does next.

NoticewireError
  RefusedError           tell the issuer; nothing was written          (exit 1, HTTP 4xx)
    InvalidFieldError      a field breaks a rule of the domain
    InvalidMessageError    several fields do, all of them named
    MisuseError            the command or the settings make no sense   (exit 2)
  RejectedRecordError    set the record aside, whole; the batch goes on
  UnavailableError       try again with back-off; nothing changed
    StorageError           a file of ours cannot be written; tell the operator, too
  FencedError            a newer instance took over: stop without committing
    EvictedError           the group has put this process out: end it, a replacement begins anew
  CorruptHistoryError    stop and say where; a person decides
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Sequence


class NoticewireError(Exception):
    """The root; carries a stable code for metrics, JSON and the guides."""

    code: ClassVar[str] = "error"

    def log_fields(self) -> dict[str, str]:
        """Identifiers and codes that may be logged; never a subject's data."""
        return {"code": self.code}


class RefusedError(NoticewireError):
    """Refused at the door: nothing was written."""

    code = "refused"


class InvalidFieldError(RefusedError):
    """A field breaks a rule; names the field, what is wrong with it, and the rule.

    The problem may describe the value's shape (too long, unknown country), but quotes it only where it cannot be
    personal data, because errors end up in logs.
    """

    code = "invalid_field"

    def __init__(self, field: str, problem: str, rule: str) -> None:
        super().__init__(f"{field}: {problem}. Rule: {rule}")
        self.field = field
        self.problem = problem
        self.rule = rule

    @override
    def log_fields(self) -> dict[str, str]:
        """Return identifiers and codes that may be logged."""
        return {"code": self.code, "field": self.field}


PROBLEMS_SHOWN = 20
"""What a person mends in one round; a hostile message of 1 MB can break a rule in 10,000 places."""


class InvalidMessageError(RefusedError):
    """A message breaks one rule or several, so that one round of mending is enough; its text names the first 20.

    Attributes:
        problems: every one.
    """

    code = "invalid_message"

    def __init__(self, problems: Sequence[InvalidFieldError]) -> None:
        shown = [str(problem) for problem in problems[:PROBLEMS_SHOWN]]
        if len(problems) > PROBLEMS_SHOWN:
            shown.append(f"and {len(problems) - PROBLEMS_SHOWN} more")
        super().__init__("; ".join(shown))
        self.problems = tuple(problems)

    @override
    def log_fields(self) -> dict[str, str]:
        """Return identifiers and codes that may be logged."""
        return {"code": self.code, "fields": " ".join(one.field for one in self.problems[:PROBLEMS_SHOWN])}


class MisuseError(RefusedError):
    """The command, its arguments or the settings make no sense together."""

    code = "misuse"


class RejectedRecordError(NoticewireError):
    """A record that cannot be taken: it is set aside whole, and the batch goes on.

    Attributes:
        reason: one of `broker.model.rejection.RejectReason`, as its wire value.
        detail: what is wrong and the mend, without any value of the record.
    """

    code = "rejected"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    @override
    def log_fields(self) -> dict[str, str]:
        """Return identifiers and codes that may be logged."""
        return {"code": self.code, "reason": self.reason}


class UnavailableError(NoticewireError):
    """Something needed is not there now; try again with back-off. Nothing changed."""

    code = "unavailable"


class StorageError(UnavailableError):
    """A file of ours cannot be written: its disk is full or broken. What was to be in it is not; try again.

    Attributes:
        path: the file.
        problem: the operating system's or SQLite's word for it.
    """

    code = "storage"

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path} cannot be written ({problem}): make room on its disk, or mend it; then it goes on")
        self.path = str(path)
        self.problem = problem

    @override
    def log_fields(self) -> dict[str, str]:
        """Return identifiers and codes that may be logged."""
        return {"code": self.code, "path": self.path, "problem": self.problem}


class FencedError(NoticewireError):
    """A newer instance took over: stop without committing."""

    code = "fenced"


class EvictedError(FencedError):
    """The group has put this process out, or another one has its name: end it, so that a replacement begins anew."""

    code = "evicted"


class CorruptHistoryError(NoticewireError):
    """The log or a store contradicts itself: stop and say where; a person decides."""

    code = "corrupt_history"

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem

    @override
    def log_fields(self) -> dict[str, str]:
        """Return identifiers and codes that may be logged."""
        return {"code": self.code, "place": self.place, "problem": self.problem}
