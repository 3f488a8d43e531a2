"""Record headers: the CloudEvents Kafka protocol binding in binary mode, a W3C trace context, and the signature.

Headers repeat what the signed value says, for programs that route or trace without decoding it. They are not signed:
whoever acts on one holds it against the value first (`mismatch`). None of them ever holds a subject's data.
"""

from __future__ import annotations

import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from broker.clock import to_millis
from broker.errors import InvalidFieldError, RejectedRecordError
from broker.model.base import new_message_id
from broker.model.change import DirectoryChange
from broker.model.command import Command
from broker.model.diffusion import Diffusion
from broker.model.message import Message
from broker.model.naming import Origin, feeds
from broker.model.outcome import BROKER, NoticeOfEnd, Outcome
from broker.model.receipt import Receipts
from broker.model.rejection import Rejection, RejectReason, mending_id
from broker.observe.tracing import current_traceparent

SPEC_VERSION = "ce_specversion"
ID = "ce_id"
TYPE = "ce_type"
SOURCE = "ce_source"
TIME = "ce_time"
SUBJECT = "ce_subject"
CONTENT_TYPE = "content-type"
TRACEPARENT = "traceparent"
KEY_ID = "key-id"
SIGNATURE = "signature"
MENDS = "mends"
"""The origin of the rejected record that a mended message stands in for; its id follows from that (`mending_id`)."""
ORIGIN = "origin"
"""Added by the router: where the record was first written, `notices.africa/1/42`."""

ISSUER_DIGEST = "issuer-digest"
"""Added by the router where it wrote a message in an older version of the format: SHA-256, in hexadecimal, of the value
that the issuer signed. `key-id` and `signature` are the broker's then."""

PASSED_ON = (SPEC_VERSION, ID, TYPE, SOURCE, TIME, SUBJECT, CONTENT_TYPE, TRACEPARENT, KEY_ID, SIGNATURE, MENDS)
"""What the router copies into inboxes; no others, because what a stranger adds could hold anything."""

AVRO = "application/vnd.confluent.avro"
"""A framed Avro body: 0x00, the schema id, the body."""

_KNOWN = {*PASSED_ON, ORIGIN, ISSUER_DIGEST}
REQUIRED = (SPEC_VERSION, ID, TYPE, SOURCE, TIME, SUBJECT, CONTENT_TYPE)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

RecordHeaders = list[tuple[str, bytes]]
"""As Kafka clients write them."""

Value = Message | Outcome | NoticeOfEnd | Receipts | DirectoryChange | Command | Rejection
"""Whatever travels with these headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """The headers of a record that somebody wrote, each of them text."""

    id: str
    type: str
    source: str
    time: str
    subject: str
    traceparent: str | None = None
    key_id: str = ""
    """Empty where there was none: then no signature can hold."""
    signature: bytes = b""
    """Empty where there was none, or none in base64: then it does not hold."""
    mends: str | None = None
    origin: str | None = None
    issuer_digest: str | None = None


def signed_headers(
    value: Value,
    *,
    key_id: str,
    signature: bytes,
    id: str | None = None,  # noqa: A002 - CloudEvents' word
    traceparent: str | None = None,
    mends: str | None = None,
) -> RecordHeaders:
    """Return the headers of a signed record, whoever signs it: a bureau, the Secretariat or the broker itself.

    Args:
        value: what the record's value says.
        key_id: of the signer's key.
        signature: 64 bytes; written as base64 text.
        id: for values without an id of their own (receipts, rejections); a fresh one where left out.
        traceparent: the trace that this belongs to; otherwise the one that the caller is in (OpenTelemetry), or a new
            one.
        mends: the origin of the rejected record that a message stands in for.
    """
    said = _said_by(value)
    texts = {
        SPEC_VERSION: "1.0",
        ID: said.id or id or str(new_message_id()),
        TYPE: said.type,
        SOURCE: said.source,
        TIME: _written(said.time),
        SUBJECT: said.subject,
        CONTENT_TYPE: AVRO,
        TRACEPARENT: traceparent or current_traceparent() or new_traceparent(),
        KEY_ID: key_id,
        SIGNATURE: b64encode(signature).decode(),
    }
    if mends is not None:
        texts[MENDS] = mends
    return [(name, text.encode()) for name, text in texts.items()]


def parse_headers(headers: Iterable[tuple[str | bytes, bytes | None]]) -> Headers:
    """Read the headers of a record that anybody may have written.

    A missing or malformed signature is left to whoever verifies it: that is a rejection of another name. Headers that
    we do not know are let be, as long as they are text (the binding asks for UTF-8).

    Raises:
        RejectedRecordError: `undecodable`: not UTF-8, missing, there twice, or not of the form that the binding says.
    """
    texts: dict[str, str] = {}
    for key, content in headers:
        name = _text(key, "a header's name")
        known = name in _KNOWN
        text = _text(content or b"", f"header {name}" if known else "a header that is not ours")
        if not known or content is None:
            continue
        if name in texts:
            raise _undecodable(f"header {name} is there twice")
        texts[name] = text
    for name in REQUIRED:
        if name not in texts:
            raise _undecodable(f"header {name} is missing")
    if texts[SPEC_VERSION] != "1.0":
        raise _undecodable(f"header {SPEC_VERSION} is not 1.0")
    if texts[CONTENT_TYPE] != AVRO:
        raise _undecodable(f"header {CONTENT_TYPE} is not {AVRO}")
    if TRACEPARENT in texts and not _TRACEPARENT.fullmatch(texts[TRACEPARENT]):
        raise _undecodable(f"header {TRACEPARENT} is no W3C trace context")
    return Headers(
        id=texts[ID],
        type=texts[TYPE],
        source=texts[SOURCE],
        time=texts[TIME],
        subject=texts[SUBJECT],
        traceparent=texts.get(TRACEPARENT),
        key_id=texts.get(KEY_ID, ""),
        signature=_from_base64(texts.get(SIGNATURE, "")),
        mends=texts.get(MENDS),
        origin=texts.get(ORIGIN),
        issuer_digest=texts.get(ISSUER_DIGEST),
    )


def mismatch(headers: Headers, value: Value) -> str | None:
    """Return the first header that differs from what the signed value says; `None` if all agree."""
    said = _said_by(value)
    agrees = {
        ID: said.id is None or headers.id == said.id,
        TYPE: headers.type == said.type,
        SOURCE: headers.source == said.source,
        TIME: _moment(headers.time) == to_millis(said.time),
        SUBJECT: headers.subject == said.subject,
        MENDS: headers.mends is None or _is_mended(value, headers.mends),
    }
    return next((name for name, agreed in agrees.items() if not agreed), None)


def _is_mended(value: Value, mends: str) -> bool:
    """Return whether the signed id of a message proves what the header says of it."""
    try:
        origin = Origin.parse(mends)
        on_feed = origin.topic in feeds(origin.shard.region)
    except InvalidFieldError:
        return False
    if str(origin) != mends or not on_feed:  # nothing else may travel in it
        return False
    return isinstance(value, Message) and value.message_id == mending_id(mends, value.issuer)


def passed_on(headers: Iterable[tuple[str | bytes, bytes | None]], *, origin: str) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of an inbox record: those that the issuer's record has of `PASSED_ON`, and its origin."""
    given = {name: content for name, content in headers if isinstance(name, str) and content is not None}
    return (*((name, given[name]) for name in PASSED_ON if name in given), (ORIGIN, origin.encode()))


def traceparent_of(headers: Iterable[tuple[str | bytes, bytes | None]]) -> str | None:
    """Return the trace that a record belongs to, whoever wrote it; `None` where it names none."""
    found = next((content for name, content in headers if name == TRACEPARENT), None)
    text = (found or b"").decode(errors="replace")
    return text if _TRACEPARENT.fullmatch(text) else None


def rewritten_headers(
    headers: Iterable[tuple[str | bytes, bytes | None]],
    *,
    origin: str,
    key_id: str,
    signature: bytes,
    issuer_digest: bytes,
) -> tuple[tuple[str, bytes], ...]:
    """Return the headers of an inbox record that holds a message in an older version of the format.

    Args:
        headers: the issuer's record's.
        origin: where that lies.
        key_id: of the broker's key.
        signature: the broker's, over the rewritten value.
        issuer_digest: of the value that the issuer signed.
    """
    signed = {KEY_ID: key_id.encode(), SIGNATURE: b64encode(signature)}
    kept = tuple((name, signed.get(name, content)) for name, content in passed_on(headers, origin=origin))
    return (*kept, (ISSUER_DIGEST, issuer_digest.hex().encode()))


def new_traceparent() -> str:
    """Return the beginning of a new trace (W3C trace context, sampled)."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


@dataclass(frozen=True, slots=True)
class _Said:
    """The CloudEvents attributes that follow from a value."""

    id: str | None
    type: str
    source: str
    time: datetime
    subject: str


def _said_by(value: Value) -> _Said:
    match value:
        case Message():
            what = "diffusion" if isinstance(value, Diffusion) else "notice"
            return _said(f"{what}.{value.event}", value.message_id, value.issuer, value.issued_at, value.number)
        case Outcome():
            return _said(f"outcome.{value.verdict}", value.outcome_id, BROKER, value.decided_at, value.number)
        case NoticeOfEnd():
            return _said(f"notice-of-end.{value.event}", value.notice_id, BROKER, value.made_at, value.number)
        case Receipts():
            latest = max(receipt.given_at for receipt in value.receipts)
            return _said("receipts", None, value.bureau, latest, value.bureau)
        case DirectoryChange():
            return _said(f"directory.{value.kind}", value.change_id, value.author, value.changed_at, value.code)
        case Command():
            return _said(f"command.{value.kind}", value.command_id, BROKER, value.asked_at, value.number)
        case Rejection():
            return _said(f"rejection.{value.reason}", None, BROKER, value.rejected_at, value.origin)
        case _:
            assert_never(value)


def _said(what: str, identity: object | None, bureau: str, at: datetime, subject: str) -> _Said:
    return _Said(None if identity is None else str(identity), f"noticewire.{what}", f"/bureaus/{bureau}", at, subject)


def _written(at: datetime) -> str:
    """Write a moment as RFC 3339 says, in UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _moment(text: str) -> datetime | None:
    """Read a moment; another way of writing the same one is no difference."""
    try:
        at = datetime.fromisoformat(text)
        return to_millis(at.astimezone(UTC)) if at.tzinfo is not None else None
    except (ValueError, OverflowError):  # the calendar's first and last days may lie beyond it in UTC
        return None


def _text(content: str | bytes, what: str) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise _undecodable(f"{what} is not UTF-8") from None


def _from_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        return b""


def _undecodable(detail: str) -> RejectedRecordError:
    return RejectedRecordError(RejectReason.UNDECODABLE, detail)
