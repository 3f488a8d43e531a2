"""Diffusions: sent by a bureau straight to whom it chooses (RPD articles 97-101)."""

from __future__ import annotations

from enum import StrEnum

from typing_extensions import override

from broker.model.message import Message


class DiffusionKind(StrEnum):
    """What the issuer asks for; silver came with version 2."""

    UNKNOWN = "unknown"
    ARREST = "arrest"
    """Wanted."""
    LOCATE = "locate"
    """Find a person."""
    INFORMATION = "information"
    """Tell, or ask for, something about a case."""
    IDENTIFICATION = "identification"
    """Find out who somebody is, or was."""
    WARNING = "warning"
    """Warn of a person, a threat or a way of working."""
    MISSING = "missing"
    """Find a missing person."""
    SILVER = "silver"
    """Trace criminal assets: the pilot of 2025 (domain section 2)."""


class Diffusion(Message):
    """A diffusion, in one of its events."""

    kind: DiffusionKind
    """What is asked for."""

    @property
    @override
    def wire_type(self) -> str:
        """The kind as on the wire, by which subscriptions name it."""
        return self.kind.value

    @property
    @override
    def is_missing_child(self) -> bool:
        """Whether it needs no subscription to reach whom it addresses."""
        return self.kind is DiffusionKind.MISSING and self.concerns_minor
