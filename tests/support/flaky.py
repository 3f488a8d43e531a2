"""A transport that fails once, where it is told to: each call of a named list, before or after it took effect.

What is patched is the real part, in place, so everything above and below it stays as it is. "Before" is a call that
never took effect; "after" is the harder one: it did, and whoever made it is told that it failed.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from types import ModuleType
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest
from sqlalchemy.dialects.sqlite.aiosqlite import SQLiteDialect_aiosqlite

from broker.errors import UnavailableError
from broker.transport.kafka import MemberConsumer, RawClient, ShardProducer
from broker.transport.publisher import Publisher
from consumers.audit import archive
from consumers.bureau.state import BureauState
from consumers.router.memory import MemoryCache


class When(StrEnum):
    """At which moment a call fails."""

    BEFORE = "before"
    """It took no effect."""
    AFTER = "after"
    """It took effect, and its answer is lost."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that can be made to fail."""

    name: str
    owner: type | ModuleType
    attribute: str
    error: Callable[[], BaseException] | None
    """What the real part raises when it fails; None where it answers False instead."""
    concerns: Callable[[inspect.BoundArguments], bool] = lambda _: True
    """Whether a call with these arguments is the one."""
    is_of_taking: bool = False
    """It is made only while a shard is taken."""


def _unanswered() -> BaseException:
    return KafkaConnectionError("the connection broke")


def _unavailable() -> BaseException:
    return UnavailableError("no answer came in time")


def _disk() -> BaseException:
    return sqlite3.OperationalError("disk I/O error")


def _disk_full() -> BaseException:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _publishes(*feeds: str) -> Callable[[inspect.BoundArguments], bool]:
    return lambda given: given.arguments["topic"].startswith(feeds)


def _lane(beginning: str) -> Callable[[inspect.BoundArguments], bool]:
    return lambda given: given.arguments["lane"].startswith(beginning)


def _of_the_router(given: inspect.BoundArguments) -> bool:
    """Whether it is the router that reads the directory, before it decides."""
    return _lane("directory-")(given) and given.arguments["self"]._client_id == "router"


def _copies_to(beginning: str) -> Callable[[inspect.BoundArguments], bool]:
    return lambda given: given.arguments["target"].topic.startswith(beginning)


def _requests(kind: type) -> Callable[[inspect.BoundArguments], bool]:
    """Whether a request on the wire is a router's, of this kind."""
    return lambda given: (
        isinstance(given.arguments["request"], kind)
        and getattr(given.arguments["request"], "_transactional_id", None) is not None
    )


CALLS: tuple[Call, ...] = (
    # Outside of transactions
    Call(
        name="publish on a feed",
        owner=Publisher,
        attribute="publish",
        error=_unavailable,
        concerns=_publishes("notices."),
    ),
    Call(
        name="publish receipts", owner=Publisher, attribute="publish", error=_unavailable, concerns=_publishes("acks.")
    ),
    # Taking a shard, in the order of the design's section 5
    Call(name="confirm the lease", owner=MemberConsumer, attribute="heartbeat", error=None, is_of_taking=True),
    Call(name="start the producer", owner=ShardProducer, attribute="start", error=_unanswered, is_of_taking=True),
    Call(
        name="ask for the ledger's end",
        owner=RawClient,
        attribute="end_offset",
        error=_unavailable,
        concerns=lambda given: given.arguments["partition"].topic.startswith("ledger."),
        is_of_taking=True,
    ),
    Call(name="read the cache", owner=MemoryCache, attribute="_read", error=_disk, is_of_taking=True),
    Call(
        name="fetch the ledger to fold it",
        owner=RawClient,
        attribute="fetch",
        error=_unavailable,
        concerns=_lane("fold-"),
        is_of_taking=True,
    ),
    Call(name="write the cache", owner=MemoryCache, attribute="_write", error=_disk, is_of_taking=True),
    # Each poll, in order
    Call(name="fetch a feed", owner=RawClient, attribute="fetch", error=_unavailable, concerns=_lane("feeds-")),
    Call(name="fetch the directory", owner=RawClient, attribute="fetch", error=_unavailable, concerns=_of_the_router),
    Call(
        name="copy to an inbox",
        owner=ShardProducer,
        attribute="send_copy",
        error=_unanswered,
        concerns=_copies_to("inbox."),
    ),
    Call(
        name="copy to rejected",
        owner=ShardProducer,
        attribute="send_copy",
        error=_unanswered,
        concerns=_copies_to("rejected"),
    ),
    Call(
        name="request AddPartitionsToTxn",
        owner=AIOKafkaClient,
        attribute="send",
        error=_unanswered,
        concerns=_requests(AddPartitionsToTxnRequest),
    ),
    Call(
        name="request Produce",
        owner=AIOKafkaClient,
        attribute="send",
        error=_unanswered,
        concerns=_requests(ProduceRequest),
    ),
    Call(
        name="request EndTxn",
        owner=AIOKafkaClient,
        attribute="send",
        error=_unanswered,
        concerns=_requests(EndTxnRequest),
    ),
    # A bureau
    Call(name="fetch inboxes", owner=RawClient, attribute="fetch", error=_unavailable, concerns=_lane("bureaus-")),
    Call(name="seal a bureau's file", owner=BureauState, attribute="seal", error=_disk),
    # Tracker and archive
    Call(
        name="fetch receipts",
        owner=RawClient,
        attribute="fetch",
        error=_unavailable,
        concerns=_lane("tracker-acks"),
    ),
    Call(name="commit the tracker's store", owner=SQLiteDialect_aiosqlite, attribute="do_commit", error=_disk),
    Call(
        name="replace the archive's state", owner=archive, attribute="replace_file", error=lambda: OSError(28, "full")
    ),
)
"""Each of them fails in turn; twenty at most."""

BEGIN = Call(name="begin a transaction", owner=ShardProducer, attribute="begin", error=_unanswered)
"""Fails where a shard has to be taken again, for the calls of taking to be made at all."""


class FlakyTransport:
    """The transport with every call of the list patched; nothing fails until one is armed."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._armed: dict[str, When] = {}
        self.failed: list[str] = []
        """Which calls have failed, in order."""
        for call in (*CALLS, BEGIN):
            patch.setattr(call.owner, call.attribute, self._flaky(call))

    def arm(self, call: Call, when: When) -> None:
        """Let the next call of this kind fail."""
        self._armed[call.name] = when

    @property
    def is_armed(self) -> bool:
        """Whether something has still to fail."""
        return bool(self._armed)

    def _flaky(self, call: Call) -> Callable[..., Any]:
        real = getattr(call.owner, call.attribute)
        signature = inspect.signature(real)

        def due(when: When, given: inspect.BoundArguments) -> bool:
            if self._armed.get(call.name) is not when or not call.concerns(given):
                return False
            del self._armed[call.name]
            self.failed.append(call.name)
            return True

        def fail() -> bool:
            if call.error is None:
                return False
            raise call.error()

        @functools.wraps(real)
        async def flaky(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs)
            if due(When.BEFORE, given):
                return fail()
            answer = await real(*args, **kwargs)
            return fail() if due(When.AFTER, given) else answer

        @functools.wraps(real)
        def flaky_in_a_thread(*args: Any, **kwargs: Any) -> Any:
            given = signature.bind(*args, **kwargs)
            if due(When.BEFORE, given):
                return fail()
            answer = real(*args, **kwargs)
            return fail() if due(When.AFTER, given) else answer

        return flaky if inspect.iscoroutinefunction(real) else flaky_in_a_thread
