"""Work beside the job: what observers gather goes to its slow place in groups, from a thread of its own."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

_T = TypeVar("_T")
_PERIOD = 0.25
"""Seconds between two groups: nobody is woken for a single item."""
_MOST = 10_000
"""Items that wait; what there is no room for is dropped and counted."""
PATIENCE = 2.0
"""Seconds that the end of a run waits for a place that takes nothing."""


class Background(Generic[_T]):
    """Hands items over in groups, in their order. Taking one costs a fraction of a microsecond and never blocks.

    Args:
        name: Of the thread.
        write: Takes a group; it may be slow, and may raise OSError: then the group is lost.
        complain: Hears once, in the thread, of the first group that was lost, and why.
        close: Called in the thread after the last group.

    Attributes:
        lost: How many items were dropped or lost.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[_T]], None],
        complain: Callable[[OSError], None],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.lost = 0
        self._write = write
        self._close = close
        self._complain: Callable[[OSError], None] | None = complain
        self._waiting: deque[_T] = deque()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: _T) -> None:
        """Take an item."""
        if len(self._waiting) < _MOST:
            self._waiting.append(item)
        else:
            self.lost += 1

    def end(self) -> None:
        """Hand over what is waiting, for as long as that takes within `PATIENCE`. Take nothing after that."""
        self._ended.set()
        self._thread.join(PATIENCE)
        self.lost += len(self._waiting) if self._thread.is_alive() else 0

    def _run(self) -> None:
        while not self._ended.wait(_PERIOD):
            self._hand_over()
        self._hand_over()
        self._close()

    def _hand_over(self) -> None:
        group = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not group:
            return
        try:
            self._write(group)
        except OSError as error:
            self.lost += len(group)
            complain, self._complain = self._complain, None
            if complain is not None:
                complain(error)
