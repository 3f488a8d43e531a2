"""Records that cannot be routed: why, and the record that holds them whole."""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID

from broker.model.base import HexBytes, Model, Moment
from broker.model.outcome import id_for


class RejectReason(StrEnum):
    """Why a record is set aside; the first one that holds, in this order (design section 2)."""

    UNKNOWN = "unknown"
    TRANSACTIONAL = "transactional"
    """Part of a transaction: issuers write outside of them, so that a stranger's open one holds nobody up."""
    UNDECODABLE = "undecodable"
    """Framing, schema id, Avro, headers."""
    SIGNATURE = "signature"
    """Missing, wrong, of an unknown key, or of a key not valid when the record was appended."""
    INVALID = "invalid"
    """Breaks a rule of the domain, though signed."""
    MISPLACED = "misplaced"
    """Topic, region, partition, key or a CloudEvents header differs from what the value says."""
    ISSUER = "issuer"
    """The signer may not say this (table in design section 2)."""
    ID_REUSED = "id_reused"
    """Same issuer, number and message id as before, with other bytes."""
    NO_BEGINNING = "no_beginning"
    """Continues what is not there."""
    STALE = "stale"
    """The revision is too low."""
    LIFECYCLE = "lifecycle"
    """A step that the notice's life does not allow."""


class RawHeader(Model):
    """A header as it lies on the log; its key need not be UTF-8."""

    key: HexBytes
    """As it lies on the log."""
    value: HexBytes | None
    """As it lies on the log."""


class Rejection(Model):
    """A record that was set aside, whole, with the reason."""

    origin: str
    """Where the record lies."""
    reason: RejectReason
    """The first that holds."""
    detail: str
    """What is wrong and the mend; names fields, never values of the record."""
    rejected_at: Moment
    """The record's own append time: the same after a crash."""
    key: HexBytes | None
    """The record's."""
    value: HexBytes | None
    """The value; or, where the batch itself cannot be parsed or there are too many headers, the raw batch."""
    headers: tuple[RawHeader, ...] = ()
    """The record's."""
    is_raw_batch: bool = False
    """Whether `value` is a batch of the log rather than a value."""


def mending_id(origin: str, issuer: str) -> UUID:
    """Return the id of the message with which an issuer mends a rejected record.

    It is the link to what was rejected, and the issuer signs it with the message: whoever has the rejection's origin
    finds the mended message in the ledger by it, and whoever has the message can hold its header `mends` against it.
    The same for every attempt, so that of two people who mend the same record only one is routed (`id_reused`); an
    attempt that is rejected too may be made again, or be mended itself.

    Args:
        origin: of the rejected record, `notices.africa/1/42`.
        issuer: who signs the mended message; need not be whoever the rejected record named.
    """
    return id_for("mends", origin, issuer)
