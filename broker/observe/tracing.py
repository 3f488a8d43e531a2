"""Spans of OpenTelemetry, where its API is installed (the extra `opentelemetry`); without it, nothing happens.

A message's trace: `publish` (or `create`, where a journal sends it later) makes the context that travels in the header
`traceparent`, unchanged; `route`, each bureau's `handle` and its `acknowledge` are children of it. Attributes follow
the semantic conventions for messaging, and hold codes, numbers and ids only: no subject's data, and of an error its
class alone, because its words could quote anything.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Self

try:
    from opentelemetry import context as otel_context
    from opentelemetry import trace as otel_trace
except ImportError:
    IS_INSTALLED = False
else:
    IS_INSTALLED = True
    _TRACER = otel_trace.get_tracer("noticewire", schema_url="https://opentelemetry.io/schemas/1.30.0")

_TRACEPARENT = re.compile(r"00-(?P<trace>(?!0{32})[0-9a-f]{32})-(?P<span>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})")


def current_traceparent() -> str | None:
    """Return the context that the caller is in, as a W3C `traceparent`; `None` where there is none."""
    if not IS_INSTALLED:
        return None
    context = otel_trace.get_current_span().get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


@contextmanager
def publishing(topic: str, *, message_id: str, number: str, later: bool = False) -> Iterator[None]:
    """Make the span whose context a message carries; it continues the caller's trace.

    Args:
        topic: the feed, by its bare name.
        message_id: of the message.
        number: the notice number, which is the record's key.
        later: the message is only made now, and sent from a journal.
    """
    if not IS_INSTALLED:
        yield
        return
    name, kind = ("create", "create") if later else ("publish", "send")
    attributes = _messaging(name, kind, topic, message_id) | {"messaging.kafka.message.key": number}
    span = _TRACER.start_span(f"{name} {topic}", kind=otel_trace.SpanKind.PRODUCER, attributes=attributes)
    with _as_current(span):
        yield


@contextmanager
def sending(topic: str, *, message_id: str, traceparent: str | None) -> Iterator[None]:
    """Make the span of sending what was made before, maybe in an earlier process; it does not alter the context."""
    if not IS_INSTALLED:
        yield
        return
    span = _TRACER.start_span(
        f"publish {topic}",
        context=_remote(traceparent),
        kind=otel_trace.SpanKind.CLIENT,
        attributes=_messaging("publish", "send", topic, message_id),
    )
    with _as_current(span):
        yield


def routed(
    topic: str,
    *,
    partition: int,
    offset: int,
    message_id: str,
    traceparent: str | None,
    began_ns: int,
    found: Mapping[str, str | int],
) -> None:
    """Make the span of routing one record, once that is committed: from its poll until now.

    Args:
        topic: the feed, by its bare name.
        partition: of the feed.
        offset: where the record lies.
        message_id: as far as it is known; otherwise empty.
        traceparent: the record's.
        began_ns: when its poll had been read, since the epoch.
        found: what became of it: codes and counts.
    """
    if not IS_INSTALLED:
        return
    attributes = {**_messaging("route", "process", topic, message_id), **_place(partition, offset), **found}
    _TRACER.start_span(
        f"route {topic}",
        context=_remote(traceparent),
        kind=otel_trace.SpanKind.CONSUMER,
        attributes=attributes,
        start_time=began_ns,
    ).end()


class Handling:
    """The span of a bureau's handling of one delivery: current from `begin` to `end`."""

    def __init__(self, topic: str, *, offset: int, message_id: str, traceparent: str | None) -> None:
        """Begin; whatever the caller does until `end` belongs to the delivery's trace.

        Args:
            topic: the inbox, by its bare name.
            offset: of the delivery.
            message_id: its own id.
            traceparent: of the message.
        """
        if not IS_INSTALLED:
            return
        self._span = _TRACER.start_span(
            f"handle {topic}",
            context=_remote(traceparent),
            kind=otel_trace.SpanKind.CONSUMER,
            attributes=_messaging("handle", "process", topic, message_id) | _place(0, offset),
        )
        self._before = otel_context.get_current()
        self._within = otel_trace.set_span_in_context(self._span)
        otel_context.attach(self._within)

    def end(self, error: BaseException | None = None) -> None:
        """End it, with the class of the error that ended the handling, if any."""
        if not IS_INSTALLED:
            return
        _end(self._span, error)
        # Attached again rather than detached: a token is of one task alone, and a delivery may end in another.
        if otel_context.get_current() is self._within:
            otel_context.attach(self._before)

    def __enter__(self) -> Self:
        """Begun already."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """End."""
        self.end(error)


@contextmanager
def acknowledging(topic: str, *, receipts: int, traceparents: Collection[str]) -> Iterator[str | None]:
    """Make the span of writing one record of receipts, and yield the context that the record carries, if there is one.

    A record whose receipts are all of one trace belongs to it. One that holds receipts of several messages belongs to
    none of them (to hang hundreds of receipts on the first one's trace would be false, and a record for each of them
    would cost a signature each): it begins a trace of its own, whose span links to every message.

    Args:
        topic: `acks.<region>`.
        receipts: how many the record holds.
        traceparents: of the messages that it acknowledges, each once.
    """
    only = next(iter(traceparents)) if len(traceparents) == 1 else None
    if not IS_INSTALLED:
        yield only
        return
    links = [] if only else [otel_trace.Link(context) for one in sorted(traceparents) if (context := _parsed(one))]
    span = _TRACER.start_span(
        f"acknowledge {topic}",
        context=_remote(only),
        kind=otel_trace.SpanKind.PRODUCER,
        attributes=_messaging("acknowledge", "settle", topic, "") | {"messaging.batch.message_count": receipts},
        links=links,
    )
    with _as_current(span):
        yield current_traceparent()


def _messaging(name: str, kind: str, topic: str, message_id: str) -> dict[str, str | int]:
    """Return what every span says.

    Args:
        name: our word for what is done.
        kind: OpenTelemetry's word for it.
        topic: on which, by its bare name.
        message_id: of what; empty where unknown, or several.
    """
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": topic,
    }
    if message_id:
        attributes["messaging.message.id"] = message_id
    return attributes


def _place(partition: int, offset: int) -> dict[str, str | int]:
    return {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset}


def _parsed(traceparent: str | None) -> otel_trace.SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent or "")
    if match is None:
        return None
    flags = otel_trace.TraceFlags(int(match["flags"], 16))
    return otel_trace.SpanContext(int(match["trace"], 16), int(match["span"], 16), is_remote=True, trace_flags=flags)


def _remote(traceparent: str | None) -> otel_context.Context:
    """Return a context that holds another process's span and nothing else; an empty one begins a new trace."""
    parsed = _parsed(traceparent)
    if parsed is None:
        return otel_context.Context()
    return otel_trace.set_span_in_context(otel_trace.NonRecordingSpan(parsed), otel_context.Context())


@contextmanager
def _as_current(span: otel_trace.Span) -> Iterator[None]:
    error: BaseException | None = None
    try:
        with otel_trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield
    except BaseException as raised:
        error = raised
        raise
    finally:
        _end(span, error)


def _end(span: otel_trace.Span, error: BaseException | None) -> None:
    if error is not None:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(otel_trace.StatusCode.ERROR)
    span.end()
