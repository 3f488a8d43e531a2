"""How far routers, trackers and the archive are, as the logs and their stores say; nobody is asked."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from broker.cli.checks.finding import Finding, ok, problem, warning
from broker.cli.context import Context
from broker.errors import NoticewireError
from broker.model.naming import SHARDS, Shard, feeds, ledger
from broker.store.engine import open_to_read, sqlite_url
from broker.store.positions import next_offsets
from broker.transport.kafka import RawClient, TopicPartition
from consumers.audit.files import Paths
from consumers.audit.service import archived_partitions
from consumers.audit.state import TreeState
from consumers.router.folding import ledger_entries

Lags = Mapping[str, tuple[int, int]]
"""By place: how far somebody is, and where the log ends."""

STANDS_STILL = timedelta(seconds=8)
"""Who is behind and has not moved after this long is not at work: a takeover takes 0.5 to 6 s."""


async def look_at_lag(context: Context, client: RawClient, *, patience: timedelta = STANDS_STILL) -> list[Finding]:
    """Look how far each service is, and once more where one is behind: does it move?

    Raises:
        UnavailableError: no broker answers.
    """
    found = []
    for service, measure in (
        ("router", lambda: _routers(context, client)),
        ("tracker", lambda: _tracker(context, client)),
        ("audit", lambda: _archive(context, client)),
    ):
        found.append(await _look(service, measure, patience))
    return found


async def _look(service: str, measure: Callable[[], Awaitable[Lags | None]], patience: timedelta) -> Finding:
    first = await measure()
    if first is None:
        return warning("lag", f"no {service} has been at work here yet", f"start one: noticewire serve {service}")
    behind = {place: lag for place, lag in first.items() if lag[0] < lag[1]}
    if behind:
        await asyncio.sleep(patience.total_seconds())
        now = await measure() or {}
        behind = {place: lag for place, lag in behind.items() if now.get(place, (-1, 0))[0] == lag[0]}
    if behind:
        place, (at, end) = max(behind.items(), key=lambda one: one[1][1] - one[1][0])
        said = f"the {service} stands still: {place} is at {at} of {end}" + (
            f", and {len(behind) - 1} more" if len(behind) > 1 else ""
        )
        mend = f"start one: noticewire serve {service}; if it runs, its log says what keeps it"
        return problem("lag", said, mend)
    return ok("lag", f"the {service} is at the end, or moves")


async def _routers(context: Context, client: RawClient) -> Lags:
    """Return how far the ledger is in each feed."""
    codec = context.codec()
    ledgers = {shard: TopicPartition(ledger(shard.region), shard.partition) for shard in SHARDS}
    ends = await client.end_offsets(ledgers.values(), committed=True)
    positions: dict[TopicPartition, int] = {}
    for shard, place in ledgers.items():
        entered, start = _cached(context.data / "router" / f"{shard}.db", shard)
        if start > ends[place]:
            entered, start = dict.fromkeys(feeds(shard.region), 0), 0  # a cache of another log
        async for entry in ledger_entries(client, codec, place, start=start, end=ends[place]):
            entered[entry.topic] = entry.next_offset
        positions |= {TopicPartition(feed, shard.partition): at for feed, at in entered.items()}
    return await _against_ends(client, positions, committed=False)


def _cached(path: Path, shard: Shard) -> tuple[dict[str, int], int]:
    """Return what a router's cache says it has entered, and the ledger offset up to which it knows; else nothing."""
    entered = dict.fromkeys(feeds(shard.region), 0)
    with contextlib.suppress(sqlite3.Error):
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
            row = database.execute("SELECT ledger_offset FROM fold").fetchone()
            if row is not None:
                return entered | dict(database.execute("SELECT topic, next_offset FROM positions")), int(row[0])
    return entered, 0


async def _tracker(context: Context, client: RawClient) -> Lags | None:
    url = context.settings.tracker.url or sqlite_url(context.data / "tracker.db")
    try:
        engine = await open_to_read(url)
    except NoticewireError:
        return None
    try:
        async with engine.connect() as connection:
            reached = await next_offsets(connection)
    finally:
        await engine.dispose()
    if not reached:
        return None
    positions = {TopicPartition(*place): at for place, at in reached.items()}
    ledgers = {place: at for place, at in positions.items() if place.topic.startswith("ledger.")}
    receipts = {place: at for place, at in positions.items() if place not in ledgers}
    return {
        **await _against_ends(client, ledgers, committed=True),
        **await _against_ends(client, receipts, committed=False),
    }


async def _archive(context: Context, client: RawClient) -> Lags | None:
    try:
        archived = TreeState.from_json(Paths(context.data / "archive").state.read_bytes()).positions
    except (OSError, ValueError):
        return None
    positions = {
        place: archived[place].next_offset if place in archived else 0 for place in await archived_partitions(client)
    }
    return await _against_ends(client, positions, committed=True)


async def _against_ends(client: RawClient, positions: Mapping[TopicPartition, int], *, committed: bool) -> Lags:
    ends = await client.end_offsets(positions, committed=committed) if positions else {}
    return {str(place): (at, ends[place]) for place, at in positions.items()}
