from __future__ import annotations

from hashlib import sha256

from broker.model.ledger import EntryKind, LedgerEntry
from broker.model.message import Event
from broker.model.naming import Region, Shard
from broker.model.outcome import notice_of_end
from broker.schema.catalogue import Catalogue
from broker.schema.codec import Codec
from broker.schema.ids import SchemaIds
from consumers.tracker.reading import read_ledger
from tests.support.archives import a_batch, a_record, an_entry

SHARD = Shard(Region.AFRICA, 0)


def test_a_notice_of_end_keeps_its_digest_when_a_registry_comes() -> None:
    """A board that is rebuilt after the schemas got other ids still counts the receipts for what was sent before."""
    before = Codec.load()
    value = an_entry(0, b"a message", "", ended="ke", number="zw-n-2026-000001", event=Event.CANCELLED, revision=1)
    written = {1007: 7, 1014: 14}
    after = Codec(Catalogue.load(), SchemaIds(written=written, read={7: 1007, 14: 1014}))

    ((_, (read,)),) = read_ledger([a_batch([a_record(0, value)])], SHARD, after)

    entry = before.decode(value, LedgerEntry)
    assert entry.kind is EntryKind.ROUTED
    _, digest = read.notices_of_end["ke"]
    assert digest == sha256(before.encode(notice_of_end(entry, "ke"))).digest()
    assert digest != sha256(after.encode(notice_of_end(entry, "ke"))).digest()
