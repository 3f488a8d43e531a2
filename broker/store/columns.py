"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, TypeDecorator
from typing_extensions import override

from broker.clock import from_epoch_ms, to_epoch_ms

if TYPE_CHECKING:
    from sqlalchemy import Dialect


class MomentMs(TypeDecorator[datetime]):
    """A moment as whole milliseconds since 1970, as Kafka writes it.

    SQLite's own DATETIME drops the time zone and PostgreSQL's keeps microseconds; a number is equal on both.
    """

    impl = BigInteger
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else to_epoch_ms(value)

    @override
    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else from_epoch_ms(value)
