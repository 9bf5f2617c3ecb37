"""Who goes next: first come first served within a lane, and across lanes among those that may go."""

from __future__ import annotations

import math
from collections import deque
from typing import Generic, NamedTuple, TypeVar

from pipeline.core.lane import Lane


class Waiter:
    """An attempt that waits for its lane; `gone` once it does not wait any more."""

    __slots__ = ("asked", "gone", "lane", "tokens")

    def __init__(self, lane: Lane, tokens: int, asked: float) -> None:
        self.lane = lane
        self.tokens = tokens
        self.asked = asked
        self.gone = False


W = TypeVar("W", bound=Waiter)


class Turn(NamedTuple, Generic[W]):
    """Whose turn it is."""

    ready: W | None
    """The one that may go now, has waited longest, and has nobody before it in its lane."""
    first: W | None
    """The one that has waited longest of those at the head of a lane, ready or not."""
    wait: float
    """Seconds until it is worth asking again: 0 where somebody is ready, infinity where only a change can help."""


class Queue(Generic[W]):
    """The waiters of all lanes. Pure: time is an argument."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[Lane, deque[W]] = {}

    def join(self, waiter: W) -> None:
        line = self._lines.get(waiter.lane)
        if line is None:
            line = self._lines[waiter.lane] = deque()
        line.append(waiter)

    def waits_for(self, lane: Lane) -> bool:
        """Whether anybody waits for `lane`."""
        return lane in self._lines

    def leave(self, waiter: W) -> None:
        """Take `waiter` out, from whatever place."""
        waiter.gone = True
        line = self._lines[waiter.lane]
        while line and line[0].gone:
            line.popleft()
        if not line:
            del self._lines[waiter.lane]

    def turn(self, now: float) -> Turn[W]:
        """Return whose turn it is at `now`."""
        ready, first, soonest = None, None, math.inf
        for line in self._lines.values():
            head = line[0]
            wait = head.lane.wait(head.tokens, now)
            if wait <= 0 and (ready is None or head.asked < ready.asked):
                ready = head
            if first is None or head.asked < first.asked:
                first = head
            soonest = min(soonest, wait)
        return Turn(ready, first, max(0.0, soonest))
