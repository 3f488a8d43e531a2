"""Receipts on their way: every record that a desk owes goes to `acks.<region>`, in its notice's partition.

Whatever is in the way, Kafka or the disk, is waited for: nothing moves meanwhile, and nothing has to be started again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeVar

import structlog

from broker.errors import StorageError, UnavailableError
from broker.model.naming import acks
from broker.transport.publisher import Writes
from consumers.bureau.tables import Owed

logger = structlog.get_logger(__name__)

T = TypeVar("T")

_BACK_OFF_FIRST = timedelta(milliseconds=200)
_BACK_OFF_MAX = timedelta(seconds=5)


async def written(write: Callable[[], T], *, give_up_after: timedelta | None = None) -> T:
    """Write to a bureau's file, tried again while its disk is full or broken; return what `write` does.

    Raises:
        StorageError: not within `give_up_after`; nothing was written.
    """
    pause = _BACK_OFF_FIRST
    deadline = None if give_up_after is None else asyncio.get_running_loop().time() + give_up_after.total_seconds()
    while True:
        try:
            return write()
        except StorageError as error:
            if deadline is not None and asyncio.get_running_loop().time() + pause.total_seconds() > deadline:
                raise
            logger.error("Bureau waits for its disk", reason=str(error))  # noqa: TRY400 - its words are enough
        await asyncio.sleep(pause.total_seconds())
        pause = min(pause * 2, _BACK_OFF_MAX)


async def send(owed: Iterable[tuple[str, Owed]], *, publisher: Writes, give_up_after: timedelta | None = None) -> None:
    """Write records of receipts, each by the code of its bureau; Kafka has acknowledged all of them on return.

    Tried again while Kafka is away: a record that was written twice is the same record twice, which the tracker counts
    once.

    Raises:
        UnavailableError: not within `give_up_after`; send all of them again later.
    """
    waiting = list(owed)
    pause = _BACK_OFF_FIRST
    deadline = None if give_up_after is None else asyncio.get_running_loop().time() + give_up_after.total_seconds()
    while waiting:
        results = await asyncio.gather(
            *(
                publisher.publish(
                    acks(one.shard.region),
                    key=bureau.encode(),
                    value=one.value,
                    headers=one.headers,
                    partition=one.shard.partition,
                )
                for bureau, one in waiting
            ),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, UnavailableError):
                raise result
        failed = [result for result in results if isinstance(result, UnavailableError)]
        waiting = [one for one, result in zip(waiting, results, strict=True) if isinstance(result, UnavailableError)]
        if not waiting:
            return
        if deadline is not None and asyncio.get_running_loop().time() + pause.total_seconds() > deadline:
            raise failed[0]
        logger.warning("Receipts wait for Kafka", records=len(waiting), **failed[0].log_fields())
        await asyncio.sleep(pause.total_seconds())
        pause = min(pause * 2, _BACK_OFF_MAX)
