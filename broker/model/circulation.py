"""Whom the issuer addresses, less whom they exclude."""

from __future__ import annotations

from enum import StrEnum

from broker.model.base import Bureaus, Model
from broker.model.content import Few
from broker.model.naming import Region


class Scope(StrEnum):
    """How the audience is named."""

    UNKNOWN = "unknown"
    ALL = "all"
    """Every member country."""
    REGIONS = "regions"
    """The member countries at home in these regions."""
    BUREAUS = "bureaus"
    """These bureaus and entities, by their codes."""


class Circulation(Model):
    """The audience as the issuer states it; `broker.model.rules` checks that it is not empty."""

    scope: Scope
    """Whether all, some regions or some bureaus."""
    regions: Few[Region] = ()
    """Addressed, where the scope is `regions`."""
    bureaus: Bureaus = ()
    """Addressed, where the scope is `bureaus`."""
    exclusions: Bureaus = ()
    """Barred by the issuer (RPD article 58); they do not learn of it."""
    closed: bool = False
    """Shut to subscribers who are not addressed; diffusions and messages to named bureaus always are."""

    @property
    def open_to_subscribers(self) -> bool:
        """Whether the audience alone lets subscribers in; a diffusion never does."""
        return not self.closed and self.scope in {Scope.ALL, Scope.REGIONS}
