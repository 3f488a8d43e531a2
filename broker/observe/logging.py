"""Logs: JSON lines from services, readable lines on a terminal; identifiers and codes, never a subject's data."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from broker.errors import NoticewireError

Event = MutableMapping[str, Any]


def configure_logging(service: str, *, as_json: bool, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging (aiokafka's, SQLAlchemy's) to write alike.

    Args:
        service: bound to every event, as `service`.
        as_json: JSON lines for machines; else colours and columns for a person.
        level: the lowest level that is written.
        stream: where to; standard error by default, because standard output belongs to commands' results.
    """
    out = stream if stream is not None else sys.stderr
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _drop_empty,
        _explain_own_errors,
    ]
    render: list[structlog.types.Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=out.isatty())]
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # aiokafka tells each metadata refresh and each step of a rebalance at INFO; what matters of it is told by ours.
    logging.getLogger("aiokafka").setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(service=service)


def _drop_empty(_: object, __: str, event: Event) -> Event:
    """Leave out fields without a value: an entry without a number says so by not having one."""
    return {key: value for key, value in event.items() if value is not None}


def _explain_own_errors(_: object, __: str, event: Event) -> Event:
    """Add the identifiers that one of our errors carries, where one is being logged."""
    info = event.get("exc_info")
    error = info if isinstance(info, BaseException) else sys.exc_info()[1] if info is True else None
    if isinstance(error, NoticewireError):
        return {**error.log_fields(), **event}
    return event
