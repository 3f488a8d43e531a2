"""A bureau as the directory knows it at one version."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from broker.model.change import BureauKind, BureauStatus, PublicKey, Subscription
from broker.model.message import Classification
from broker.model.naming import Region

SECRETARIAT = "ipsg"
"""The General Secretariat's code: it enters everybody else, and its first key is the root of trust."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bureau:
    """A member's bureau, an entity or one of our own services."""

    code: str
    name: str
    kind: BureauKind
    region: Region
    """Its home, for good."""
    city: str
    clearance: Classification
    """The highest classification that it may see."""
    status: BureauStatus = BureauStatus.ACTIVE
    subscriptions: tuple[Subscription, ...] = ()
    agreement: tuple[Subscription, ...] = ()
    """What an entity may subscribe to; a member needs none."""
    keys: tuple[PublicKey, ...] = ()
    reads: int = 1
    """The newest version of the format that it reads."""
    version: int = 0
    """How many changes of it have taken effect, less those of what it reads; the next change names this number."""

    @property
    def is_member(self) -> bool:
        """Whether it is a member country's bureau, which `all` and its home region address."""
        return self.kind is BureauKind.MEMBER

    @property
    def is_service(self) -> bool:
        """Whether it is one of our own, which sign and are sent nothing."""
        return self.kind is BureauKind.SERVICE

    @property
    def case_region(self) -> Region:
        """Where its own cases live: its home region, or `global` for whoever is no member country."""
        return self.region if self.is_member else Region.GLOBAL


def key_id_of(code: str, public: bytes) -> str:
    """Return the name of a key: its bureau, and 16 hex digits of the SHA-256 of its 32 public bytes."""
    return f"{code}.{sha256(public).hexdigest()[:16]}"


def is_valid_at(key: PublicKey, at: datetime) -> bool:
    """Whether a key counts at a moment: from its first on, and up to its end, which no longer belongs to it."""
    return key.valid_from <= at and (key.valid_until is None or at < key.valid_until)
