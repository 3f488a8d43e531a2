"""What every model shares: frozen, strict about names, and made of values that Avro can carry unchanged."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import uuid_utils
from annotated_types import Len
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, PlainSerializer, StringConstraints

from broker.clock import to_millis

UNKNOWN = "unknown"
"""The default symbol of every enum on the wire: what an older reader sees in place of a symbol that came later.

Nobody may write it; `broker.model.rules` refuses it.
"""


class Model(BaseModel):
    """A value: frozen, and with no room for a misspelt field."""

    # Built at first use: a command that reads two of the hundred models does not wait for all (a quarter of its start).
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


def _to_utc_millis(at: datetime) -> datetime:
    if at.tzinfo is None:
        msg = "a moment needs a time zone, such as 2026-05-01T12:00:00Z"
        raise ValueError(msg)
    try:
        return to_millis(at.astimezone(UTC))
    except OverflowError:
        msg = "is before the first day of the calendar, or after its last, in UTC"
        raise ValueError(msg) from None


Moment = Annotated[datetime, AfterValidator(_to_utc_millis)]
"""A moment in UTC, to the millisecond (Avro timestamp-millis)."""

BureauCode = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,31}$")]
"""A bureau's code: ISO 3166-1 alpha-2 in lower case for a member, its own for an entity."""

BUREAUS_MAX = 1_000
"""How many codes one list may name: each of the 196 members and 30 entities once, and room for four times as many.
Longer ones are an attack: a record of 1 MB holds 300,000, and each would be looked up for every message."""

Bureaus = Annotated[tuple[BureauCode, ...], Len(0, BUREAUS_MAX)]
"""Bureaus by their codes."""


def _from_hex(value: Any) -> Any:
    if isinstance(value, str):  # as files write it
        try:
            return bytes.fromhex(value)
        except ValueError:
            msg = "is not hexadecimal"
            raise ValueError(msg) from None
    return value


HexBytes = Annotated[bytes, BeforeValidator(_from_hex), PlainSerializer(bytes.hex, return_type=str, when_used="json")]
"""Bytes on the wire, hexadecimal in files."""

Digest = Annotated[HexBytes, Len(32, 32)]
"""SHA-256 of a record's value: 32 bytes."""


def new_message_id() -> UUID:
    """Return a fresh UUIDv7: unique, and in order of making, so that indexes on it stay compact."""
    return UUID(int=uuid_utils.uuid7().int)
