"""Simulations for tests: a small cast, a fixed start, and their messages as the wire has them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import Any

from broker.model.naming import Region
from broker.schema.codec import Codec
from producers.simulator.cast import Cast
from producers.simulator.generator import Planned, Simulation

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
CODEC = Codec.load()

SEVEN = Cast(
    members={
        "br": Region.AMERICAS,
        "de": Region.EUROPE,
        "fr": Region.EUROPE,
        "jp": Region.ASIA_PACIFIC,
        "ke": Region.AFRICA,
        "ng": Region.AFRICA,
        "zw": Region.AFRICA,
    }
)
"""Seven members of four regions, and the Secretariat."""

TWO = Cast(members={"ke": Region.AFRICA, "fr": Region.EUROPE})
"""The fewest that can talk to each other."""


def a_simulation(seed: int = 7, **changes: Any) -> Simulation:
    """A simulation of seven members."""
    return Simulation(**{"seed": seed, "start": START, "cast": SEVEN, **changes})


def first(simulation: Simulation, count: int) -> list[Planned]:
    """Its first messages."""
    return list(islice(simulation.messages(), count))


def on_the_wire(simulation: Simulation, count: int) -> list[bytes]:
    """Its first messages as bytes."""
    return [CODEC.encode(one.message) for one in first(simulation, count)]
