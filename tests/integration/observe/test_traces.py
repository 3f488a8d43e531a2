"""A message's trace, from whoever publishes it to the receipt, on a real Kafka: with OpenTelemetry, and without."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, Tracer

from broker.model.naming import partition_of
from broker.observe import tracing
from tests.support.builders import a_locate_diffusion, bureaus
from tests.support.shared_kafka import SharedKafka
from tests.support.tracing import BUREAUS, traces_of
from tests.support.world import World, a_world

ROOT = Path(__file__).parents[3]
TO_KENYA = bureaus("ke")
TRACE = slice(3, 35)
"""Where a `traceparent` says which trace."""
WITHOUT = """
import runpy, sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Gone())
runpy.run_module("tests.support.tracing", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tracer]:
    """A caller's tracer; the spans of Noticewire go to the same exporter, those of other tests nowhere."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_TRACER", provider.get_tracer("noticewire"))
    yield provider.get_tracer("a caller")
    provider.shutdown()


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=BUREAUS) as world:
        yield world


def _context(context: SpanContext | None) -> str:
    """A span as a `traceparent` names it (W3C trace context, section 3.2)."""
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def _named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


async def test_one_trace_leads_from_the_caller_to_the_receipt(
    world: World, tracer: Tracer, exporter: InMemorySpanExporter
) -> None:
    """The caller's span is the root; feed, inbox and outcome carry the publish span, the receipt a child of it."""
    message = a_locate_diffusion(circulation=TO_KENYA)
    with tracer.start_as_current_span("a case is opened") as root:
        traces = await traces_of(world, message)
    assert not trace.get_current_span().get_span_context().is_valid

    [case] = _named(exporter, "a case is opened")
    [published] = _named(exporter, "publish diffusions.africa")
    [routed] = _named(exporter, "route diffusions.africa")
    [handled] = _named(exporter, "handle inbox.ke")
    [acknowledged] = _named(exporter, "acknowledge acks.africa")
    assert len(exporter.get_finished_spans()) == 5
    assert traces == {
        "diffusions.africa": [_context(published.context)],
        "inbox.ke": [_context(published.context)],
        "inbox.zw": [_context(published.context)],
        "acks.africa": [_context(acknowledged.context)],
    }
    assert published.parent is not None
    assert published.parent.span_id == root.get_span_context().span_id
    for child in (routed, handled, acknowledged):
        assert child.context is not None
        assert child.context.trace_id == root.get_span_context().trace_id
        assert child.parent is not None
        assert published.context is not None
        assert child.parent.span_id == published.context.span_id
    assert [one.kind for one in (published, routed, handled, acknowledged)] == [
        SpanKind.PRODUCER,
        SpanKind.CONSUMER,
        SpanKind.CONSUMER,
        SpanKind.PRODUCER,
    ]
    assert case.start_time is not None
    assert dict(published.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
        "messaging.destination.name": "diffusions.africa",
        "messaging.message.id": str(message.message_id),
        "messaging.kafka.message.key": message.number,
    }
    assert (routed.attributes or {})["noticewire.delivered"] == 1
    assert (routed.attributes or {})["messaging.kafka.offset"] == 0


@pytest.mark.usefixtures("tracer")
async def test_receipts_of_several_messages_link_to_each(world: World, exporter: InMemorySpanExporter) -> None:
    """A record that acknowledges two messages begins a trace of its own, which links to both."""
    one = a_locate_diffusion(circulation=TO_KENYA)
    other = a_locate_diffusion(circulation=TO_KENYA, number=_beside(one.number))

    traces = await traces_of(world, one, other)

    published = {_context(span.context) for span in _named(exporter, "publish diffusions.africa")}
    [acknowledged] = _named(exporter, "acknowledge acks.africa")
    assert acknowledged.parent is None
    assert {_context(to.context) for to in acknowledged.links} == published
    assert len(published) == 2
    assert traces["acks.africa"] == [_context(acknowledged.context)]
    assert (acknowledged.attributes or {})["messaging.batch.message_count"] == 4  # received and accepted, of each


def _beside(number: str) -> str:
    """Another number of the same shard."""
    head = number[:-6]
    numbers = (f"{head}{serial:06d}" for serial in range(700_000, 700_100))
    return next(one for one in numbers if partition_of(one.encode()) == partition_of(number.encode()))


async def test_a_journal_s_message_is_made_in_the_caller_s_trace_and_sent_in_it(
    world: World, tracer: Tracer, exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    """What the journal sends carries the context in which it was accepted; sending is a child of that."""
    with tracer.start_as_current_span("a case is opened"):
        traces = await traces_of(
            world, a_locate_diffusion(circulation=TO_KENYA), journal=tmp_path / "keys" / "publisher.db"
        )

    [made] = _named(exporter, "create diffusions.africa")
    [sent] = _named(exporter, "publish diffusions.africa")
    assert traces["inbox.ke"] == [_context(made.context)]
    assert made.context is not None
    assert sent.parent is not None
    assert (made.kind, sent.kind) == (SpanKind.PRODUCER, SpanKind.CLIENT)
    assert sent.parent.span_id == made.context.span_id


async def test_everything_works_where_opentelemetry_is_not_installed(
    kafka: SharedKafka, prefix: str, tmp_path: Path
) -> None:
    """The receipt still carries the trace that its message began with, and nothing is imported."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        WITHOUT,
        kafka.bootstrap_servers,
        prefix,
        str(tmp_path),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(120):
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    told = json.loads(out.splitlines()[-1])
    assert not told["installed"]
    [begun] = told["first"]["diffusions.africa"]
    assert told["first"] == {topic: [begun] for topic in told["first"]}
    [_, journalled] = told["later"]["diffusions.africa"]
    assert journalled[TRACE] != begun[TRACE]
    assert told["later"] == {topic: [begun, journalled] for topic in told["later"]}
