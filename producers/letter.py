"""A message as it will lie on its feed: encoded, signed, with its headers. From here on nothing about it changes."""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Self
from uuid import UUID

from broker.model.diffusion import Diffusion
from broker.model.naming import feed
from broker.model.notice import Notice
from broker.schema.codec import Codec
from broker.transport.headers import RecordHeaders, signed_headers
from broker.transport.publisher import RecordPlace, Writes
from broker.trust.signing import RecordKind, Signer

_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A signed record, and where it goes.

    Attributes:
        message_id: the message.
        number: its notice number, which is the record's key.
        issuer: who signed it.
        topic: the feed.
        partition: of the feed: the notice's shard.
        key_id: of the key that signed.
        installation: that it was signed for.
        value: the encoded message. Holds personal data.
        headers: the record's.
    """

    message_id: UUID
    number: str
    issuer: str
    topic: str
    partition: int
    key_id: str
    installation: str
    value: bytes
    headers: RecordHeaders

    @classmethod
    def written(
        cls,
        message: Notice | Diffusion,
        *,
        signer: Signer,
        installation: str,
        codec: Codec,
        mends: str | None = None,
        version: int | None = None,
    ) -> Self:
        """Encode and sign a message.

        Raises:
            InvalidFieldError: it is larger than a feed takes, or cannot be said in that version of the format.
        """
        value = codec.encode(message, version=version)
        signature = signer.sign(RecordKind.MESSAGE, installation, value)
        return cls(
            message_id=message.message_id,
            number=message.number,
            issuer=message.issuer,
            topic=topic_of(message),
            partition=message.shard.partition,
            key_id=signer.key_id,
            installation=installation,
            value=value,
            headers=signed_headers(message, key_id=signer.key_id, signature=signature, mends=mends),
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the value: by it the router knows a repeat."""
        return sha256(self.value).digest()

    async def send(self, publisher: Writes) -> RecordPlace:
        """Write it to its feed, once.

        Raises:
            TooLargeError: over the limit; nothing was sent.
            UnavailableError: it has not landed, or nobody knows; send it again.
        """
        return await publisher.publish(
            self.topic,
            key=self.number.encode(),
            value=self.value,
            headers=self.headers,
            partition=self.partition,
        )

    def packed(self) -> bytes:
        """Return value and headers as one string of bytes."""
        headers = json.dumps([[name, b64encode(content).decode()] for name, content in self.headers]).encode()
        return _LENGTH.pack(len(headers)) + headers + self.value


def topic_of(message: Notice | Diffusion) -> str:
    """Return the feed that a message belongs on.

    Raises:
        InvalidFieldError: its number is none.
    """
    return feed(message.parsed_number.message_class, message.region)


def unpacked(packed: bytes) -> tuple[RecordHeaders, bytes]:
    """Return the headers and the value of what `Letter.packed` returned."""
    (length,) = _LENGTH.unpack_from(packed)
    end = _LENGTH.size + length
    headers = json.loads(packed[_LENGTH.size : end])
    return [(name, b64decode(content)) for name, content in headers], packed[end:]
