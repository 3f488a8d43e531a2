"""Directories made by hand: a bureau for a table's row, and changes for a fold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from broker.members.bureau import Bureau
from broker.members.directory import Directory
from broker.members.fold import DirectoryFold, NoEffect
from broker.model.base import new_message_id
from broker.model.change import BureauFacts, BureauKind, ChangeKind, DirectoryChange, PublicKey, Subscription
from broker.model.message import Classification, Status
from broker.model.naming import Region
from broker.trust.keys import generate, public_key
from broker.trust.signing import Signer

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
INSTALLATION = "test-installation"
ACTUAL = Subscription(statuses=(Status.ACTUAL,))
"""What a member starts with."""


def subscription(**parts: Any) -> Subscription:
    """A subscription to what is ACTUAL, narrowed by the parts."""
    return Subscription.model_validate({"statuses": (Status.ACTUAL,), **parts})


def a_member(code: str, region: Region | str, *subscriptions: Subscription, **changes: Any) -> Bureau:
    """A member country's bureau, cleared for everything, subscribed to everything ACTUAL unless stated."""
    return _bureau(code, BureauKind.MEMBER, region, subscriptions or (ACTUAL,), changes)


def an_entity(code: str, region: Region | str, *subscriptions: Subscription, **changes: Any) -> Bureau:
    """An international entity, cleared for everything, without a subscription unless stated."""
    return _bureau(code, BureauKind.INTERNATIONAL_ENTITY, region, subscriptions, changes)


def a_directory(*bureaus: Bureau) -> Directory:
    """A directory of these bureaus."""
    return Directory(bureaus, offset=len(bureaus), installation=INSTALLATION)


def _bureau(
    code: str,
    kind: BureauKind,
    region: Region | str,
    subscriptions: tuple[Subscription, ...],
    changes: dict[str, Any],
) -> Bureau:
    fields: dict[str, Any] = {
        "kind": kind,
        "clearance": Classification.CONFIDENTIAL,
        "reads": 2,
        "version": 1,
        **changes,
    }
    return Bureau(code=code, name=code.upper(), region=Region(region), city="", subscriptions=subscriptions, **fields)


def facts(kind: BureauKind = BureauKind.MEMBER, region: Region | str = Region.AFRICA) -> BureauFacts:
    """What the Secretariat enters about a bureau."""
    return BureauFacts(
        name="Example", kind=kind, region=Region(region), city="Sampletown", clearance=Classification.CONFIDENTIAL
    )


def a_change(
    kind: ChangeKind | str, code: str, *, author: str = "ipsg", base: int = 0, **parts: Any
) -> DirectoryChange:
    """An unsigned change."""
    return DirectoryChange.model_validate(
        {
            "change_id": new_message_id(),
            "kind": ChangeKind(kind),
            "code": code,
            "author": author,
            "base_version": base,
            "changed_at": NOW,
            **parts,
        }
    )


class FoldWorld:
    """A fold of a small installation, and everybody's keys: Secretariat, two members, an entity, a service."""

    def __init__(self, *, root_public: bytes | None = None) -> None:
        self.signers: dict[str, Signer] = {code: generate(code) for code in ("ipsg", "zw", "fr", "iom", "broker")}
        self.fold = DirectoryFold(root_public=root_public)
        self.at = NOW

    def key(self, code: str, **validity: Any) -> PublicKey:
        """A bureau's first key, as the directory holds it."""
        return public_key(self.signers[code], **{"valid_from": NOW, **validity})

    def founding(self) -> DirectoryChange:
        """The first change."""
        return a_change(
            "founded",
            "ipsg",
            installation=INSTALLATION,
            bureau=facts(BureauKind.GENERAL_SECRETARIAT, Region.EUROPE),
            keys=(self.key("ipsg"),),
        )

    def entering(self, code: str) -> DirectoryChange:
        """The change that enters one of the others."""
        kind, region, agreement = {
            "zw": (BureauKind.MEMBER, Region.AFRICA, ()),
            "fr": (BureauKind.MEMBER, Region.EUROPE, ()),
            "iom": (BureauKind.INTERNATIONAL_ENTITY, Region.EUROPE, (subscription(regions=("africa",)),)),
            "broker": (BureauKind.SERVICE, Region.GLOBAL, ()),
        }[code]
        return a_change("entered", code, bureau=facts(kind, region), keys=(self.key(code),), agreement=agreement)

    def found(self) -> FoldWorld:
        """Found the installation and enter everybody."""
        assert self.apply(self.founding()) is None
        for code in ("zw", "fr", "iom", "broker"):
            assert self.apply(self.entering(code)) is None
        return self

    def apply(self, change: DirectoryChange, *, signed_by: str | None = None) -> NoEffect | None:
        """Apply a change as if signed with the first key of its author, or of somebody else."""
        key = self.fold.key_for(change, self.signers[signed_by or change.author].key_id)
        self.at += timedelta(seconds=1)
        return self.fold.apply(change, offset=self.fold.offset, appended_at=self.at, signed_with=key)
