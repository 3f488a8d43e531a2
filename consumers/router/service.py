"""The router: shares the shards with the other routers of its group, and routes those that it is given."""

from __future__ import annotations

import asyncio
from pathlib import Path

from broker.clock import Clock
from broker.model.naming import Shard
from broker.observe.faultpoints import Faults
from broker.observe.observers import RouterObserver, SessionObserver, SharingObserver
from broker.schema.codec import Codec
from broker.settings import KafkaSettings, RouterSettings
from broker.transport.directory import DirectoryFollower
from broker.transport.kafka import RawClient
from broker.transport.membership import Lease, Membership, share
from broker.trust.signing import Signer
from consumers.router.shard import ShardRouter


class RouterService:
    """Routes the shards that the group gives it.

    Args:
        client: the connection to Kafka; started.
        kafka: how the shards' own producers reach it.
        settings: how much to take at once.
        directory: whom there is, and what they may see.
        codec: reads messages; writes what the broker itself says.
        installation: the id that signatures are bound to.
        signer: the broker's.
        cache_folder: where memories are kept between starts; may be deleted at any time.
        faults: is told named points, in tests.
        observer: is told what became of each arrival.
        session_observer: is told how transactions end.
        sharing_observer: is told how the shards fare.
        clock: ours, held against Kafka's.

    Attributes:
        running: the shards that are being taken or routed now.
    """

    def __init__(
        self,
        *,
        client: RawClient,
        kafka: KafkaSettings,
        settings: RouterSettings,
        directory: DirectoryFollower,
        codec: Codec,
        installation: str,
        signer: Signer,
        cache_folder: Path,
        faults: Faults | None = None,
        observer: RouterObserver | None = None,
        session_observer: SessionObserver | None = None,
        sharing_observer: SharingObserver | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._kafka = kafka
        self._settings = settings
        self._directory = directory
        self._codec = codec
        self._installation = installation
        self._signer = signer
        self._cache_folder = cache_folder
        self._faults = faults
        self._observer = observer
        self._session_observer = session_observer
        self._sharing_observer = sharing_observer
        self._clock = clock
        self.running: dict[Shard, ShardRouter] = {}

    @property
    def ready(self) -> frozenset[Shard]:
        """The shards that this process owns and has folded."""
        return frozenset(shard for shard, router in self.running.items() if router.is_ready)

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset to enter of each feed of a ready shard, by topic and partition."""
        return {place: at for router in self.running.values() for place, at in router.positions.items()}

    async def run(self, membership: Membership, stopping: asyncio.Event) -> None:
        """Route shards until told to stop; what was begun is committed, or will be aborted by whoever comes next."""
        await share(membership, self._work, stopping=stopping, observer=self._sharing_observer)

    async def _work(self, shard: Shard, lease: Lease) -> None:
        router = self.running[shard] = self.shard_router(shard)
        try:
            await router.run(lease)
        finally:
            del self.running[shard]

    def shard_router(self, shard: Shard) -> ShardRouter:
        """Return the router of one shard, which takes it when it is run."""
        return ShardRouter(
            shard,
            client=self._client,
            kafka=self._kafka,
            settings=self._settings,
            directory=self._directory,
            codec=self._codec,
            installation=self._installation,
            signer=self._signer,
            cache_folder=self._cache_folder,
            faults=self._faults,
            observer=self._observer,
            session_observer=self._session_observer,
            clock=self._clock,
        )
