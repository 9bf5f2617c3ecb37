"""Exchanges: tells those who asked for it everything about each attempt but its content.

It is a middleware of its own so that a run that nobody watches so closely pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipeline.backends.base import Backend
from pipeline.clock import Clock
from pipeline.errors import PipelineError
from pipeline.events import Exchange
from pipeline.types import Request, Response


class Exchanges:
    """Hands an Exchange to every one of `watchers` when an attempt has ended. They must be quick and must not raise."""

    def __init__(self, inner: Backend, clock: Clock, watchers: Sequence[Callable[[Exchange], None]]) -> None:
        self._inner = inner
        self._clock = clock
        self._watchers = watchers

    async def send(self, request: Request) -> Response:
        began, now = self._clock.monotonic(), self._clock.now()
        try:
            response = await self._inner.send(request)
        except PipelineError as error:
            self._ended(request, now, began, None, error)
            raise
        self._ended(request, now, began, response, None)
        return response

    def _ended(
        self, request: Request, now: float, began: float, response: Response | None, error: PipelineError | None
    ) -> None:
        items = request.items
        seen = Exchange(
            request.attempt,
            request.path,
            request.model,
            items[0].record.line,
            items[-1].record.line,
            len(items),
            now,
            self._clock.monotonic() - began,
            len(request.body),
            0 if response is None else response.received,
            None if error is None else type(error).__name__,
            None if error is None else error.code,
            response.status if response is not None else error.status if error is not None else None,
            None if response is None else response.usage,
            None if response is None else response.model,
        )
        for watcher in self._watchers:
            watcher(seen)
