"""What the interface's document says in words: what each channel and header is for, and who may do what.

The rest of it (which topics there are, what lies on them, in which form) follows from the code: `asyncapi.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker.model.naming import ALERTS, CHECKPOINTS, DIRECTORY, REJECTED, Region
from broker.transport.headers import (
    AVRO,
    CONTENT_TYPE,
    ID,
    ISSUER_DIGEST,
    KEY_ID,
    MENDS,
    ORIGIN,
    SIGNATURE,
    SOURCE,
    SPEC_VERSION,
    SUBJECT,
    TIME,
    TRACEPARENT,
    TYPE,
)

ABOUT = """\
Police notices and diffusions between national bureaus, over Apache Kafka. A bureau publishes to the feed of the
notice's region, reads its inbox and nothing else, and writes signed receipts.

**Values** are Avro in Confluent framing: `0x00`, the schema's id (4 bytes, big-endian), the body. The gateway serves
the schemas in the Schema Registry protocol. **Headers** follow the CloudEvents Kafka binding in binary mode; they
repeat what the value says and hold nothing of a subject. Topics may have an installation's prefix.

**Security.** Every message, receipt and change is signed (Ed25519) by the bureau that says it, over `noticewire/1`,
the kind of record (`message`, `receipts`, `directory`, `broker`) and the installation's id, each with a line feed
after it, then the value's bytes. The public keys are in `directory`. What its stated issuer did not sign, or may not
say, is rejected. Bureaus write to feeds, `acks` and `directory`, uncompressed and outside of transactions, and read
their own inbox (read_committed) and `directory`; only routers write inboxes, `ledger` and `rejected`.

**Partitions.** A notice lives in one partition number: murmur2 of its number, as Kafka's own partitioner has it
(librdkafka: `partitioner=murmur2_random`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """A channel in words.

    Attributes:
        title: in a few words.
        description: who writes it, who reads it, and how long it is kept.
        key: what a record's key is; `None` where records have none.
        operation: a name for what Noticewire does there.
        action: `receive` where others write, `send` where it writes.
        does: what that is.
        subjects: of the catalogue, that lie there.
        answered: with an outcome in the issuer's inbox.
    """

    title: str
    description: str
    key: str | None
    operation: str
    action: str
    does: str
    subjects: tuple[str, ...] = ()
    answered: bool = False


_NUMBER = "The notice number, `zw-n-2026-000123`."

CHANNELS: Mapping[str, Described] = {
    "notices": Described(
        title="Feed of notices",
        description="What the Secretariat publishes and bureaus request. Kept for at least the window of 90 days.",
        key=_NUMBER,
        operation="takeNotice",
        action="receive",
        does="Verify, decide who is given it, deliver, enter in the ledger; or set it aside whole, with the reason.",
        subjects=("notice",),
        answered=True,
    ),
    "diffusions": Described(
        title="Feed of diffusions",
        description="What bureaus send straight to others. Kept for at least the window of 90 days.",
        key=_NUMBER,
        operation="takeDiffusion",
        action="receive",
        does="Verify, decide who is given it, deliver, enter in the ledger; or set it aside whole, with the reason.",
        subjects=("diffusion",),
        answered=True,
    ),
    "commands": Described(
        title="Commands to a region's router",
        description="Reminders and back-fills; written by services, signed as `broker`. Kept for ever.",
        key=_NUMBER,
        operation="takeCommand",
        action="receive",
        does="Copy a reminder into the inboxes of whom it names; enter it in the ledger.",
        subjects=("command",),
    ),
    "ledger": Described(
        title="Ledger",
        description="One entry for every stretch of a feed: who was given it, who was not and why. No record has"
        " headers or a signature, and none holds personal data. Kept for ever.",
        key=f"{_NUMBER} None where the record could not be read.",
        operation="enter",
        action="send",
        does="Account for every offset of a region's feeds, in the transaction of its deliveries.",
        subjects=("ledger-entry",),
    ),
    "acks": Described(
        title="Receipts",
        description="Signed by bureaus, many in a record, in the partition of the notice. Kept for ever.",
        key="The bureau's code.",
        operation="takeReceipts",
        action="receive",
        does="Judge each receipt once the ledger has passed its origin, and note how far the delivery is.",
        subjects=("receipts",),
    ),
    "inbox": Described(
        title="A bureau's inbox",
        description="Read by that bureau alone, read_committed. Messages as their issuers signed them, or, for who"
        " reads an older version of the format, written in that and signed by the broker; notices of end in place of"
        " what it may not see; outcomes of its own messages; reminders. Kept for at least the window.",
        key=_NUMBER,
        operation="deliver",
        action="send",
        does="Give each entitled bureau each message exactly once, in each notice's order.",
        subjects=("notice", "diffusion", "notice-of-end", "outcome", "command"),
    ),
    REJECTED: Described(
        title="What could not be routed",
        description="Whole, with the reason; read by the rejected desk. Kept for at least the window.",
        key="The record's origin, `notices.africa/1/42`.",
        operation="reject",
        action="send",
        does="Set a record aside that is malformed, not signed, or not allowed.",
        subjects=("rejection",),
    ),
    DIRECTORY: Described(
        title="Directory",
        description="The log of signed changes: bureaus, keys, status, clearance, subscriptions, which"
        " version of the format each reads. Kept for ever.",
        key="The code of the bureau that is changed.",
        operation="takeChange",
        action="receive",
        does="Apply a change that its author may make and that was based on the present version.",
        subjects=("directory-change",),
    ),
    ALERTS: Described(
        title="Alerts",
        description="For duty officers. Its records have no schema yet.",
        key=_NUMBER,
        operation="alert",
        action="send",
        does="Tell what is overdue.",
    ),
    CHECKPOINTS: Described(
        title="Checkpoints of the archive",
        description="Signed heads of the archive's Merkle tree, as C2SP signed notes. Kept for ever.",
        key="The origin of the tree: the first line of each note.",
        operation="publishCheckpoint",
        action="send",
        does="Commit the archive to its history, before witnesses.",
    ),
}
"""By the part of a topic's name before the dot."""

PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "region": {
        "description": "Of the notice: its owner's home region; `global` for an entity's.",
        "enum": [str(region) for region in Region],
    },
    "bureau": {
        "description": "ISO 3166-1 alpha-2 in lower case for a member; an entity has a code of its own.",
        "examples": ["zw", "ipsg"],
    },
}
"""What stands in braces in a topic's name."""

_BUREAU = "[a-z][a-z0-9-]{1,31}"

HEADERS: Mapping[str, Mapping[str, Any]] = {
    SPEC_VERSION: {"const": "1.0", "description": "The version of CloudEvents."},
    ID: {
        "minLength": 1,
        "description": "The value's own id: of a message, a UUIDv7. Receipts get one when they are signed; a rejection"
        " has its origin.",
    },
    TYPE: {"pattern": r"^noticewire\.", "description": "What the record is, and what it says has happened."},
    SOURCE: {
        "pattern": f"^/bureaus/{_BUREAU}$",
        "description": "Whose word it is; `/bureaus/broker` for services. Who signed, `key-id` says.",
    },
    TIME: {
        "format": "date-time",
        "description": "When it was issued, by its author's clock: RFC 3339, UTC.",
    },
    SUBJECT: {"minLength": 1, "description": "What it is about: the same as the record's key."},
    CONTENT_TYPE: {"const": AVRO, "description": "The media type of the value: Avro in Confluent framing."},
    TRACEPARENT: {
        "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        "description": "The trace that it belongs to (W3C trace context), the same from the feed to every inbox.",
    },
    KEY_ID: {"description": "Which key signed; the directory has it."},
    SIGNATURE: {
        "contentEncoding": "base64",
        "pattern": "^[A-Za-z0-9+/]{86}==$",
        "description": "Ed25519, 64 bytes, in base64.",
    },
    MENDS: {"description": "The origin of the rejected record that a mended message stands in for."},
    ORIGIN: {
        "pattern": r"^[a-z-]+\.[a-z-]+/[0-9]+/[0-9]+$",
        "description": "Added by the router: where the record that this is, or is about, was first written.",
    },
    ISSUER_DIGEST: {
        "pattern": "^[0-9a-f]{64}$",
        "description": "Added by the router where it wrote a message in an older version of its schema: SHA-256 of the"
        " value that the issuer signed. Key and signature are the broker's then.",
    },
}
"""JSON schema of each header's text."""
