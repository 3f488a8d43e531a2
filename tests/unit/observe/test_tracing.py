"""Spans hold codes, numbers and classes of errors; never what an error says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from broker.observe import tracing

NAME = "DOE"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_TRACER", provider.get_tracer("noticewire"))
    yield exporter
    provider.shutdown()


def test_an_error_shows_by_its_class_alone(exporter: InMemorySpanExporter) -> None:
    """Whatever a failing publisher or handler says is kept out of the span: it could quote a subject."""
    with pytest.raises(ValueError, match=NAME), tracing.publishing("notices.africa", message_id="m", number="n"):
        raise ValueError(NAME)
    with pytest.raises(KeyError), tracing.Handling("inbox.zw", offset=3, message_id="m", traceparent=PARENT):
        raise KeyError(NAME)

    published, handled = exporter.get_finished_spans()
    for span, error in ((published, "ValueError"), (handled, "KeyError")):
        assert NAME not in span.to_json()
        assert (span.attributes or {})["error.type"] == error
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.events == ()


async def test_a_delivery_may_end_in_another_task(
    exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """The task that began it stays in its trace until it goes on itself; nothing is logged."""
    begun = tracing.Handling("inbox.zw", offset=3, message_id="m", traceparent=PARENT)
    assert tracing.current_traceparent() is not None

    async def end() -> None:
        begun.end()

    await asyncio.create_task(end())

    assert [span.name for span in exporter.get_finished_spans()] == ["handle inbox.zw"]
    assert caplog.records == []


@pytest.mark.parametrize(
    "traceparent",
    [
        None,
        "",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        f"{PARENT}-more",
    ],
)
def test_what_is_no_trace_begins_a_new_one(exporter: InMemorySpanExporter, traceparent: str | None) -> None:
    """A header that names no span (W3C trace context, section 3.2) has no children."""
    tracing.routed(
        "notices.africa", partition=0, offset=1, message_id="", traceparent=traceparent, began_ns=1, found={}
    )
    [span] = exporter.get_finished_spans()
    assert span.parent is None


def test_without_a_caller_s_span_there_is_no_context() -> None:
    """Then whoever writes a record begins a trace."""
    assert tracing.current_traceparent() is None
