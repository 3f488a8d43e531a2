"""What an inbox decoder takes for proven, and what it remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from broker.clock import to_epoch_ms
from broker.errors import RejectedRecordError
from broker.members.directory import Directory
from broker.schema.codec import Codec
from broker.transport import inbox
from broker.transport.inbox import InboxDecoder
from tests.support.inbox_world import INSTALLATION, NOW, InboxWorld, a_notice


@pytest.fixture(scope="module")
def world() -> InboxWorld:
    return InboxWorld(Codec.load())


def with_keys_until(world: InboxWorld, *, days_ago: int) -> Directory:
    """The directory in which every key has ended so many days before the record is appended."""
    until = NOW - timedelta(days=days_ago)
    return Directory(
        [
            replace(
                bureau,
                keys=tuple(
                    key.model_copy(update={"valid_from": until - timedelta(days=1), "valid_until": until})
                    for key in bureau.keys
                ),
            )
            for bureau in world.directory.bureaus()
        ],
        offset=world.directory.offset,
        installation=INSTALLATION,
    )


def test_a_key_that_ended_while_routing_lagged_still_counts(world: InboxWorld) -> None:
    """The router accepted it as of its append time; services that were down for weeks lose no message to a new key."""
    record = world.record(a_notice())
    decoder = InboxDecoder(world.codec)

    assert decoder.decode(record, bureau="gh", directory=with_keys_until(world, days_ago=30)).signer == "ipsg"


def test_a_key_that_ended_before_the_window_does_not_count(world: InboxWorld) -> None:
    """No feed keeps a record that long: nothing that such a key signed can have been routed just now."""
    with pytest.raises(RejectedRecordError, match="the key did not count"):
        InboxDecoder(world.codec).decode(
            world.record(a_notice()), bureau="gh", directory=with_keys_until(world, days_ago=91)
        )


def test_large_records_are_not_kept_in_mind_beyond_a_bound(world: InboxWorld) -> None:
    """The cache is bounded by bytes as well: two thousand of the largest messages would be gigabytes."""
    decoder = InboxDecoder(world.codec)
    good = world.record(a_notice())
    for number in range(40):
        large = replace(good, value=bytes([number]) * 1_000_000)
        with pytest.raises(RejectedRecordError):
            decoder.decode(large, bureau="gh", directory=world.directory)

    kept = list(decoder._letters._entries)
    assert 10 <= len(kept) <= inbox.CACHE_BYTES_MAX // 1_000_000


def test_a_message_in_many_inboxes_is_decoded_once(world: InboxWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies in other inboxes, at other offsets, cost no second decoding."""
    decoder = InboxDecoder(world.codec)
    record = world.record(a_notice())
    first = decoder.decode(record, bureau="gh", directory=world.directory)
    monkeypatch.setattr(Codec, "decode", None)

    again = replace(record, offset=7, timestamp_ms=to_epoch_ms(NOW) + 1)
    assert decoder.decode(again, bureau="fr", directory=world.directory).content is first.content
