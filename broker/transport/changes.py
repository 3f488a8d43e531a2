"""Sign changes of the directory, put them on its topic, and learn what came of them."""

from __future__ import annotations

import asyncio

from broker.errors import RefusedError, UnavailableError
from broker.model.change import DirectoryChange
from broker.model.naming import DIRECTORY
from broker.schema.codec import Codec
from broker.transport.directory import DirectoryFollower, LoggedChange
from broker.transport.fanout import Outgoing
from broker.transport.headers import signed_headers
from broker.transport.publisher import Publisher, RecordPlace
from broker.trust.signing import RecordKind, Signer


class IneffectiveChangeError(RefusedError):
    """A change lies on the log, and has no effect."""

    code = "ineffective_change"

    def __init__(self, logged: LoggedChange) -> None:
        code = logged.change.code if logged.change is not None else "?"
        super().__init__(f"the change of {code} at directory/0/{logged.offset} has no effect: {logged.no_effect}")
        self.logged = logged


async def put(
    change: DirectoryChange, *, installation: str, signer: Signer, publisher: Publisher, codec: Codec
) -> asyncio.Future[RecordPlace]:
    """Sign a change and hand it over to the log, after those handed over before.

    Returns:
        Done once the record is durable; that says nothing of its effect yet.

    Raises:
        UnavailableError: Kafka is away; nothing was sent.
    """
    # Everybody reads the directory, programs of before as well: what version 1 can say, it says.
    value = codec.encode(change, version=1 if change.reads is None else None)
    signature = signer.sign(RecordKind.DIRECTORY, installation, value)
    headers = signed_headers(change, key_id=signer.key_id, signature=signature)
    return await publisher.send(DIRECTORY, 0, Outgoing(change.code.encode(), value, tuple(headers)))


async def submit(
    change: DirectoryChange, *, signer: Signer, publisher: Publisher, codec: Codec, follower: DirectoryFollower
) -> LoggedChange:
    """Put a change on the log and return its record, once it has taken effect.

    Raises:
        IneffectiveChangeError: it is on the log without effect; says why. If stale, look again and submit a new one.
        UnavailableError: Kafka is away; the change may be on the log all the same, and is stale when repeated.
    """
    installation = (await follower.at_its_end()).installation
    if installation is None:
        raise UnavailableError("the installation is not founded yet")
    await (await put(change, installation=installation, signer=signer, publisher=publisher, codec=codec))
    await follower.at_its_end()
    for logged in reversed(follower.log()):
        if logged.change is not None and logged.change.change_id == change.change_id:
            if logged.no_effect is not None:
                raise IneffectiveChangeError(logged)
            return logged
    raise UnavailableError("the change was acknowledged, and is not on the log")
