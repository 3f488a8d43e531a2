"""Hostile records for feeds: valid ones with planted personal data, spoilt in value, headers, key, place or batch."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cramjam
import google_crc32c

from broker.errors import InvalidMessageError
from broker.model.message import Message
from broker.model.naming import MessageClass, feed, partition_of
from broker.model.notice import Notice
from broker.model.parsing import parse_message
from broker.schema.codec import Codec
from broker.transport.batches import CRC_AT, CRC_FROM, HEADER
from broker.transport.fanout import BatchTemplate, Compression, Outgoing
from broker.transport.headers import signed_headers
from broker.trust.signing import RecordKind, Signer
from tests.support.builders import DIFFUSION_BUILDERS, NOTICE_BUILDERS, bureaus
from tests.support.mutations import PASSPORT, SURNAME, Mutator, planted_person

BOMB_BYTES = 200 << 20
"""What a bomb unpacks to: three times what any batch may."""

_GZIP = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """A record as it is put on a feed."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def outgoing(self) -> Outgoing:
        """As it is written."""
        return Outgoing(self.key, self.value, self.headers)


@cache
def bases() -> tuple[dict[str, Any], ...]:
    """Messages of every type and kind as a file holds them, about a person whose data is planted where there is one."""
    found = []
    for builder in (*NOTICE_BUILDERS.values(), *DIFFUSION_BUILDERS.values()):
        for event in ({"event": "requested"}, {}) if builder in NOTICE_BUILDERS.values() else ({},):
            content = builder(circulation=bureaus("ke", "fr"), **event).model_dump(mode="json", exclude_defaults=True)
            content["number"] = content["number"].replace("xa-", "zw-")
            if content["subject"].get("person"):
                content["subject"]["person"] = planted_person()
            content.pop("message_id", None)
            parse_message(content)
            found.append(content)
    return tuple(found)


class Spoiler:
    """Makes hostile records, signed by whomever they name where that is of use.

    Args:
        mutator: how they are spoilt.
        signer: returns who signs as a bureau.
        installation: whose records they pretend to be.
        codec: encodes them.
    """

    def __init__(self, mutator: Mutator, *, signer: Callable[[str], Signer], installation: str, codec: Codec) -> None:
        self.mutator = mutator
        self._dice = mutator.random
        self._signer, self._installation, self._codec = signer, installation, codec
        self._values = [codec.encode(parse_message(content)) for content in bases()]

    def next(self) -> Hostile:
        """Return the next hostile record; a few of them turn out to be harmless."""
        content = self._dice.choice(bases())
        if self._dice.random() < 0.3:
            try:
                return self._written(parse_message(self.mutator.misshape(content)))
            except (InvalidMessageError, ValueError):
                pass  # does not even have a message's shape: spoilt in bytes instead
        record = self._written(parse_message(content))
        value = record.value or b""
        match self._dice.randrange(10):
            case 0 | 1:  # the signature does not hold any more
                return replace(record, value=self.mutator.spoil(value, self._values))
            case 2 | 3 | 4:  # it holds: a member's program gone mad
                return self._signed(record, self.mutator.spoil(value, self._values))
            case 5 | 6:
                return replace(record, headers=self._spoilt_headers(record.headers))
            case 7:
                return replace(record, key=self.mutator.spoil(record.key or b"", [SURNAME.encode()]))
            case 8:
                return replace(record, partition=1 - record.partition)
            case _:
                return replace(record, topic=self._dice.choice(("notices.africa", "diffusions.africa")), value=None)

    def batch(self, *, bomb: bool = False) -> tuple[bytes, int]:
        """Return a spoilt batch that begins at offset 0, with a right CRC and length; and how many offsets it takes."""
        records = [self.next().outgoing for _ in range(self._dice.choice((1, 2, 5)))]
        compression = self._dice.choice(tuple(Compression))
        good = BatchTemplate.of(records, compression=compression, transactional=False).copy_for(7, 0, 0)
        if bomb:
            good, payload = _packed_as(good, *self._dice.choice(bombs()))
        elif compression == Compression.NONE and self._dice.random() < 0.3:
            good, packed = _packed_as(good, _GZIP, gzip.compress(good[HEADER.size :], 1))
            payload = self.mutator.spoil(packed, [good])
        else:
            payload = self.mutator.spoil(good[HEADER.size :], [good])
        return sealed(good[: HEADER.size] + payload), len(records)

    def _written(self, message: Message) -> Hostile:
        message_class = MessageClass.NOTICE if isinstance(message, Notice) else MessageClass.DIFFUSION
        record = Hostile(
            topic=feed(message_class, message.region),
            partition=partition_of(message.number.encode()),
            key=message.number.encode(),
            value=self._codec.encode(message),
            headers=(),
        )
        who = self._signer(message.issuer if message.issuer in {"zw", "ke", "fr", "ipsg"} else "zw")
        signature = who.sign(RecordKind.MESSAGE, self._installation, record.value or b"")
        return replace(record, headers=tuple(signed_headers(message, key_id=who.key_id, signature=signature)))

    def _signed(self, record: Hostile, value: bytes) -> Hostile:
        """The record with another value, signed by the one whose key id it has."""
        headers = dict(record.headers)
        who = self._signer((headers["key-id"] or b"").decode().partition(".")[0])
        headers["signature"] = b64encode(who.sign(RecordKind.MESSAGE, self._installation, value))
        return replace(record, value=value, headers=tuple(headers.items()))

    def _spoilt_headers(self, headers: tuple[tuple[str, bytes | None], ...]) -> tuple[tuple[str, bytes | None], ...]:
        spoilt = list(headers)
        at = self._dice.randrange(len(spoilt))
        name, content = spoilt[at]
        match self._dice.randrange(6):
            case 0:
                del spoilt[at]
            case 1:
                spoilt.append((name, content))
            case 2:
                spoilt.append((SURNAME, PASSPORT.encode()))
            case 3:
                spoilt[at] = (name, None)
            case 4:
                spoilt += [("", b"")] * self._dice.choice((1, 300, 21_000))
            case _:
                spoilt[at] = (name, self.mutator.spoil(content or b"", [SURNAME.encode(), b"\xff\xfe"]))
        return tuple(spoilt)


def _packed_as(batch: bytes, codec: int, payload: bytes) -> tuple[bytes, bytes]:
    """Return a batch's header with another compression in its attributes, and the payload."""
    head = bytearray(batch[: HEADER.size])
    head[CRC_FROM + 1] = head[CRC_FROM + 1] & ~0x07 | codec
    return bytes(head), payload


def sealed(batch: bytes) -> bytes:
    """Return a batch with the length and the CRC-32C that fit its bytes: what a hostile program would see to."""
    framed = bytearray(batch)
    framed[8:12] = (len(framed) - 12).to_bytes(4, "big")
    framed[CRC_AT:CRC_FROM] = google_crc32c.value(bytes(framed[CRC_FROM:])).to_bytes(4, "big")
    return bytes(framed)


@cache
def bombs() -> tuple[tuple[int, bytes], ...]:
    """Payloads that unpack to far more than they are, by Kafka's number of their compression."""
    zeros = bytes(BOMB_BYTES)
    return (
        (_GZIP, gzip.compress(zeros, 1)),
        (3, bytes(cramjam.lz4.compress(zeros))),
        (4, bytes(cramjam.zstd.compress(zeros))),
    )
