"""Backpressure: nothing is sent while whoever takes the results is behind."""

from __future__ import annotations

import asyncio

from pipeline.backends.base import Backend
from pipeline.types import Request, Response


class Backpressure:
    """Holds requests back for as long as there is no room for their results. They hold no slot meanwhile."""

    def __init__(self, inner: Backend, room: asyncio.Event) -> None:
        self._inner = inner
        self._room = room

    async def send(self, request: Request) -> Response:
        await self._room.wait()
        return await self._inner.send(request)
