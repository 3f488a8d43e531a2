"""Found an installation: its first records, signed by the Secretariat, on the topic `directory`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import timedelta
from uuid import uuid4

from broker.clock import Clock
from broker.errors import RefusedError
from broker.members.bureau import SECRETARIAT
from broker.members.seed import Seed, founding_changes
from broker.model.change import ChangeKind
from broker.schema.codec import Codec
from broker.transport.changes import IneffectiveChangeError, put
from broker.transport.directory import DirectoryFollower
from broker.transport.publisher import Publisher
from broker.trust.keys import KeyRing, public_key

_CLOCKS_MAY_DIFFER = timedelta(hours=1)
"""First keys count from this long before: validity is held against the brokers' clocks, which may be behind ours."""


async def found(
    seeds: Sequence[Seed],
    *,
    keyring: KeyRing,
    publisher: Publisher,
    codec: Codec,
    follower: DirectoryFollower,
    clock: Clock,
) -> str:
    """Enter everybody who is not entered yet, and return the installation's id.

    The first time, the installation is founded with a random id. Interrupted anywhere and called again, it goes on;
    called once more, it writes nothing. Keys that the ring lacks are made.

    Args:
        seeds: whom to enter, the Secretariat among them.
        keyring: holds the Secretariat's key, and takes the keys that are made.
        publisher: writes to the topic, which must exist.
        codec: encodes the changes.
        follower: reads them back; its pinned root must be the Secretariat's key in the ring.
        clock: dates the changes and the beginning of the keys' validity.

    Raises:
        RefusedError: the directory does not believe the ring's Secretariat: it was founded with another key.
        KeyFileError: the ring's folder or files can be read by others.
        UnavailableError: Kafka is away; call it again.
    """
    directory = await follower.at_its_end()
    missing = [seed for seed in seeds if seed.code not in directory]
    if directory.installation is not None and not missing:
        return directory.installation
    await asyncio.to_thread(keyring.make, [seed.code for seed in missing])
    secretariat = keyring.signer(SECRETARIAT)
    if directory.installation is not None and directory.key(secretariat.key_id) is None:
        raise RefusedError(f"this installation was founded with another key of {SECRETARIAT} than {secretariat.key_id}")
    now = clock.now()
    installation = directory.installation or str(uuid4())
    valid_from = now - _CLOCKS_MAY_DIFFER
    keys = {seed.code: public_key(keyring.signer(seed.code), valid_from=valid_from) for seed in missing}
    changes = founding_changes(missing, installation=installation, keys=keys, at=now)
    if changes[0].kind is ChangeKind.FOUNDED:
        # Alone, because whatever comes before it has no effect.
        await (await put(changes[0], installation=installation, signer=secretariat, publisher=publisher, codec=codec))
        changes = changes[1:]
    landing = [
        await put(one, installation=installation, signer=secretariat, publisher=publisher, codec=codec)
        for one in changes
    ]
    await asyncio.gather(*landing)
    return await _believed(follower, {seed.code for seed in seeds})


async def _believed(follower: DirectoryFollower, codes: Iterable[str]) -> str:
    directory = await follower.at_its_end()
    if directory.installation is not None and all(code in directory for code in codes):
        return directory.installation
    without_effect = [one for one in follower.log() if one.no_effect is not None and one.change is not None]
    if without_effect:
        raise IneffectiveChangeError(without_effect[-1])
    raise RefusedError("the directory holds no founding that it believes")
