"""Everything that a program of a bureau needs of an installation: one connection, its directory, a way to write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from broker.schema.codec import Codec
from broker.settings import KafkaSettings
from broker.transport.directory import DirectoryFollower
from broker.transport.kafka import RawClient
from broker.transport.publisher import Publisher


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An open connection to an installation."""

    client: RawClient
    follower: DirectoryFollower
    publisher: Publisher
    codec: Codec


@asynccontextmanager
async def linked(
    kafka: KafkaSettings, *, codec: Codec, client_id: str, root_public: bytes | None
) -> AsyncIterator[Link]:
    """Connect to an installation, and disconnect at the end.

    Args:
        kafka: how to reach the cluster.
        codec: with the ids of the installation's schemas.
        client_id: shown in the brokers' logs and quotas.
        root_public: the Secretariat's first key, if pinned.

    Raises:
        UnavailableError: no broker answers.
    """
    client = RawClient(kafka, client_id=client_id)
    await client.start()
    try:
        async with Publisher(kafka, client_id=client_id) as publisher:
            follower = DirectoryFollower(client, codec, root_public=root_public)
            yield Link(client=client, follower=follower, publisher=publisher, codec=codec)
    finally:
        await client.stop()
