"""What every Backend promises, over HTTP on loopback and over the fake."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

import pytest
from aiohttp import web

from pipeline.backends.base import Backend
from pipeline.backends.endpoint import Endpoint
from pipeline.backends.fake import FakeBackend, Outcome
from pipeline.backends.http import HttpBackend
from pipeline.core.classify import classify
from pipeline.core.hints import rate_limits
from pipeline.errors import NeedsPerson, PipelineError, Rejected, Throttled, Transient
from pipeline.types import RateLimits, Request, Response


class Reply(NamedTuple):
    """What the server at the other end answers."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


Server = Callable[[bytes], Reply]
"""From a request's body to its reply."""

Connect = Callable[[Server], AbstractAsyncContextManager[Backend]]


@contextlib.asynccontextmanager
async def over_http(server: Server) -> AsyncIterator[Backend]:
    async def handle(request: web.Request) -> web.Response:
        reply = server(await request.read())
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)

    app = web.Application()
    app.router.add_post("/v1/embeddings", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        async with HttpBackend(Endpoint("test", f"http://{host}:{port}/v1")) as backend:
            yield backend
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def over_the_fake(server: Server) -> AsyncIterator[Backend]:
    def outcome(request: Request) -> Outcome:
        status, body, headers = server(request.body)
        headers = {name.lower(): value for name, value in headers.items()}
        if 200 <= status < 300:
            return Response(status, headers, body, rate_limits(headers))
        return classify(status, headers, body, tokens=request.tokens)

    yield FakeBackend(outcome)


@pytest.fixture(params=[over_http, over_the_fake], ids=["http", "fake"])
def connect(request: pytest.FixtureRequest) -> Connect:
    chosen: Connect = request.param
    return chosen


def request(body: bytes = b"{}") -> Request:
    return Request("/embeddings", body, (), "model", 1, len(body), 0, attempt="run-1")


async def refused(backend: Backend) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        await backend.send(request())
    return caught.value


async def test_a_response_holds_status_headers_body_and_limits(connect: Connect) -> None:
    headers = {"X-Request-Id": "req-1", "X-RateLimit-Remaining-Tokens": "5"}
    async with connect(lambda _: Reply(201, b'{"a":1}', headers)) as backend:
        response = await backend.send(request())

    assert (response.status, response.body) == (201, b'{"a":1}')
    assert response.headers["x-request-id"] == "req-1"
    assert response.headers.get("x-none") is None
    assert response.limits == RateLimits(remaining_tokens=5)


async def test_a_response_that_says_nothing_of_limits_has_none(connect: Connect) -> None:
    async with connect(lambda _: Reply()) as backend:
        assert (await backend.send(request())).limits is None


async def test_what_validation_and_reservation_add_is_left_empty(connect: Connect) -> None:
    async with connect(lambda _: Reply()) as backend:
        response = await backend.send(request())

    assert (response.answers, response.model, response.attempt, response.cost_nusd) == ((), "", "", 0)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":{"message":"no"}}'])
async def test_the_body_of_a_2xx_is_not_judged(connect: Connect, body: bytes) -> None:
    async with connect(lambda _: Reply(200, body)) as backend:
        assert (await backend.send(request())).body == body


@pytest.mark.parametrize(
    ("status", "body", "error", "code"),
    [
        (400, b'{"error":{"code":"context_length_exceeded"}}', Rejected, "context_length_exceeded"),
        (401, b'{"error":{"code":"invalid_api_key"}}', NeedsPerson, "invalid_api_key"),
        (429, b'{"error":{"code":"insufficient_quota"}}', NeedsPerson, "insufficient_quota"),
        (429, b"", Throttled, "rate_limit_exceeded"),
        (500, b"", Transient, "http_500"),
        (529, b"", Throttled, "rate_limit_exceeded"),
    ],
)
async def test_a_refusal_is_raised_as_its_class(
    connect: Connect, status: int, body: bytes, error: type[PipelineError], code: str
) -> None:
    async with connect(lambda _: Reply(status, body)) as backend:
        raised = await refused(backend)

    assert type(raised) is error
    assert (raised.code, raised.status) == (code, status)


async def test_a_refusal_brings_hint_and_limits(connect: Connect) -> None:
    headers = {"Retry-After": "3", "X-RateLimit-Remaining-Requests": "0"}
    async with connect(lambda _: Reply(429, b"", headers)) as backend:
        raised = await refused(backend)

    assert raised.hint == 3.0
    assert raised.limits == RateLimits(remaining_requests=0)


async def test_a_backend_goes_on_after_a_refusal(connect: Connect) -> None:
    replies = iter([Reply(500), Reply(200, b"1"), Reply(400), Reply(200, b"2")])
    async with connect(lambda _: next(replies)) as backend:
        await refused(backend)
        first = await backend.send(request())
        await refused(backend)
        second = await backend.send(request())

    assert (first.body, second.body) == (b"1", b"2")


async def test_concurrent_requests_each_get_their_own_answer(connect: Connect) -> None:
    bodies = [b"%d" % number for number in range(50)]
    async with connect(lambda body: Reply(200, b"answer to " + body)) as backend:
        responses = await asyncio.gather(*[backend.send(request(body)) for body in bodies])

    assert [response.body for response in responses] == [b"answer to " + body for body in bodies]


async def test_a_large_request_and_a_large_answer_arrive_whole(connect: Connect) -> None:
    body = bytes(range(256)) * 2_000
    async with connect(lambda received: Reply(200, received)) as backend:
        assert (await backend.send(request(body))).body == body


async def test_a_cancelled_request_is_cancelled_and_the_next_is_answered(connect: Connect) -> None:
    async with connect(lambda _: Reply()) as backend:
        task = asyncio.create_task(backend.send(request()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert (await backend.send(request())).status == 200


async def test_a_2xx_without_a_body_is_a_response(connect: Connect) -> None:
    async with connect(lambda _: Reply(204, b"")) as backend:
        assert (await backend.send(request())).status == 204
