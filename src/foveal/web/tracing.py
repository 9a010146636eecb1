"""Traces by OpenTelemetry, where somebody wants them: a span for each request, and one for each long job.

    with traced("job ask"): …          # nothing at all unless `set_up` was called

Off unless `traces = true` stands under [web] (settings.py) and the extra is there (pip install 'foveal[traces]').
Where spans go is said by OpenTelemetry's own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT. A span names the route and
the status, never an address with its tokens, a question or a person.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from foveal.registry import require

_tracer: Any = None


def set_up(provider: Any = None) -> None:
    """Trace from now on, into `provider` or, by default, to the collector that OTEL_… variables name. MissingExtra."""
    global _tracer
    if provider is None:
        sdk = require("opentelemetry.sdk.trace", extra="traces")
        export = require("opentelemetry.sdk.trace.export", extra="traces")
        resources = require("opentelemetry.sdk.resources", extra="traces")
        otlp = require("opentelemetry.exporter.otlp.proto.http.trace_exporter", extra="traces")
        provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": "foveal"}))
        provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    _tracer = provider.get_tracer("foveal")


def turn_off() -> None:
    """Trace no more."""
    global _tracer
    _tracer = None


@contextmanager
def traced(name: str, headers: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A span around the block, below that of whoever sent `headers` (traceparent); None where nothing is traced."""
    if _tracer is None:
        yield None
        return
    propagate = require("opentelemetry.propagate", extra="traces")
    context = propagate.extract(dict(headers)) if headers else None
    with _tracer.start_as_current_span(name, context=context) as span:
        yield span
