"""The deadline of an attempt. Time in which the event loop itself stood still is not held against the server."""

from __future__ import annotations

import asyncio
from types import TracebackType

_LATE = 0.5
"""Seconds that the loop must be behind to have stood still."""
_CATCH_UP = 1.0
"""Seconds in which it reads what arrived meanwhile."""


class Deadline:
    """An async context manager that ends its body with TimeoutError after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._loop = asyncio.get_running_loop()
        self._wait(self._seconds)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _wait(self, seconds: float) -> None:
        self._due = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._due, self._expire)

    def _expire(self) -> None:
        if self._loop.time() > self._due + _LATE:
            self._wait(_CATCH_UP)
        else:
            self._timeout.reschedule(self._due)
