"""The way of outcomes from a run to whoever takes them.

Results are read back from the output's own bytes, which are durable and written already: however far the run is ahead,
they take no memory. Only dead letters, which no file has before the end of a run, wait in memory, and the run waits
once too many outcomes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import types
from pipeline.api.outcomes import Outcome, dead_letter_of, result_of
from pipeline.storage.entries import Bury, Entry, Settle
from pipeline.storage.ledger import Ledger
from pipeline.storage.records import Records

AHEAD = 1_000
"""Outcomes that a run may be ahead of whoever takes them, besides what is in flight."""
_BLOCK = 256 * 1024


class Feed:
    """Follows a run on one side and hands out its outcomes on the other, to one taker.

    Args:
        records: Finds the records of results.
        news: Called, in any thread, when there is something to take or nothing will come any more.
        ahead: See `AHEAD`.

    Attributes:
        ended: Whether nothing will come any more.
    """

    def __init__(self, records: Records, news: Callable[[], None], ahead: int = AHEAD) -> None:
        self._records, self._news, self._ahead = records, news, ahead
        self._dead: deque[types.DeadLetter] = deque()
        self._file: int | None = None
        self._position = self._size = 0
        self._rest = b""
        self._earlier = self._committed = self._taken = 0
        self._held = asyncio.Event()
        self._waiting = 0
        self.ended = False

    # The run's side. `committed` is called in the writer's thread, the others in that of the event loop.

    def opened(self, output: Path, ledger: Ledger) -> None:
        """Begin with what earlier runs left. The file stays open: its name will change."""
        self._loop = asyncio.get_running_loop()
        self._file = os.open(output, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._dead.extend(ledger.dead_letters())
        self._earlier = ledger.ok + len(self._dead)
        self._size = ledger.out_off
        self._news()

    def committed(self, entries: Sequence[Entry]) -> None:
        """Take note of what has become durable."""
        for entry in entries:
            if isinstance(entry, Settle):
                self._size += sum([len(result.content) for result in entry.results])
                self._committed += len(entry.results)
            if isinstance(entry, Settle | Bury):
                self._dead.extend(entry.dead)
                self._committed += len(entry.dead)
        self._news()

    async def ready(self) -> None:
        """Return once so few outcomes are waiting that the run may go on."""
        self._waiting += 1  # before the look: whoever takes in between then wakes us
        try:
            while self._behind() > self._ahead:
                self._held.clear()
                await self._held.wait()
        finally:
            self._waiting -= 1

    def end(self) -> None:
        """Nothing will come any more."""
        self.ended = True
        self._news()

    def _behind(self) -> int:
        """New outcomes that are waiting. Those of earlier runs hold up nothing: they have been bought."""
        return self._committed - max(0, self._taken - self._earlier)

    # The taker's side.

    def take(self) -> list[Outcome]:
        """Return the next outcomes, the oldest first; empty where none is waiting. Waits for nothing but the disk."""
        taken: list[Outcome] = [result_of(raw, self._records) for raw in self._next_lines()]
        while self._dead and len(taken) < self._ahead:
            taken.append(dead_letter_of(self._dead.popleft()))
        self._taken += len(taken)
        if self._waiting and self._behind() <= self._ahead:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._held.set)
        return taken

    def close(self) -> None:
        """Let go of the output."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _next_lines(self) -> list[bytes]:
        """The next whole lines of the output; none where all that is committed has been read."""
        while self._file is not None and self._position < self._size:
            block = os.pread(self._file, min(_BLOCK, self._size - self._position), self._position)
            if not block:
                break
            self._position += len(block)
            *lines, self._rest = (self._rest + block).split(b"\n")
            if lines:
                return lines
        return []
