"""What services share in being built."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

from broker.cli.context import Context
from broker.errors import UnavailableError
from broker.model.naming import Shard
from broker.schema.codec import Codec
from broker.transport.directory import DirectoryFollower
from broker.transport.kafka import RawClient
from broker.transport.membership import Membership, claim_slot


async def founded(context: Context, client: RawClient, codec: Codec) -> tuple[DirectoryFollower, str]:
    """Follow the directory, and return it with the installation's id.

    Raises:
        UnavailableError: the installation is not founded, or no broker answers.
    """
    directory = DirectoryFollower(client, codec, root_public=context.root_public)
    installation = (await directory.at_its_end()).installation
    if installation is None:
        raise UnavailableError("this installation is not founded yet: its directory is empty")
    return directory, installation


@contextlib.asynccontextmanager
async def membership(context: Context, kind: str) -> AsyncIterator[Membership]:
    """Join the group of a kind of service under the lowest free slot: a replacement inherits the shards at once."""
    with claim_slot(context.data / "slots", kind) as slot:
        member = Membership(kafka=context.kafka, group=f"{kind}s", instance=slot.instance)
        await member.start()
        try:
            yield member
        finally:
            await member.stop()


def shard_problems(member: Membership, ready: frozenset[Shard]) -> Iterator[str]:
    """Return what keeps a service that shares shards from being ready: it owns them, and has taken each.

    Args:
        member: of the group.
        ready: the shards that are at work here.
    """
    if not member.turn:
        yield "the group has not assigned shards yet"
    for shard, error in member.halted.items():
        yield f"shard {shard} is halted at {error.place}: {error.problem}"
    if waiting := member.assigned - ready - member.halted.keys():
        yield f"shards not taken yet: {' '.join(sorted(map(str, waiting)))}"
