"""Delivery: results go on to standard output as they become durable, at the pace of whoever reads them.

A thread of its own reads them from the log, so that what waits for a slow reader waits on the disk. Where the reader is
behind by more than a little, `room` is closed, and nothing more is sent or paid for until it has caught up.

Every run delivers the output from its first line: whoever reads a pipe is a new process each time, and nobody can know
what an earlier one made of what it was given. A plain file that is appended to (`>>`) can be looked at: there a run
goes on behind what earlier ones wrote.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable

from pipeline.errors import JobStopped, PipelineError, ReaderGone, StorageFailed
from pipeline.storage.outlet import Outlet
from pipeline.storage.sequence import Sequence
from pipeline.types import DeadLetter

MOST_BEHIND = 1 << 20
"""Bytes of results that the reader may be behind before nothing more is sent."""
_PATIENCE = 2.0
"""Seconds that the end of a stopped run waits for a reader that takes nothing."""


class Delivery:
    """Hands the lines of a log to an outlet. Made, finished and closed on the event loop's thread.

    Args:
        sequence: The lines.
        outlet: Where they go.
        present: Bytes of the log that are committed already.
        stop: Called on the loop where the results cannot be delivered any more, with the reason.

    Attributes:
        room: Set unless the reader is behind.
    """

    def __init__(self, sequence: Sequence, outlet: Outlet, present: int, stop: Callable[[JobStopped], None]) -> None:
        self.room = asyncio.Event()
        self.room.set()
        self._sequence, self._outlet, self._stop = sequence, outlet, stop
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._lock = threading.Lock()
        self._committed = self._present = present
        self._idle = self._behind = self._ending = self._abandoned = False
        self._last_line: int | None = None
        self._held_back, self._closed_at = 0.0, 0.0
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def start(self) -> None:
        """Begin with what is committed already. Where that is much, a reader that leaves pays for nothing more."""
        self._hold_back()
        self._thread.start()

    def committed(self, size: int, dead: Iterable[DeadLetter]) -> None:
        """The log is durable up to `size`, and some records ended without a result. Called by the ledger's thread."""
        self.pass_over([letter.line for letter in dead])
        with self._lock:
            self._committed = size
            self._hold_back()
        self._rouse()

    def pass_over(self, lines: Iterable[int]) -> None:
        """Lines of the input that will have no result. Any thread may say so."""
        try:
            self._sequence.pass_over(lines)
        except OSError as error:
            self._tell(_failed(error))

    def held_back(self) -> float:
        """Seconds for which there has been no room. Any thread may ask."""
        with self._lock:
            return self._held_back + (time.monotonic() - self._closed_at if self._behind else 0.0)

    async def finish(self, last_line: int) -> None:
        """Return when the reader has all of it. Every record is settled; the input has `last_line` lines.

        Raises:
            ReaderGone: It went away before.
            StorageFailed: The disk behind stdout is full or broken.
        """
        self._last_line = last_line
        self._end()
        await self._over

    def give_up(self, reason: JobStopped) -> None:
        """Let `finish` raise `reason`, where it still waits."""
        if not self._over.done():
            self._over.set_exception(reason)
            self._over.exception()

    def close(self) -> None:
        """Deliver what is committed, if the reader takes it, and end."""
        self._end()
        self._thread.join(_PATIENCE)
        self._abandoned = True
        if not self._thread.is_alive():
            for descriptor in (self._wake, self._waker):
                os.close(descriptor)
            self._sequence.close()

    def _end(self) -> None:
        with self._lock:
            self._ending = True
        self._rouse()

    def _run(self) -> None:
        try:
            self._outlet.skip_present(self._sequence.pieces(self._present))
            self._sequence.restart()
            self._deliver()
        except BrokenPipeError:
            self._tell(ReaderGone())
        except OSError as error:
            self._tell(_failed(error))
        except PipelineError as error:
            self._tell(StorageFailed(error.message))
        else:
            self._tell(None)

    def _deliver(self) -> None:
        ending = False
        while not (ending or self._abandoned):
            with self._lock:
                goal, ending = self._committed, self._ending
            self._pass_on(self._sequence.pieces(goal))
            if ending and self._last_line is not None:
                self._pass_on(self._sequence.rest(self._last_line))
            self._outlet.flush()
            if not ending:
                self._rest(goal)

    def _pass_on(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._outlet.write(piece)
            if self._behind:
                with self._lock:
                    self._hold_back()
            if self._abandoned:
                return

    def _rest(self, goal: int) -> None:
        """Wait for more, or for the reader to go away."""
        with self._lock:
            self._hold_back()
            self._idle = self._committed == goal and not self._ending
        if self._idle:
            self._outlet.wait(self._wake)

    def _rouse(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, False
        if idle:
            os.write(self._waker, b"\0")

    def _hold_back(self) -> None:
        """Close the room where the reader is behind, open it once it has caught up with half of that."""
        behind = self._committed - self._sequence.taken
        if not self._behind and behind > MOST_BEHIND:
            self._behind, self._closed_at = True, time.monotonic()
            self._call(self.room.clear)
        elif self._behind and behind <= MOST_BEHIND // 2:
            self._behind = False
            self._held_back += time.monotonic() - self._closed_at
            self._call(self.room.set)

    def _tell(self, error: JobStopped | None) -> None:
        self._call(self._hear, error)

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it all who could hear it
            self._loop.call_soon_threadsafe(function, *arguments)

    def _hear(self, error: JobStopped | None) -> None:
        if error is not None:
            self.give_up(error)
            self._stop(error)
        elif not self._over.done():
            self._over.set_result(None)


def _failed(error: OSError) -> StorageFailed:
    return StorageFailed(f"cannot write to stdout: {error.strerror}; run again to resume")
