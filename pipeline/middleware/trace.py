"""Trace: the one point where every attempt on the wire is seen."""

from __future__ import annotations

from pipeline.backends.base import Backend
from pipeline.clock import Clock
from pipeline.errors import PipelineError
from pipeline.events import AttemptEnded, Observer
from pipeline.types import Request, Response


class Trace:
    """Reports each attempt's duration and outcome to the observers."""

    def __init__(self, inner: Backend, clock: Clock, observers: Observer) -> None:
        self._inner = inner
        self._clock = clock
        self._observers = observers

    async def send(self, request: Request) -> Response:
        began = self._clock.monotonic()
        try:
            response = await self._inner.send(request)
        except PipelineError as error:
            self._ended(began, request, type(error).__name__, error.code, error.status)
            raise
        seconds = self._clock.monotonic() - began
        usage = response.usage
        self._observers.see(
            AttemptEnded(seconds, len(request.items), usage.input, usage.output, None, None, response.status)
        )
        return response

    def _ended(self, began: float, request: Request, error: str, code: str, status: int | None) -> None:
        seconds = self._clock.monotonic() - began
        self._observers.see(AttemptEnded(seconds, len(request.items), 0, 0, error, code, status))
