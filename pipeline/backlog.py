"""Batches that wait to be sent: one reader fills the backlog, many workers empty it and may give pieces back.

Nothing here is created for a batch that need not wait: `asyncio.Queue` costs several calls for each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.types import Item


class Batch(NamedTuple):
    """Records packed into one request, and what was tried with them before."""

    items: tuple[Item, ...]
    attempts: int = 0
    first_at: float | None = None


class Backlog:
    """First come, first served, but for pieces given back, which go first.

    Args:
        most: Batches that may wait; beyond it the reader does.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._batches: deque[Batch] = deque()
        self._takers: deque[asyncio.Future[None]] = deque()
        self._room: asyncio.Future[None] | None = None
        self._taken = 0
        self._closed = False

    @property
    def is_full(self) -> bool:
        """Whether the reader must wait for room."""
        return len(self._batches) >= self._most

    @property
    def is_empty(self) -> bool:
        return not self._batches

    def add(self, batch: Batch) -> None:
        """Add a batch at the end."""
        self._batches.append(batch)
        if self._takers:
            self._wake(1)

    async def room(self) -> None:
        """Return when the backlog is not full. For the one reader."""
        while self.is_full:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def close(self) -> None:
        """No further batch will be added, though pieces may be given back."""
        self._closed = True
        self._wake_if_over()

    def take(self) -> Batch | None:
        """Return the next batch, of which `done` must be said; None where none waits: then `get`."""
        if not self._batches:
            return None
        self._taken += 1
        batch = self._batches.popleft()
        if self._room is not None and not self.is_full:
            _end(self._room)
            self._room = None
        return batch

    async def get(self) -> Batch | None:
        """Return the next batch as `take`, or None once nothing will come any more."""
        while (batch := self.take()) is None:
            if self._is_over:
                return None
            taker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            await taker
        return batch

    def give_back(self, pieces: Sequence[Batch]) -> None:
        """Put pieces of a batch at the front, in their order."""
        self._batches.extendleft(reversed(pieces))
        self._wake(len(pieces))

    def done(self) -> None:
        """A batch that was taken is settled, or its pieces are back."""
        self._taken -= 1
        self._wake_if_over()

    @property
    def _is_over(self) -> bool:
        """Whether nothing can come any more but what waits already."""
        return self._closed and not self._taken

    def _wake_if_over(self) -> None:
        if self._is_over:
            self._wake(len(self._takers))

    def _wake(self, number: int) -> None:
        while number and self._takers:
            number -= _end(self._takers.popleft())


def _end(waiting: asyncio.Future[None]) -> bool:
    """End a wait; False where it was cancelled."""
    if waiting.done():
        return False
    waiting.set_result(None)
    return True
