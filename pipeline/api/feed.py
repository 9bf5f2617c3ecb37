"""The way of outcomes from a run to whoever takes them.

Results are read back from the output's own bytes, which are durable and written already: however far the run is ahead,
they take no memory. Only dead letters, which no file has before the end of a run, wait in memory, and the run waits
once too many outcomes do.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline import types
from pipeline.api.outcomes import Outcome, dead_letter_of, result_of
from pipeline.errors import StorageFailed
from pipeline.storage.compression import inflated
from pipeline.storage.ledger import Ledger
from pipeline.storage.lines import DamagedError
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
        room: Set unless the taker is behind.
        ended: Whether nothing will come any more.
    """

    def __init__(self, records: Records, news: Callable[[], None], ahead: int = AHEAD) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self.ended = False
        self._records, self._news, self._ahead = records, news, ahead
        self._dead: deque[types.DeadLetter] = deque()
        self._output: io.BufferedReader | None = None
        self._closing = contextlib.ExitStack()
        self._position = self._size = 0
        self._rest = b""
        self._earlier = self._durable = self._taken = 0

    # The run's side. `committed` is called in the writer's thread, the others in that of the event loop.

    def opened(self, output: Path, ledger: Ledger) -> None:
        """Begin with what earlier runs left. The file stays open: its name will change."""
        self._loop, self._ledger = asyncio.get_running_loop(), ledger
        self._output = self._closing.enter_context(inflated(output))
        self._dead.extend(ledger.dead_letters())
        self._earlier = self._durable = ledger.ok + ledger.failed
        self._size = ledger.out_off
        self._news()

    def committed(self, size: int, dead: Sequence[types.DeadLetter]) -> None:
        """Take note of what has become durable."""
        self._size, self._durable = size, self._ledger.ok + self._ledger.failed
        self._dead.extend(dead)
        if self._is_behind():
            self._call(self._make_room)
        self._news()

    def end(self) -> None:
        """Nothing will come any more."""
        self.ended = True
        self._news()

    def _is_behind(self) -> bool:
        """Whether too many new outcomes wait. Those of earlier runs hold up nothing: they have been bought."""
        return self._durable - max(self._taken, self._earlier) > self._ahead

    def _make_room(self) -> None:
        """Set or clear `room`, on its loop. It is cleared before the look: whoever takes after that sees it cleared."""
        self.room.clear()
        if not self._is_behind():
            self.room.set()

    def _call(self, function: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function)

    # The taker's side.

    def take(self) -> list[Outcome]:
        """Return the next outcomes, the oldest first; empty where none is waiting. Waits for nothing but the disk.

        Raises:
            StorageFailed: The output cannot be read.
        """
        taken: list[Outcome] = [result_of(raw, self._records) for raw in self._next_lines()]
        while self._dead and len(taken) < self._ahead:
            taken.append(dead_letter_of(self._dead.popleft()))
        self._taken += len(taken)
        if not self.room.is_set():
            self._call(self._make_room)
        return taken

    def close(self) -> None:
        """Let go of the output."""
        self._output = None
        self._closing.close()

    def _next_lines(self) -> list[bytes]:
        """The next whole lines of the output; none where all that is committed has been read."""
        while self._output is not None and self._position < self._size:
            block = self._read(self._output, min(_BLOCK, self._size - self._position))
            if not block:
                break
            self._position += len(block)
            *lines, self._rest = (self._rest + block).split(b"\n")
            if lines:
                return lines
        return []

    @staticmethod
    def _read(output: io.BufferedReader, most: int) -> bytes:
        try:
            return output.read1(most)
        except (OSError, DamagedError) as error:
            raise StorageFailed(f"cannot read the output: {error}; run again to go on") from error
