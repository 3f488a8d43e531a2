from __future__ import annotations

from broker.cli import explain
from broker.model.ledger import WithheldReason


def test_every_reason_is_explained() -> None:
    """Whatever a rule takes away, `explain` has words for it."""
    assert set(explain._WHY) == set(WithheldReason) - {WithheldReason.UNKNOWN}
