"""The directory as a fold of its signed changes: which take effect, and why the others do not.

A change that is stale or not allowed stays on the log without effect. The same log always folds to the same directory,
whoever folds it and wherever they stopped in between.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from broker.members.bureau import SECRETARIAT, Bureau, is_valid_at, key_id_of
from broker.members.directory import Directory
from broker.members.rights import may
from broker.model.change import UNKNOWN_TO_SOME, BureauKind, BureauStatus, ChangeKind, DirectoryChange, PublicKey
from broker.model.message import Classification
from broker.model.naming import Region


class NoEffect(StrEnum):
    """Why a change has no effect; shown by `noticewire directory log` and reported to its author."""

    UNREADABLE = "unreadable"
    """The record is no directory change: framing, Avro, headers, or part of a transaction."""
    SIGNATURE = "signature"
    """Not signed with a key of the stated author."""
    KEY_NOT_VALID = "key_not_valid"
    """Signed with a key of the author that did not count when the record was appended."""
    NOT_FOUNDED = "not_founded"
    """Something else came before the installation was founded."""
    NOT_THE_ROOT = "not_the_root"
    """Founded with another key than the one that the settings pin."""
    ALREADY_FOUNDED = "already_founded"
    NOT_ALLOWED = "not_allowed"
    """The author may not change this (`broker.members.rights`)."""
    UNKNOWN_CODE = "unknown_code"
    """It changes a bureau that is not entered."""
    ALREADY_ENTERED = "already_entered"
    """The code is taken; above all, nobody's region changes."""
    STALE = "stale"
    """Based on another version of the bureau than the one that it would change."""
    INCOMPLETE = "incomplete"
    """A part that this kind of change needs is not there, or is a symbol that this program does not know."""
    KEY_ID = "key_id"
    """A key that is not named after its bureau and its bytes, or that is in the directory already."""
    KEY_UNKNOWN = "key_unknown"
    """It ends a key that the bureau does not have, or that ended earlier."""


class _IneffectiveError(Exception):
    """Ends the judging of one change; never leaves this module."""

    def __init__(self, why: NoEffect) -> None:
        super().__init__(why)
        self.why = why


class DirectoryFold:
    """The directory, growing change by change in the log's order.

    Args:
        root_public: the 32 public bytes of the Secretariat's first key, pinned in the settings; without it, the first
            record that founds an installation with a key of its own is believed.
    """

    def __init__(self, *, root_public: bytes | None = None) -> None:
        self._root_public = root_public
        self._offset = 0
        self._installation: str | None = None
        self._bureaus: dict[str, Bureau] = {}
        self._keys: dict[str, tuple[str, PublicKey]] = {}
        self._view: Directory | None = Directory.empty()

    @property
    def installation(self) -> str | None:
        """The installation's id, once it is founded."""
        return self._installation

    @property
    def offset(self) -> int:
        """The next offset: every record before it is applied."""
        return self._offset

    def view(self) -> Directory:
        """Return the directory as it is now; a later change makes another one."""
        if self._view is None:
            self._view = Directory(self._bureaus.values(), offset=self._offset, installation=self._installation)
        return self._view

    def signed_in(self, change: DirectoryChange) -> str:
        """Return the installation that a change's signature must name; the founding names its own."""
        return self._installation or change.installation or ""

    def key_for(self, change: DirectoryChange, key_id: str) -> PublicKey | None:
        """Return the key that a change's signature is to be verified with, if it is the author's.

        The founding is signed with the key that it brings.
        """
        if self._installation is None:
            return next((key for key in change.keys if key.key_id == key_id), None)
        owner, key = self._keys.get(key_id, ("", None))
        return key if owner == change.author else None

    def pass_over(self, *, next_offset: int) -> None:
        """Account for offsets that hold no change, or one that cannot be read."""
        self._offset = next_offset
        self._view = None

    def apply(
        self, change: DirectoryChange, *, offset: int, appended_at: datetime, signed_with: PublicKey | None
    ) -> NoEffect | None:
        """Let a change take effect, or say why it does not.

        Args:
            change: the next one on the log.
            offset: where it lies.
            appended_at: when Kafka appended it.
            signed_with: the key from `key_for`, if it verified the change's signature.

        Returns:
            `None` if the change took effect.
        """
        self.pass_over(next_offset=offset + 1)
        try:
            self._judge(change, appended_at, signed_with)
        except _IneffectiveError as ineffective:
            return ineffective.why
        return None

    def _judge(self, change: DirectoryChange, appended_at: datetime, signed_with: PublicKey | None) -> None:
        if signed_with is None:
            raise _IneffectiveError(NoEffect.SIGNATURE)
        if self._installation is None:
            self._found(change, signed_with)
        else:
            self._change(change, appended_at, signed_with)

    def _found(self, change: DirectoryChange, signed_with: PublicKey) -> None:
        if change.kind is not ChangeKind.FOUNDED:
            raise _IneffectiveError(NoEffect.NOT_FOUNDED)
        if not may(change, None) or change.code != SECRETARIAT:
            raise _IneffectiveError(NoEffect.NOT_ALLOWED)
        if self._root_public is not None and signed_with.public != self._root_public:
            raise _IneffectiveError(NoEffect.NOT_THE_ROOT)
        if not change.installation:
            raise _IneffectiveError(NoEffect.INCOMPLETE)
        self._keep(self._entered(change))
        self._installation = change.installation

    def _change(self, change: DirectoryChange, appended_at: datetime, signed_with: PublicKey) -> None:
        if change.kind is ChangeKind.FOUNDED:
            raise _IneffectiveError(NoEffect.ALREADY_FOUNDED)
        if not is_valid_at(signed_with, appended_at):
            raise _IneffectiveError(NoEffect.KEY_NOT_VALID)
        bureau = self._bureaus.get(change.code)
        if not may(change, bureau):
            raise _IneffectiveError(NoEffect.NOT_ALLOWED)
        if change.kind is ChangeKind.ENTERED:
            if bureau is not None:
                raise _IneffectiveError(NoEffect.ALREADY_ENTERED)
            self._keep(self._entered(change))
            return
        if bureau is None:
            raise _IneffectiveError(NoEffect.UNKNOWN_CODE)
        if change.base_version != bureau.version:
            raise _IneffectiveError(NoEffect.STALE)
        counts = change.kind not in UNKNOWN_TO_SOME
        self._keep(replace(self._changed(bureau, change), version=bureau.version + counts))

    def _entered(self, change: DirectoryChange) -> Bureau:
        if change.base_version != 0:
            raise _IneffectiveError(NoEffect.STALE)
        facts = change.bureau
        if (
            facts is None
            or facts.kind is BureauKind.UNKNOWN
            or facts.clearance is Classification.UNKNOWN
            or (facts.kind is BureauKind.MEMBER and facts.region is Region.GLOBAL)
        ):
            raise _IneffectiveError(NoEffect.INCOMPLETE)
        return Bureau(
            code=change.code,
            name=facts.name,
            kind=facts.kind,
            region=facts.region,
            city=facts.city,
            clearance=facts.clearance,
            subscriptions=change.subscriptions,
            agreement=change.agreement,
            keys=self._new_keys(change),
            reads=change.reads or 1,
            version=1,
        )

    def _changed(self, bureau: Bureau, change: DirectoryChange) -> Bureau:
        """Return a bureau as a change makes it; its region stays whatever the change says."""
        match change.kind:
            case ChangeKind.KEY_ADDED if change.keys:
                return replace(bureau, keys=bureau.keys + self._new_keys(change))
            case ChangeKind.KEY_ENDED if change.keys:
                return replace(bureau, keys=_ended(bureau.keys, change.keys))
            case ChangeKind.STATUS_SET if change.status not in {None, BureauStatus.UNKNOWN}:
                return replace(bureau, status=change.status)
            case ChangeKind.CLEARANCE_SET if change.clearance not in {None, Classification.UNKNOWN}:
                return replace(bureau, clearance=change.clearance)
            case ChangeKind.AGREEMENT_SET:
                return replace(bureau, agreement=change.agreement)
            case ChangeKind.SUBSCRIPTIONS_SET:
                return replace(bureau, subscriptions=change.subscriptions)
            case ChangeKind.READS_SET if change.reads is not None:
                return replace(bureau, reads=change.reads)
            case _:
                raise _IneffectiveError(NoEffect.INCOMPLETE)

    def _new_keys(self, change: DirectoryChange) -> tuple[PublicKey, ...]:
        ids = {key.key_id for key in change.keys}
        if len(ids) != len(change.keys) or any(
            key.key_id != key_id_of(change.code, key.public) or key.key_id in self._keys for key in change.keys
        ):
            raise _IneffectiveError(NoEffect.KEY_ID)
        return change.keys

    def _keep(self, bureau: Bureau) -> None:
        self._bureaus[bureau.code] = bureau
        self._keys |= {key.key_id: (bureau.code, key) for key in bureau.keys}


def _ended(keys: tuple[PublicKey, ...], ends: tuple[PublicKey, ...]) -> tuple[PublicKey, ...]:
    """Return keys with an end set; an end may be moved forward, and never back: what is ended stays ended."""
    by_id = {key.key_id: key for key in keys}
    for end in ends:
        key = by_id.get(end.key_id)
        if key is None or (
            key.valid_until is not None and end.valid_until is not None and end.valid_until > key.valid_until
        ):
            raise _IneffectiveError(NoEffect.KEY_UNKNOWN)
        if end.valid_until is None:
            raise _IneffectiveError(NoEffect.INCOMPLETE)
        by_id[end.key_id] = key.model_copy(update={"valid_until": end.valid_until})
    return tuple(by_id.values())
