"""Build and run the archive."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import structlog

from broker.cli.context import Context
from broker.cli.services.common import founded
from broker.cli.services.observing import Watch, watched
from broker.errors import CorruptHistoryError
from broker.members.seed import AUDIT
from broker.observe.counting import ArchiveMetrics
from broker.observe.health import Health
from broker.observe.lag import Lags
from broker.observe.metrics import Metrics
from broker.transport.kafka import RawClient
from broker.transport.publisher import Publisher
from consumers.audit.service import AuditService

logger = structlog.get_logger(__name__)

_REMIND_SECONDS = 60.0


async def run(context: Context, client: RawClient, stopping: asyncio.Event, *, observe_port: int) -> None:
    """Archive every topic, until told to stop."""
    metrics = Metrics("audit", Health())
    archiving = ArchiveMetrics(metrics)
    watch = Watch(metrics=metrics, committed=lambda _: True, by_shard=False)
    async with (
        watched(watch, client, port=observe_port),
        Publisher(context.kafka, client_id="noticewire-audit") as publisher,
    ):
        _, installation = await founded(context, client, context.codec())
        audit = AuditService(
            client=client,
            archive=context.data / "archive",
            signer=context.keys.signer(AUDIT),
            installation=installation,
            publisher=publisher,
            observer=archiving,
        )
        show(audit, watch, archiving)
        await archive(audit, watch, archiving, stopping)


def show(audit: AuditService, watch: Watch, archiving: ArchiveMetrics) -> None:
    """Let a watch see how the archive comes on."""
    known: dict[tuple[str, int], int] = {}

    def positions() -> dict[tuple[str, int], int]:
        """While the archive waits closed, say for a disk, it is where it was: a lag must not begin anew each time."""
        nonlocal known
        known = audit.archived or known
        return known

    def caught_up(lags: Lags) -> None:
        longest = lags.longest(watch.now())
        if longest is not None:
            archiving.caught_up(longest[1].seconds)

    def problems() -> Iterator[str]:
        yield from archiving.problems
        if not audit.archived:
            yield "the archive is not open, or has read nothing yet"

    watch.positions = positions
    watch.on_sample = caught_up
    watch.problems = problems


async def archive(audit: AuditService, watch: Watch, archiving: ArchiveMetrics, stopping: asyncio.Event) -> None:
    """Archive until told to stop; after an incident stay, archive nothing more, and say so until somebody decides.

    Started again it would only find the same, and whoever asks it would find nobody.

    Raises:
        CorruptHistoryError: log and archive contradict each other; once it was told to stop.
    """
    try:
        await audit.run(stopping)
    except CorruptHistoryError as error:
        archiving.incident()
        await _stay(error, watch, stopping)
        raise


async def _stay(error: CorruptHistoryError, watch: Watch, stopping: asyncio.Event) -> None:
    said = f"archiving has stopped at {error.place}: {error.problem}"
    watch.problems = lambda: (said,)
    while not stopping.is_set():
        logger.error("Archive stopped: log and archive contradict each other", **error.log_fields())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), _REMIND_SECONDS)
