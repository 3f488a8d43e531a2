"""A delivery as JSON: what a program that is not ours is given, on standard input, in a line or in a file."""

from __future__ import annotations

from typing import Any

from broker.transport.inbox import Delivery


def as_json(delivery: Delivery) -> dict[str, Any]:
    """Return what a delivery says, of values that JSON has.

    Holds `kind` (message, end, outcome, reminder), `number`, `id`, `origin`, `offset` (in the inbox), `sha256` (of the
    bytes on the wire), `at`, and under `content` what it says without what it leaves out; of a reminder, without the
    other bureaus that are reminded.
    """
    return {
        "kind": delivery.kind,
        "number": delivery.number,
        "id": str(delivery.id),
        "origin": str(delivery.origin),
        "offset": delivery.offset,
        "sha256": delivery.digest.hex(),
        "at": delivery.appended_at.isoformat(),
        "content": _plain(delivery)
        if delivery.message is None
        else delivery.message.model_dump(mode="json", exclude_defaults=True),
    }


def _plain(delivery: Delivery) -> dict[str, Any]:
    dumped: dict[str, Any] = delivery.content.model_dump(exclude={"digest", "bureaus"}, exclude_defaults=True)
    return {name: str(value) if not isinstance(value, int) else value for name, value in dumped.items()}
