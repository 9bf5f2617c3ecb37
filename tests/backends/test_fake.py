"""The scripted endpoint."""

from __future__ import annotations

import pytest

from pipeline.backends.fake import FakeBackend
from pipeline.errors import Throttled
from pipeline.types import Request, Response

OK = Response(200, {}, b"{}")


def request(path: str = "/embeddings") -> Request:
    return Request(path, b"{}", (), "model", 1, 2, 0)


async def test_outcomes_come_in_their_order() -> None:
    fake = FakeBackend([OK, Throttled("slow down"), OK])

    assert await fake.send(request()) is OK
    with pytest.raises(Throttled):
        await fake.send(request())
    assert await fake.send(request()) is OK


async def test_a_function_decides_by_the_request() -> None:
    fake = FakeBackend(lambda sent: OK if sent.path == "/a" else Throttled("slow down"))

    assert await fake.send(request("/a")) is OK
    with pytest.raises(Throttled):
        await fake.send(request("/b"))


async def test_the_requests_are_remembered() -> None:
    fake = FakeBackend([OK, OK])
    first, second = request("/a"), request("/b")
    await fake.send(first)
    await fake.send(second)

    assert fake.requests == [first, second]


async def test_a_request_after_the_end_of_the_script_is_an_error_of_the_test() -> None:
    with pytest.raises(LookupError):
        await FakeBackend([]).send(request())
