"""A small installation on the shared Kafka: its directory, keys and topics; the router's shards in this process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from broker.clock import SystemClock
from broker.errors import UnavailableError
from broker.members.seed import seeds_of
from broker.model.base import new_message_id
from broker.model.change import ChangeKind, DirectoryChange
from broker.model.message import Message
from broker.model.naming import Origin, Shard, feed, inbox, ledger, partition_of
from broker.model.outcome import BROKER
from broker.observe.faultpoints import Faults
from broker.schema.codec import Codec
from broker.settings import KafkaSettings, RouterSettings
from broker.topics.apply import TopicAdmin
from broker.topics.plan import plan
from broker.transport.changes import submit
from broker.transport.fanout import Outgoing
from broker.transport.founding import found
from broker.transport.headers import signed_headers
from broker.transport.link import Link, linked
from broker.transport.publisher import RecordPlace
from broker.trust.keys import KeyRing
from broker.trust.signing import RecordKind
from consumers.router.service import RouterService
from consumers.router.shard import ShardRouter
from tests.support.plain import PlainRecord, read

EIGHT = ("zw", "ke", "ng", "fr", "de", "br", "jp")
"""Seven members of four regions; with the Secretariat, eight bureaus."""


@dataclass(kw_only=True)
class World:
    """An installation, founded; publishes as anybody, routes when told, reads back with a stranger's program."""

    kafka: KafkaSettings
    data: Path
    link: Link
    keys: KeyRing
    installation: str
    routers: dict[Shard, ShardRouter] = field(default_factory=dict)

    async def publish(self, *messages: Message) -> list[Origin]:
        """Put messages on their feeds, signed by their issuers, one after the other."""
        return [await self._publish(message) for message in messages]

    async def _publish(self, message: Message) -> Origin:
        signer = self.keys.signer(message.issuer)
        value = self.link.codec.encode(message)
        signature = signer.sign(RecordKind.MESSAGE, self.installation, value)
        headers = tuple(signed_headers(message, key_id=signer.key_id, signature=signature))
        place = await self.write(
            feed(message.parsed_number.message_class, message.region), message.number, value, headers
        )
        return Origin(place.topic, place.partition, place.offset)

    async def write(
        self, topic: str, key: str, value: bytes | None, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> RecordPlace:
        """Write a record to the partition of a notice number."""
        landing = await self.link.publisher.send(
            topic, partition_of(key.encode()), Outgoing(key.encode(), value, headers)
        )
        return await landing

    async def change(self, code: str, kind: ChangeKind, *, author: str = "ipsg", **parts: Any) -> None:
        """Change the directory, and wait until it took effect."""
        bureau = (await self.link.follower.at_its_end()).get(code)
        change = DirectoryChange(
            change_id=new_message_id(),
            kind=kind,
            code=code,
            author=author,
            base_version=bureau.version if bureau is not None else 0,
            changed_at=SystemClock().now(),
            **parts,
        )
        await submit(
            change,
            signer=self.keys.signer(author),
            publisher=self.link.publisher,
            codec=self.link.codec,
            follower=self.link.follower,
        )

    async def route(self, *shards: Shard) -> None:
        """Take the shards that are not taken yet, and route until everything on their feeds is entered."""
        await asyncio.gather(*(self._route(shard) for shard in shards))

    async def _route(self, shard: Shard) -> None:
        """Route to the end; take the shard again where Kafka says so: a topic just made may have no leader yet."""
        while True:
            if shard not in self.routers:
                self.routers[shard] = await self._taken(shard)
            try:
                while await self.routers[shard].route_poll():
                    pass
            except UnavailableError:
                await self.routers.pop(shard).let_go()
            else:
                return

    async def _taken(self, shard: Shard) -> ShardRouter:
        """Take a shard, again where Kafka is not ready: its very first transactional producer waits for a topic."""
        async with asyncio.timeout(90):
            while True:
                router = self.router(shard)
                try:
                    await router.take()
                except UnavailableError:
                    await router.let_go()
                else:
                    return router

    def router(self, shard: Shard, *, cache: str = "router", faults: Faults | None = None) -> ShardRouter:
        """Return a router of one shard, not yet run.

        Args:
            shard: which.
            cache: its folder for memories: another router's name, another folder.
            faults: is told named points.
        """
        service = RouterService(
            client=self.link.client,
            kafka=self.kafka,
            settings=RouterSettings(poll_wait=timedelta(milliseconds=100)),
            directory=self.link.follower,
            codec=self.link.codec,
            installation=self.installation,
            signer=self.keys.signer(BROKER),
            cache_folder=self.data / cache,
            faults=faults,
        )
        return service.shard_router(shard)

    async def read_inbox(self, bureau: str) -> list[PlainRecord]:
        """What lies in a bureau's inbox, read by a plain consumer."""
        return await read(self.kafka, inbox(bureau))

    async def messages_in(self, bureau: str) -> list[str]:
        """The ids of the messages in a bureau's inbox, in order; outcomes and notices of end left aside."""
        records = await self.read_inbox(bureau)
        return [str(one.value["message_id"]) for one in records if one.subject in {"notice", "diffusion"}]

    async def read_ledger(self, shards: Iterable[Shard]) -> list[PlainRecord]:
        """The ledger entries of shards, read by a plain consumer."""
        wanted = {(ledger(shard.region), shard.partition) for shard in shards}
        records = await read(self.kafka, *sorted({topic for topic, _ in wanted}))
        return [one for one in records if (one.topic, one.partition) in wanted]

    async def let_go(self) -> None:
        """Let go of every shard."""
        for router in self.routers.values():
            await router.let_go()
        self.routers.clear()


@contextlib.asynccontextmanager
async def a_world(
    bootstrap_servers: str,
    prefix: str,
    data: Path,
    *,
    bureaus: Collection[str] = EIGHT,
    codec: Codec | None = None,
) -> AsyncIterator[World]:
    """Found an installation of a few bureaus under a prefix of its own."""
    kafka = KafkaSettings(
        bootstrap_servers=bootstrap_servers,
        prefix=prefix,
        session_timeout=timedelta(seconds=10),
        metadata_timeout=timedelta(seconds=30),  # a busy machine's broker takes long to lead what was just made
    )
    async with a_world_on(kafka, data, bureaus=bureaus, codec=codec) as world:
        yield world


@contextlib.asynccontextmanager
async def a_world_on(
    kafka: KafkaSettings, data: Path, *, bureaus: Collection[str] = EIGHT, codec: Codec | None = None
) -> AsyncIterator[World]:
    """Found an installation of a few bureaus, with the topics and time-outs that `kafka` asks for."""
    seeds = seeds_of(bureaus)
    await TopicAdmin(kafka).apply(plan([seed.code for seed in seeds if not seed.is_service], kafka=kafka))
    keys = KeyRing(data / "keys")
    keys.make([seed.code for seed in seeds])
    async with linked(
        kafka, codec=codec or Codec.load(), client_id="test", root_public=keys.signer("ipsg").public
    ) as link:
        installation = await found(
            seeds,
            keyring=keys,
            publisher=link.publisher,
            codec=link.codec,
            follower=link.follower,
            clock=SystemClock(),
        )
        world = World(kafka=kafka, data=data, link=link, keys=keys, installation=installation)
        try:
            yield world
        finally:
            await world.let_go()
