"""What of an earlier run of an importer Kafka has: looked up on the feed, where its answer never came."""

from __future__ import annotations

from uuid import UUID

from broker.errors import RejectedRecordError
from broker.members.directory import Directory
from broker.model.diffusion import Diffusion
from broker.model.naming import MessageClass, feed, partition_of
from broker.schema.codec import Codec
from broker.transport.batches import RawRecord
from broker.transport.headers import parse_headers
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.reader import RawReader
from broker.trust.signing import RecordKind, verify
from producers.importers.imported import Imported, Place
from producers.importers.importing import message_id_of


async def look_up_landed(
    imported: Imported, *, owner: str, directory: Directory, client: RawClient, codec: Codec
) -> None:
    """Note of each place that is not known to have landed whether its message is on the feed.

    Reads the feed's partitions from their beginning, as they have no index by number: it is for what a run left that
    was killed, or that Kafka went away from.

    Args:
        imported: the owner's record.
        owner: whose message it would be: signed by another, it is none of ours.
        directory: gives the owner's region and keys.
        client: a started connection.
        codec: decodes the feed.

    Raises:
        UnavailableError: no broker answers; what was not noted is looked up the next time.
    """
    bureau = directory.get(owner)
    wanted: dict[bytes, dict[UUID, Place]] = {}
    for place in imported.unlanded():
        wanted.setdefault(place.number.encode(), {})[message_id_of(owner, place)] = place
    if bureau is None or not wanted:
        return
    topic = feed(MessageClass.DIFFUSION, bureau.case_region)
    partitions = {TopicPartition(topic, partition_of(number)) for number in wanted}
    ends = await client.end_offsets(partitions)
    reader = RawReader(client, await client.log_starts(partitions), committed=False, lane="imported")
    try:
        while any(reader.positions[partition] < ends[partition] for partition in partitions):
            for partition, batches in await reader.poll():
                for record in (record for batch in batches if not batch.is_control for record in batch.records):
                    places = wanted.get(record.key or b"")
                    message_id = _signed_by(owner, record, directory, codec) if places else None
                    if places and message_id in places:
                        imported.landed(places[message_id])
                reader.advance(partition, batches[-1].next_offset)
    finally:
        await reader.close()


def _signed_by(owner: str, record: RawRecord, directory: Directory, codec: Codec) -> UUID | None:
    """Return the id of the message in a record, if the owner signed it."""
    value = record.value or b""
    try:
        headers, message = parse_headers(record.headers), codec.decode(value, Diffusion)
    except RejectedRecordError:
        return None
    signer, key = directory.key(headers.key_id) or ("", None)
    if key is None or signer != owner:
        return None
    signed = verify(key.public, headers.signature, RecordKind.MESSAGE, directory.installation or "", value)
    return message.message_id if signed else None
