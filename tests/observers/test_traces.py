"""Traces against a collector of our own: an aiohttp server that decodes OTLP."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from pipeline.events import Exchange
from pipeline.observers.traces import Traced, Traces
from pipeline.types import Usage

ABOUT = Traced("embeddings", "tickets", "openai", "api.openai.com", 443)
OK = Exchange(
    "abcdefgh-7", "/embeddings", "m-1", 21, 40, 20, 1000.5, 0.25, 270, 9000, None, None, 200, Usage(60), "m-1b"
)


class Collector:
    """Keeps every span that it is sent."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resource: dict[str, Any] = {}
        self.paths: list[str] = []

    async def take(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for resource in sent.resource_spans:
            self.resource = attributes(resource.resource)
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    found = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    yield found
    await runner.cleanup()


def trace(*exchanges: Exchange) -> list[int]:
    """Send spans from this thread; return how many the collector did not take."""
    failed: list[int] = []
    traces = Traces(ABOUT, failed.append)
    traces.write(exchanges)
    traces.close()
    return failed


async def test_a_span_has_the_names_of_the_conventions(collector: Collector) -> None:
    failed = await asyncio.to_thread(trace, OK)
    [span] = collector.named("embeddings m-1")

    assert failed == []
    assert collector.paths == ["/v1/traces"]
    assert attributes(span) == {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m-1",
        "gen_ai.response.model": "m-1b",
        "gen_ai.usage.input_tokens": 60,
        "gen_ai.usage.output_tokens": 0,
        "server.address": "api.openai.com",
        "server.port": 443,
        "http.response.status_code": 200,
        "pipeline.attempt": "abcdefgh-7",
        "pipeline.records": 20,
        "pipeline.first_line": 21,
        "pipeline.last_line": 40,
    }
    assert span.kind == 3, "CLIENT"
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1_000_500_000_000, 1_000_750_000_000)
    assert collector.resource["service.name"] == "pipeline"
    assert collector.resource["pipeline.name"] == "tickets"


async def test_every_attempt_is_a_trace_of_its_own_that_links_to_the_run(collector: Collector) -> None:
    await asyncio.to_thread(trace, OK, OK)
    [run] = collector.named("run tickets")
    first, second = collector.named("embeddings m-1")

    assert len({span.trace_id for span in (run, first, second)}) == 3
    assert [link.span_id for span in (first, second) for link in span.links] == [run.span_id] * 2
    assert not first.parent_span_id


async def test_a_failed_attempt_is_an_error_with_its_type_and_no_usage(collector: Collector) -> None:
    refused = OK._replace(error="Throttled", code="rate_limit_exceeded", status=429, usage=None, answered_by=None)
    failed = refused._replace(path="/chat/completions")
    await asyncio.to_thread(trace, failed)
    [span] = collector.named("chat m-1")

    assert span.status.code == 2
    assert attributes(span)["error.type"] == "rate_limit_exceeded"
    assert not [key for key in attributes(span) if key.startswith("gen_ai.usage")]


async def test_cached_and_reasoning_tokens_are_told_and_estimates_are_not(collector: Collector) -> None:
    detailed = OK._replace(path="/completions", usage=Usage(60, 30, 40, 0, 20))
    await asyncio.to_thread(trace, detailed, OK._replace(model="other", usage=Usage(60, 30, estimated=True)))
    [span], [guessed] = collector.named("text_completion m-1"), collector.named("embeddings other")

    assert attributes(span)["gen_ai.usage.cache_read.input_tokens"] == 40
    assert attributes(span)["gen_ai.usage.reasoning.output_tokens"] == 20
    assert "gen_ai.usage.input_tokens" not in attributes(guessed)


def test_a_collector_that_is_down_is_told_of_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    failed: list[int] = []
    thread = threading.Thread(target=lambda: failed.extend(trace(OK)))
    began = time.monotonic()
    thread.start()
    thread.join(30)

    assert failed == [2]
    assert time.monotonic() - began < 20
