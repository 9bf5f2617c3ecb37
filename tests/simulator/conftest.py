from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import aiohttp
import pytest

from pipeline.simulator import Options, Simulator


class Reply(NamedTuple):
    status: int
    headers: Any
    body: bytes


class Client:
    """Talks plain HTTP to one simulator."""

    def __init__(self, simulator: Simulator, session: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self._session = session

    async def post(self, path: str, body: Any, **headers: str) -> Reply:
        url = self.simulator.url + path
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        timeout = aiohttp.ClientTimeout(total=20)
        async with self._session.post(
            url, json=body, headers=named, allow_redirects=False, timeout=timeout
        ) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str) -> Reply:
        async with self._session.get(self.simulator.url.removesuffix("/v1") + path) as response:
            return Reply(response.status, response.headers, await response.read())

    async def embed(self, *texts: str) -> Reply:
        return await self.post("/embeddings", {"model": "any", "input": list(texts)})


Start = Callable[..., Awaitable[Client]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts simulators that stop when the test ends."""
    async with AsyncExitStack() as stack:

        async def begin(**options: Any) -> Client:
            simulator = await stack.enter_async_context(Simulator(Options(**{"engine": "hashing", **options})))
            return Client(simulator, await stack.enter_async_context(aiohttp.ClientSession()))

        yield begin
