"""What the benches are fed: an installation of every bureau, and red notices that differ as real ones do.

Fictitious throughout: a sample, of which each copy has a number, an id, names and a body of its own, so that batches
compress as a poll of different notices does, not as one notice repeated.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import samples
from broker.members.bureau import Bureau
from broker.members.directory import Directory
from broker.members.fold import DirectoryFold
from broker.members.seed import EVERY_REGION_ACTUAL, founding_changes, seeds
from broker.model.base import new_message_id
from broker.model.naming import MessageClass, Origin, Region, Shard, feed, partition_of
from broker.model.notice import Notice
from broker.model.parsing import parse_message
from broker.schema.codec import Codec
from broker.transport.headers import signed_headers
from broker.trust.keys import generate, public_key
from broker.trust.signing import RecordKind
from consumers.router.arrival import ArrivedRecord
from producers.files import read

INSTALLATION = "bench"
OWNER = "zw"
SHARD = Shard(Region.AFRICA, 0)
FEED = feed(MessageClass.NOTICE, Region.AFRICA)
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)

_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "wo", "xe", "zu")


class World:
    """Every bureau with its key, everyone of whom gets a notice to all: the entities subscribe to every region.

    Args:
        seed: of the choice of words; equal seeds make equal notices, but for their ids.
    """

    def __init__(self, seed: int = 1) -> None:
        self.codec = Codec.load()
        self.signers = {one.code: generate(one.code) for one in seeds()}
        self.directory = self._directory()
        self._choice = random.Random(seed)  # noqa: S311 - words, not secrets

    def _directory(self) -> Directory:
        keys = {code: public_key(signer, valid_from=AT - timedelta(days=1)) for code, signer in self.signers.items()}
        fold = DirectoryFold()
        for offset, change in enumerate(founding_changes(seeds(), installation=INSTALLATION, keys=keys, at=AT)):
            key = fold.key_for(change, self.signers["ipsg"].key_id)
            fold.apply(change, offset=offset, appended_at=AT, signed_with=key)
        founded = fold.view()
        return Directory(map(_subscribed, founded.bureaus()), offset=founded.offset, installation=INSTALLATION)

    def notices(self, count: int) -> list[Notice]:
        """Return published red notices to all, each of its own number, all of one shard."""
        content = _sample()
        return [self._notice(content, number) for number in islice(_numbers(), count)]

    def _notice(self, content: dict[str, Any], number: str) -> Notice:
        person = content["subject"]["person"]
        name = {"family": self._words(1).upper(), "forename": self._words(1).title()}
        subject = {**content["subject"], "person": {**person, "name": name}}
        text = {"language": "en", "title": "Wanted for forced labour", "body": self._words(60)}
        changes = {"number": number, "message_id": new_message_id(), "circulation": {"scope": "all"}}
        whole = {**content, **changes, "subject": subject, "texts": [text], "owner": OWNER, "issuer": "ipsg"}
        message = parse_message({**whole, "region": "africa", "issued_at": AT})
        if not isinstance(message, Notice):
            raise TypeError(type(message))
        return message

    def arrived(self, notices: list[Notice]) -> list[ArrivedRecord]:
        """Return notices as they lie on their feed, signed."""
        return [self._arrived(notice, offset) for offset, notice in enumerate(notices)]

    def _arrived(self, notice: Notice, offset: int) -> ArrivedRecord:
        value = self.codec.encode(notice)
        signer = self.signers[notice.issuer]
        signature = signer.sign(RecordKind.MESSAGE, INSTALLATION, value)
        return ArrivedRecord(
            Origin(FEED, SHARD.partition, offset),
            offset + 1,
            AT,
            notice.number.encode(),
            value,
            tuple(signed_headers(notice, key_id=signer.key_id, signature=signature)),
            is_transactional=False,
        )

    def _words(self, count: int) -> str:
        return " ".join("".join(self._choice.choices(_SYLLABLES, k=self._choice.randint(1, 4))) for _ in range(count))


def _sample() -> dict[str, Any]:
    """Return the first published red notice of the samples."""
    for entry in read(Path(samples.__path__[0]) / "01-red.yaml"):
        if isinstance(entry.content, dict) and entry.content.get("event") == "published":
            return entry.content
    raise LookupError("01-red.yaml")


def _numbers() -> Iterator[str]:
    for serial in range(1, 1_000_000):
        number = f"{OWNER}-n-2026-{serial:06d}"
        if partition_of(number.encode()) == SHARD.partition:
            yield number


def _subscribed(bureau: Bureau) -> Bureau:
    return bureau if bureau.is_member or bureau.is_service else replace(bureau, subscriptions=EVERY_REGION_ACTUAL)
