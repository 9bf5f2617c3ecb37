"""A span for every attempt, by the conventions of OpenTelemetry for generative AI, sent by OTLP over HTTP.

Where spans go, with which headers, how they are sampled and batched is said by the standard variables
(`OTEL_EXPORTER_OTLP_ENDPOINT` and so on). A span has numbers and names, never contents. Each is a trace of its own that
links to the span of the run: a trace with a million spans is one that nothing can show.

A span is named `{operation} {model}` and is of kind CLIENT. Its attributes:

    gen_ai.operation.name, gen_ai.provider.name, gen_ai.request.model, gen_ai.response.model,
    gen_ai.usage.input_tokens, gen_ai.usage.output_tokens, gen_ai.usage.cache_read.input_tokens,
    gen_ai.usage.reasoning.output_tokens, server.address, server.port, http.response.status_code, error.type,
    pipeline.attempt, pipeline.records, pipeline.first_line, pipeline.last_line
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.events import Exchange

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

_OPERATIONS = {"/chat/completions": "chat", "/completions": "text_completion", "/embeddings": "embeddings"}
"""The conventions' names; another path's last word is its own."""


class Traced(NamedTuple):
    """What is the same for all spans of a run."""

    job: str
    name: str
    provider: str
    host: str
    port: int


class Traces:
    """Makes spans of exchanges. Every method belongs to one thread, which is not the event loop's.

    Args:
        about: The run.
        failed: Hears how many spans the collector did not take.
    """

    def __init__(self, about: Traced, failed: Callable[[int], None]) -> None:
        self._about = about
        self._failed = failed
        self._open: _Open | None = None

    def write(self, exchanges: Sequence[Exchange]) -> None:
        """Make a span of each, and leave them to the exporter's own thread."""
        if self._open is None:
            self._open = _opened(self._about, self._failed)
        for exchange in exchanges:
            self._open.record(exchange)

    def close(self) -> None:
        """End the run's span, and send what has not been sent."""
        if self._open is not None:
            self._open.run.end()
            self._open.provider.shutdown()


class _Open:
    """A tracer that sends to the collector, and the span of the run."""

    def __init__(self, about: Traced, provider: TracerProvider, tracer: Tracer, run: Span) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - of the extra `otel`

        self._about = about
        self._tracer = tracer
        self._link = trace.Link(run.get_span_context())
        self._kind, self._status = trace.SpanKind.CLIENT, trace.StatusCode.ERROR
        self._nowhere = trace.set_span_in_context(trace.INVALID_SPAN)
        self.provider, self.run = provider, run

    def record(self, seen: Exchange) -> None:
        operation = _OPERATIONS.get(seen.path, seen.path.rpartition("/")[2])
        began = int(seen.began * 1e9)
        span = self._tracer.start_span(
            f"{operation} {seen.model}",
            self._nowhere,
            self._kind,
            _attributes(seen, operation, self._about),
            [self._link],
            began,
        )
        if seen.error is not None:
            span.set_status(self._status, seen.error)
        span.end(began + int(seen.seconds * 1e9))


def _attributes(seen: Exchange, operation: str, about: Traced) -> dict[str, str | int]:
    found: dict[str, str | int | None] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": about.provider,
        "gen_ai.request.model": seen.model,
        "gen_ai.response.model": seen.answered_by,
        "server.address": about.host,
        "server.port": about.port,
        "http.response.status_code": seen.status,
        "error.type": seen.code,
        "pipeline.attempt": seen.attempt,
        "pipeline.records": seen.items,
        "pipeline.first_line": seen.first_line,
        "pipeline.last_line": seen.last_line,
    }
    if seen.usage is not None and not seen.usage.estimated:
        found["gen_ai.usage.input_tokens"] = seen.usage.input
        found["gen_ai.usage.output_tokens"] = seen.usage.output
        found["gen_ai.usage.cache_read.input_tokens"] = seen.usage.cached or None
        found["gen_ai.usage.reasoning.output_tokens"] = seen.usage.reasoning or None
    return {key: value for key, value in found.items() if value is not None}


def _opened(about: Traced, failed: Callable[[int], None]) -> _Open:
    """Import the library, which takes half a second that the run need not wait for, and set it up."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult  # noqa: PLC0415 - as above

    class Counting(OTLPSpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = super().export(spans)
            if result is not SpanExportResult.SUCCESS:
                failed(len(spans))
            return result

    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what is lost is counted, and said once
    resource = Resource.create({"service.name": "pipeline", "pipeline.job": about.job, "pipeline.name": about.name})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(Counting()))
    tracer = provider.get_tracer("pipeline")
    return _Open(about, provider, tracer, tracer.start_span(f"run {about.name}"))
