"""Drain: once the job stops, what is on the wire may come back, and nothing new goes out."""

from __future__ import annotations

import asyncio

from pipeline.backends.base import Backend
from pipeline.errors import JobStopped, Retryable
from pipeline.types import Request, Response


class Draining(JobStopped):
    """The job is stopping: this attempt was not sent, or failed and will not be tried again in this run."""

    code = "draining"


class Drain:
    """Knows which tasks have a request on the wire, and closes the way to it."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self._closed = False
        self.on_wire: set[asyncio.Task[object]] = set()

    def close(self) -> None:
        """Let nothing new out."""
        self._closed = True

    async def send(self, request: Request) -> Response:
        if self._closed:
            raise Draining("the job is stopping")
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request must be sent from within a task")
        self.on_wire.add(task)
        try:
            return await self._inner.send(request)
        except Retryable as error:
            if self._closed:
                raise Draining("the job is stopping") from error
            raise
        finally:
            self.on_wire.discard(task)
