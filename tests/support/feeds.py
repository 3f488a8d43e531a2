"""Records on feeds as issuers write them, and as strangers might, without Kafka."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from broker.members.directory import Directory
from broker.members.fold import DirectoryFold
from broker.members.seed import founding_changes, seeds_of
from broker.model.base import Model
from broker.model.message import Message
from broker.model.naming import MessageClass, Origin, feed, partition_of
from broker.model.notice import Notice
from broker.schema.codec import Codec
from broker.transport.headers import signed_headers
from broker.trust.keys import generate, public_key
from broker.trust.signing import RecordKind, Signer
from consumers.router.arrival import ArrivedRecord

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
INSTALLATION = "test-installation"


class Feeds:
    """A founded directory of a few bureaus whose keys it holds; writes records of any of them."""

    def __init__(self, bureaus: Collection[str] = ("zw", "ke", "fr")) -> None:
        self.codec = Codec.load()
        chosen = seeds_of(bureaus)
        self.signers: dict[str, Signer] = {seed.code: generate(seed.code) for seed in chosen}
        keys = {
            code: public_key(signer, valid_from=NOW - timedelta(days=365), valid_until=NOW + timedelta(days=365))
            for code, signer in self.signers.items()
        }
        fold = DirectoryFold()
        for offset, change in enumerate(founding_changes(chosen, installation=INSTALLATION, keys=keys, at=NOW)):
            key = fold.key_for(change, self.signers["ipsg"].key_id)
            assert fold.apply(change, offset=offset, appended_at=NOW, signed_with=key) is None
        self.directory: Directory = fold.view()
        self._next: dict[str, int] = {}

    def record(self, message: Message, *, signer: str | None = None, **changes: Any) -> ArrivedRecord:
        """Return a message as its issuer would write it; `changes` replace parts of the record, `origin` among them.

        Offsets of a feed go up by one, so records come in the order in which they are made.
        """
        message_class = MessageClass.NOTICE if isinstance(message, Notice) else MessageClass.DIFFUSION
        place = {"topic": feed(message_class, message.region), "partition": partition_of(message.number.encode())}
        return self._record(message, message.number, signer or message.issuer, place | changes)

    def _record(self, value: Any, key: str, signer: str, changes: dict[str, Any]) -> ArrivedRecord:
        topic, partition = changes.pop("topic"), changes.pop("partition")
        kind = changes.pop("kind", RecordKind.MESSAGE)
        encoded = self.codec.encode(value)
        who = self.signers[signer]
        offset = self._next.get(topic, 0)
        self._next[topic] = offset + 1
        signature = who.sign(kind, changes.pop("installation", INSTALLATION), encoded)
        record = ArrivedRecord(
            Origin(topic, partition, offset),
            offset + 1,
            NOW,
            key.encode(),
            encoded,
            tuple(signed_headers(value, key_id=who.key_id, signature=signature)),
            is_transactional=False,
        )
        return replace(record, **changes)

    def said(self, value: Model, key: str, topic: str, *, signer: str = "broker", **changes: Any) -> ArrivedRecord:
        """Return what a service writes: a command."""
        place = {"topic": topic, "partition": partition_of(key.encode()), "kind": RecordKind.BROKER}
        return self._record(value, key, signer, place | changes)


def with_header(record: ArrivedRecord, name: str | bytes, content: bytes | None) -> ArrivedRecord:
    """The same record with one header replaced or added; without it where the content is None."""
    others = tuple((key, value) for key, value in record.headers if key != name)
    return replace(record, headers=others if content is None else (*others, (name, content)))
