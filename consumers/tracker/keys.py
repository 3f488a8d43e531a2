"""Which keys count for receipts, so that a store rebuilt years later comes to the same verdicts.

The directory lets a key's validity begin, or end, before the record that says so was written. A router that decides
once may live with that; a tracker may not, since the same receipt is judged again whenever the store is rebuilt, and
then over a longer directory. So here a key counts from its entry at the earliest, and is not ended before its end was
entered: what the directory says of a moment is settled once that moment is past. (Both times are append times; brokers
whose clocks differ leave that difference open.)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from broker.model.change import ChangeKind, PublicKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.transport.directory import LoggedChange

_TICK = timedelta(milliseconds=1)
"""What Kafka's clock tells apart: a receipt of the same millisecond may lie before or after the directory's record, so
the record counts from the next one."""


@dataclass(frozen=True, slots=True)
class _Key:
    bureau: str
    public: bytes
    counts_from: datetime
    counts_until: datetime | None


class ReceiptKeys:
    """The keys of the directory's log, each with the time in which it counts.

    Args:
        log: the directory's records, from `DirectoryFollower.log`.
        installation: what signatures are bound to.
    """

    def __init__(self, log: Iterable[LoggedChange], *, installation: str) -> None:
        self.installation = installation
        self._keys: dict[str, _Key] = {}
        for one in log:
            if one.change is None or one.no_effect is not None:
                continue
            match one.change.kind:
                case ChangeKind.FOUNDED | ChangeKind.ENTERED | ChangeKind.KEY_ADDED:
                    for key in one.change.keys:
                        self._enter(one.change.code, key, one.appended_at)
                case ChangeKind.KEY_ENDED:
                    for key in one.change.keys:
                        self._end(key, one.appended_at)
                case _:
                    pass

    def _enter(self, bureau: str, key: PublicKey, entered_at: datetime) -> None:
        self._keys[key.key_id] = _Key(bureau, key.public, max(key.valid_from, entered_at + _TICK), key.valid_until)

    def _end(self, key: PublicKey, entered_at: datetime) -> None:
        known = self._keys.get(key.key_id)
        if known is None or key.valid_until is None:
            return
        until = max(key.valid_until, entered_at + _TICK)
        if known.counts_until is not None:
            until = min(until, known.counts_until)
        self._keys[key.key_id] = _Key(known.bureau, known.public, known.counts_from, until)

    def at(self, key_id: str, moment: datetime) -> tuple[str, bytes] | None:
        """Return whose key it is and its public bytes, if it counted when a record was appended.

        A key that was never entered and one that did not count yet are not told apart: the first may become the second.
        """
        key = self._keys.get(key_id)
        if key is None or moment < key.counts_from or (key.counts_until is not None and moment >= key.counts_until):
            return None
        return key.bureau, key.public
