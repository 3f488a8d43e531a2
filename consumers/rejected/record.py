"""A rejected record, opened as far as it can be; what may be shown of it without being asked for personal data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from broker.errors import CorruptHistoryError, InvalidFieldError, RejectedRecordError
from broker.members.directory import Directory
from broker.model.command import Command
from broker.model.diffusion import Diffusion
from broker.model.message import Event
from broker.model.naming import NoticeNumber, Origin
from broker.model.notice import Notice
from broker.model.rejection import Rejection
from broker.schema.codec import Codec
from broker.transport import headers as names
from broker.transport.batches import parse

_FORMS = {
    names.SPEC_VERSION: r"[0-9.]{1,8}",
    names.TYPE: rf"noticewire\.(notice|diffusion|command)\.({'|'.join(Event)}|reminder|back_fill)",
    names.TIME: r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,20}(Z|[+-][0-9:]{2,6})",
    names.CONTENT_TYPE: re.escape(names.AVRO),
    names.TRACEPARENT: r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}",
    names.SIGNATURE: r"[A-Za-z0-9+/]{86}==",
}
"""What a header of ours may look like to be shown: a stranger can write anything into any of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header of a rejected record.

    Attributes:
        name: as text, or in hexadecimal where it is none.
        content: as text, or in hexadecimal where it is none; None if it has none.
        size_bytes: of the content.
        is_harmless: whether name and content have the form of ours, and so can hold no subject's data.
    """

    name: str
    content: str | None
    size_bytes: int
    is_harmless: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedRecord:
    """What is in a rejected record.

    Attributes:
        key: the record's.
        value: the record's.
        headers: in order.
        content: the value, typed, where it can be decoded.
        problem: why it cannot be, where it cannot; no value of the record.
        number: the notice number that it says it is about, if that is one, of an owner in the directory.
        message_id: the message's, if it says one.
        issuer: who it says signed it, if that is a bureau in the directory.
    """

    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    content: Notice | Diffusion | Command | None
    problem: str | None
    number: str | None
    message_id: UUID | None
    issuer: str | None

    @property
    def message(self) -> Notice | Diffusion | None:
        """The notice or diffusion, where it can be decoded."""
        return self.content if isinstance(self.content, Notice | Diffusion) else None


def opened(rejection: Rejection, *, codec: Codec, directory: Directory) -> OpenedRecord:
    """Open a rejected record as far as possible; never fails."""
    key, value = rejection.key, rejection.value
    raw = tuple((header.key, header.value) for header in rejection.headers)
    content: Notice | Diffusion | Command | None = None
    problem: str | None = None
    try:
        if rejection.is_raw_batch:
            key, value, raw = _from_batch(rejection)
        if value is None:
            problem = "it has no value"
        else:
            content = codec.decode(value, Notice, Diffusion, Command)  # type: ignore[assignment] # one of the three
    except RejectedRecordError as error:
        problem = error.detail
    except CorruptHistoryError as error:
        problem = error.problem
    headers = tuple(_header(name, held, directory) for name, held in raw)
    said = {header.name: header.content for header in headers if header.is_harmless}
    number = said.get(names.SUBJECT)
    issuer = (said.get(names.SOURCE) or "").removeprefix("/bureaus/") or None
    identity = said.get(names.ID)
    if isinstance(content, Notice | Diffusion):
        identity = str(content.message_id)
        number = content.number if _is_number(content.number, directory) else None
        issuer = content.issuer if content.issuer in directory else None
    return OpenedRecord(
        key=key,
        value=value,
        headers=headers,
        content=content,
        problem=problem,
        number=number,
        message_id=UUID(identity) if identity else None,
        issuer=issuer,
    )


Raw = tuple[tuple[bytes, bytes | None], ...]


def _from_batch(rejection: Rejection) -> tuple[bytes | None, bytes | None, Raw]:
    """Return key, value and headers of the record that was set aside as the log's own bytes.

    Raises:
        RejectedRecordError: there is no telling.
    """
    origin = Origin.parse(rejection.origin)
    for batch in parse(rejection.value or b"", origin.offset, place=rejection.origin):
        for record in batch.records:
            headers = tuple(
                (name.encode() if isinstance(name, str) else name, content) for name, content in record.headers
            )
            return record.key, record.value, headers
        if batch.error is not None:
            raise RejectedRecordError("undecodable", f"record batch: {batch.error}")
    raise RejectedRecordError("undecodable", "the record batch holds no record")


def _header(key: bytes, content: bytes | None, directory: Directory) -> Header:
    name, is_text = _text(key)
    held, is_readable = (None, True) if content is None else _text(content)
    is_harmless = is_text and is_readable and held is not None and _is_harmless(name, held, directory)
    return Header(name=name, content=held, size_bytes=len(content or b""), is_harmless=is_harmless)


def _is_harmless(name: str, content: str, directory: Directory) -> bool:
    match name:
        case names.SUBJECT:
            return _is_number(content, directory)
        case names.SOURCE:
            return content.startswith("/bureaus/") and content.removeprefix("/bureaus/") in directory
        case names.KEY_ID:
            return directory.key(content) is not None
        case names.ID:
            return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", content) is not None
        case names.MENDS | names.ORIGIN:
            return _is_origin(content)
        case _:
            form = _FORMS.get(name)
            return form is not None and re.fullmatch(form, content) is not None


def _is_number(text: str, directory: Directory) -> bool:
    try:
        return NoticeNumber.parse(text).owner in directory
    except InvalidFieldError:
        return False


def _is_origin(text: str) -> bool:
    try:
        return bool(Origin.parse(text).shard)
    except InvalidFieldError:
        return False


def _text(content: bytes) -> tuple[str, bool]:
    """Return bytes as text, or in hexadecimal; and which of the two it is."""
    try:
        return content.decode(), True
    except UnicodeDecodeError:
        return content.hex(), False
