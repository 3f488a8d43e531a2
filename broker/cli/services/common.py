"""What services share in being built."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from broker.cli.context import Context
from broker.errors import UnavailableError
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
