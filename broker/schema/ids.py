"""Which numbers stand for our schemas on the wire, where an external registry has given them others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaIds:
    """From the catalogue's ids to an external registry's, and back; empty where the catalogue's own are used.

    The catalogue's ids stay readable, so an installation may take a registry into use later on.
    """

    written: Mapping[int, int] = field(default_factory=dict)
    """By the catalogue's id: what the framing of a new record carries."""
    read: Mapping[int, int] = field(default_factory=dict)
    """By the external id: the catalogue's. A registry may have several for one schema."""

    def on_the_wire(self, schema_id: int) -> int:
        """Return what stands in the framing for an id of the catalogue."""
        return self.written.get(schema_id, schema_id)
