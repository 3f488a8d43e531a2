"""A bureau's inbox on a real Kafka: records put into it by hand, and the receipts that follow, read by a stranger."""

from __future__ import annotations

from base64 import b64decode

from broker.model.message import Message
from broker.model.naming import Region, acks, inbox
from broker.model.outcome import BROKER, NoticeOfEnd, Outcome
from broker.transport.fanout import Outgoing
from broker.transport.headers import signed_headers
from broker.trust.signing import RecordKind, verify
from tests.support.inbox_world import origin_of
from tests.support.plain import read
from tests.support.world import World


async def put(world: World, bureau: str, content: Message | NoticeOfEnd | Outcome, *, signer: str | None = None) -> int:
    """Write a record into an inbox by hand, as a router would."""
    value = world.link.codec.encode(content)
    if isinstance(content, Message):
        kind, who, origin = RecordKind.MESSAGE, signer or content.issuer, str(origin_of(content, 1))
    else:
        kind, who, origin = RecordKind.BROKER, signer or BROKER, content.origin
    signs = world.keys.signer(who)
    signature = signs.sign(kind, world.installation, value)
    headers = (
        *signed_headers(content, key_id=signs.key_id, signature=signature),
        ("origin", origin.encode()),
    )
    landing = await world.link.publisher.send(inbox(bureau), 0, Outgoing(content.number.encode(), value, headers))
    return (await landing).offset


async def receipts(world: World) -> list[tuple[str, str, str]]:
    """Bureau, number and stage of every receipt of the region, read by a plain consumer, signatures held."""
    given = []
    for record in await read(world.kafka, acks(Region.AFRICA)):
        assert record.key == record.value["bureau"].encode()
        signer = world.keys.signer(record.value["bureau"])
        signature = b64decode(record.headers["signature"])
        assert verify(signer.public, signature, RecordKind.RECEIPTS, world.installation, record.raw)
        for receipt in record.value["receipts"]:
            given.append((record.value["bureau"], receipt["number"], receipt["stage"]))
            assert receipt["origin"].split("/")[1] == str(record.partition)
    return given
