"""Exports a process's spans, where the environment says how. A program that has Noticewire as a library does it itself.

Imported only where it is asked for: OpenTelemetry's SDK need not be installed.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

from opentelemetry import trace
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from broker.errors import MisuseError


def export_spans(names: Iterable[str], *, service: str) -> None:
    """Export every span of this process from here on; what is left is sent when it ends.

    Args:
        names: of exporters, as in `OTEL_TRACES_EXPORTER`; found by entry point, as OpenTelemetry's launcher does it.
        service: `service.name`, unless `OTEL_SERVICE_NAME` says otherwise.

    Raises:
        MisuseError: no such exporter is installed.
    """
    resource = Resource.create({"service.name": service}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    for name in names:
        exporter = next(iter(entry_points(group="opentelemetry_traces_exporter", name=name)), None)
        if exporter is None:
            raise MisuseError(f"OTEL_TRACES_EXPORTER: no exporter {name} is installed")
        provider.add_span_processor(BatchSpanProcessor(exporter.load()()))
    trace.set_tracer_provider(provider)
