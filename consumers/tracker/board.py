"""The acknowledgement board: by region, and bureau by bureau for one notice; as rows, as a table, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from rich import box
from rich.table import Table
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from broker.model.naming import Region
from broker.store.positions import Place, next_offsets
from broker.store.tables import deliveries, messages


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardRow:
    """What bureaus said about the notices of one region; every delivery to one bureau counts one."""

    region: str
    """The notices' region (or `total`)."""
    messages: int
    """Routed; one that went to nobody is among them."""
    due: int
    """Deliveries, notices of end among them: each asks for a receipt."""
    received: int
    """Acknowledged at all: a later stage implies `received`."""
    accepted: int
    actioned: int
    declined: int
    """Whose decline stands, purged since or not."""
    purged: int

    @property
    def outstanding(self) -> int:
        """Deliveries about which nothing that counts was heard."""
        return self.due - self.received


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """How far one bureau is with one message."""

    number: str
    revision: int
    event: str
    origin: str
    issuer: str
    bureau: str
    how: str
    stage: str | None
    received_at: datetime | None
    accepted_at: datetime | None
    actioned_at: datetime | None
    declined_at: datetime | None
    purged_at: datetime | None
    actor_kind: str | None
    actor: str | None
    decline_reason: str | None


async def read_board(engine: AsyncEngine, *, region: Region | None = None) -> list[BoardRow]:
    """Return the board, a row for each region in their own order, those without a message too."""
    async with engine.connect() as connection:
        return await _read_board(connection, region)


async def _read_board(connection: AsyncConnection, region: Region | None) -> list[BoardRow]:
    counted = {
        row.region: row.messages
        for row in await connection.execute(
            select(messages.c.region, func.count().label("messages")).group_by(messages.c.region)
        )
    }
    column = deliveries.c
    sums = {
        row.region: row
        for row in await connection.execute(
            select(
                messages.c.region,
                func.count().label("due"),
                func.count(column.received_at).label("received"),
                func.count(column.accepted_at).label("accepted"),
                func.count(column.actioned_at).label("actioned"),
                func.count(column.declined_at).label("declined"),
                func.count(column.purged_at).label("purged"),
            )
            .join(messages, messages.c.origin == column.origin)
            .group_by(messages.c.region)
        )
    }
    return [
        BoardRow(
            region=each.value,
            messages=counted.get(each.value, 0),
            **{name: getattr(sums.get(each.value), name, 0) for name in _SUMMED},
        )
        for each in Region
        if region in {None, each}
    ]


_SUMMED = ("due", "received", "accepted", "actioned", "declined", "purged")


def total(rows: Iterable[BoardRow]) -> BoardRow:
    """Return the sum of a board's rows."""
    rows = list(rows)
    return BoardRow(
        region="total",
        messages=sum(row.messages for row in rows),
        **{name: sum(getattr(row, name) for row in rows) for name in _SUMMED},
    )


async def everyone_acknowledged(engine: AsyncEngine, ends: Mapping[Place, int]) -> bool:
    """Whether everyone entitled has acknowledged, as far as the ledger goes.

    Args:
        engine: the tracker's store.
        ends: where the ledger partitions end (`ledger.<region>`, bare). Without them a tracker that has read nothing
            would say yes.
    """
    async with engine.connect() as connection:
        reached = await next_offsets(connection)
        if any(reached.get(Place(*place), 0) < end for place, end in ends.items()):
            return False
        return total(await _read_board(connection, None)).outstanding == 0


async def read_deliveries(
    engine: AsyncEngine, number: str | None = None, *, region: Region | None = None, outstanding: bool = False
) -> list[DeliveryRow]:
    """Return deliveries: of one notice number or all, of one region or all; in the ledger's order, then by bureau."""
    wanted = (
        select(
            messages.c.number,
            messages.c.revision,
            messages.c.event,
            messages.c.issuer,
            deliveries.c.origin,
            deliveries.c.bureau,
            deliveries.c.how,
            deliveries.c.stage,
            deliveries.c.received_at,
            deliveries.c.accepted_at,
            deliveries.c.actioned_at,
            deliveries.c.declined_at,
            deliveries.c.purged_at,
            deliveries.c.actor_kind,
            deliveries.c.actor,
            deliveries.c.decline_reason,
        )
        .join(messages, messages.c.origin == deliveries.c.origin)
        .order_by(messages.c.region, messages.c.partition, messages.c.ledger_offset, deliveries.c.bureau)
    )
    if number is not None:
        wanted = wanted.where(messages.c.number == number)
    if region is not None:
        wanted = wanted.where(messages.c.region == region.value)
    if outstanding:
        wanted = wanted.where(deliveries.c.received_at.is_(None))
    async with engine.connect() as connection:
        return [DeliveryRow(**row._asdict()) for row in await connection.execute(wanted)]


def board_table(rows: Sequence[BoardRow], *, title: str | None = "Acknowledgement board") -> Table:
    """Return the board for a terminal, with the total under it if there are several rows; made anew for each frame.

    In 80 columns the headings are whole, and only the longest region's name is shortened.
    """
    table = Table(
        title=title,
        title_justify="left",
        show_footer=len(rows) > 1,
        box=box.SIMPLE,
        padding=0,
        pad_edge=False,
        show_edge=False,
    )
    summed = total(rows)
    table.add_column("region", footer="total", overflow="ellipsis", min_width=_REGION_WIDTH_MIN)
    for heading, name in _HEADINGS.items():
        footer = f"{getattr(summed, name):,}"
        table.add_column(
            heading, justify="right", footer=footer, min_width=max(len(heading), len(footer)), no_wrap=True
        )
    for row in rows:
        *counts, outstanding = (getattr(row, name) for name in _HEADINGS.values())
        table.add_row(
            row.region,
            *(f"{count:,}" for count in counts),
            f"[bold red]{outstanding:,}[/]" if outstanding else "[green]0[/]",
        )
    return table


_HEADINGS = {"msgs": "messages"} | {
    name: name for name in ("due", "received", "accepted", "actioned", "declined", "purged", "outstanding")
}
_REGION_WIDTH_MIN = len(Region.ASIA_PACIFIC)


def deliveries_table(rows: Sequence[DeliveryRow], *, title: str | None = None) -> Table:
    """Return deliveries for a terminal, one bureau a line."""
    table = Table(title=title, title_justify="left")
    for name in ("revision", "event", "bureau", "given", "stage", "since", "by", "reason"):
        table.add_column(name, justify="right" if name == "revision" else "left", no_wrap=name in {"bureau", "since"})
    for row in rows:
        since = max((at for at in _times(row) if at is not None), default=None)
        table.add_row(
            str(row.revision),
            row.event,
            row.bureau,
            "notice of end" if row.how == "ended" else "message",
            row.stage or "[bold red]outstanding[/]",
            "" if since is None else f"{since:%Y-%m-%d %H:%M:%S}Z",
            row.actor or "",
            row.decline_reason or "",
        )
    return table


def board_json(rows: Sequence[BoardRow]) -> list[dict[str, Any]]:
    """Return the board as JSON takes it."""
    return [asdict(row) | {"outstanding": row.outstanding} for row in rows]


def deliveries_json(rows: Sequence[DeliveryRow]) -> list[dict[str, Any]]:
    """Return deliveries as JSON takes them; moments in ISO 8601, UTC."""
    return [
        {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(row).items()}
        for row in rows
    ]


def _times(row: DeliveryRow) -> tuple[datetime | None, ...]:
    return row.received_at, row.accepted_at, row.actioned_at, row.declined_at, row.purged_at
