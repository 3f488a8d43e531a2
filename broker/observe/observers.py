"""What the parts tell of their work, to whoever watches; by default nobody does.

Numbers and codes only: no part knows what a metric is, and none of these arguments can hold personal data.
`broker.observe.metrics` has the watchers that count; a test may have its own.
"""

from __future__ import annotations

from collections.abc import Mapping


class StorageObserver:
    """Is told whether a part can write its files."""

    def unwritable(self, problem: str) -> None:
        """A file cannot be written: `problem` names it, what is wrong, and the mend. It is tried again."""

    def written(self) -> None:
        """It can be, or can be again."""


class SessionObserver:
    """Is told how a shard's transactions end."""

    def committed(self, seconds: float) -> None:
        """One was committed, so long after it was begun."""

    def failed(self, code: str) -> None:
        """One was not, or nobody knows; `code` is the error's own (`fenced`, `unavailable`, ...)."""


class SharingObserver:
    """Is told how shards fare among the members of a group; a shard by its name, `africa-0`."""

    def turned(self) -> None:
        """The sharing has come round once more: five times a second."""

    def fenced(self, shard: str) -> None:
        """Somebody newer has the shard, or its transaction timed out."""

    def unavailable(self, shard: str) -> None:
        """The shard was dropped, and is taken again."""

    def evicted(self) -> None:
        """The group has put this process out."""


class RouterObserver(StorageObserver):
    """Is told what became of each arrival, once that is committed."""

    def entered(
        self,
        *,
        feed: str,
        kind: str,
        delivered: int,
        ended: int,
        outcomes: int,
        withheld: Mapping[str, int],
        reason: str | None,
        waited_seconds: float,
    ) -> None:
        """One arrival is entered in the ledger.

        Args:
            feed: its kind: `notices`, `diffusions`, `commands`.
            kind: of the ledger entry.
            delivered: how many inboxes got the record itself.
            ended: how many got a notice of end in its place.
            outcomes: how many were told what became of it.
            withheld: from how many bureaus, by `WithheldReason`.
            reason: a `RejectReason`, where rejected.
            waited_seconds: from the record's append to the commit, by the broker's clock.
        """

    def clock(self, skew_seconds: float) -> None:
        """Kafka's clock is so far ahead of ours (below 0: behind), beyond the time that its answer took."""


class TrackerObserver(StorageObserver):
    """Is told what the tracker has written, once that is committed."""

    def read(self, log: str, records: int) -> None:
        """Read so many records of a log: `ledger` or `acks`."""

    def counted(self, stage: str, decline_reason: str | None) -> None:
        """A receipt counts, for this stage; with the reason, where it declines."""

    def not_counted(self, reason: str) -> None:
        """A receipt does not count."""

    def acknowledged(self, seconds: float) -> None:
        """A delivery was acknowledged for the first time, so long after its message was published (append times)."""


class ArchiveObserver(StorageObserver):
    """Is told how the archive comes on."""

    def turned(self) -> None:
        """The archive's loop has come round once more."""

    def opened(self, leaves: int) -> None:
        """The archive is open for writing; its tree has so many leaves."""

    def archived(self, kind: str, rows: int) -> None:
        """Took rows of a kind of topic (`inbox`, `ledger`, ...), to be committed."""

    def committed(self, leaves: int) -> None:
        """A commit is durable; the tree has so many leaves."""


class DoorObserver(StorageObserver):
    """Is told what a producer let pass and what it refused."""

    def published(self) -> None:
        """A message is on its feed."""

    def refused(self, code: str) -> None:
        """A message was refused; `code` is the error's own."""
