"""Back-pressure: nothing is bought faster than its outcomes are taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pipeline.backends.base import Backend
from pipeline.types import Request, Response


class Backpressure:
    """Holds new requests back while whoever takes the outcomes is behind. What was sent before is not held up."""

    def __init__(self, inner: Backend, ready: Callable[[], Awaitable[None]]) -> None:
        self._inner = inner
        self._ready = ready

    async def send(self, request: Request) -> Response:
        await self._ready()
        return await self._inner.send(request)
