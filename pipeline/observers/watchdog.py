"""The watchdog: a thread that notices when the event loop is stuck, or when nothing finishes any more.

It writes where the loop stands to stderr, which is all that a stuck process can still do; values and texts of the
program are not shown, only files, lines and names.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable

from pipeline.events import AttemptEnded, Event

LAG = 30.0
"""Seconds without a turn of the loop after which its stack is shown."""
GRACE = 120.0
"""Seconds beyond an attempt's deadline without any attempt ending after which the process is ended."""


class Watchdog:
    """Watches one loop; an observer that must see attempts end.

    Args:
        deadline: The longest time of an attempt, in seconds.
        in_flight: How many attempts are on the wire.
        show: Takes the text.
        end: Ends the process; called at most once.
        now: Seconds on a clock that the loop cannot stop.
    """

    def __init__(
        self,
        deadline: float,
        in_flight: Callable[[], int],
        *,
        show: Callable[[str], None] | None = None,
        end: Callable[[], None] = lambda: os._exit(1),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._deadline = deadline
        self._in_flight = in_flight
        self._show = show or _to_stderr
        self._end = end
        self._now = now
        self._turned = self._ended = now()
        self._shown = False
        self._thread_id = threading.get_ident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def see(self, event: Event) -> None:
        if type(event) is AttemptEnded:
            self._ended = self._now()

    async def turn(self) -> None:
        """Show once a second that the loop turns, until cancelled."""
        self._thread.start()
        try:
            while True:
                self.turned()
                await asyncio.sleep(1.0)
        finally:
            self._stop.set()

    def turned(self) -> None:
        """The loop has had a turn."""
        self._turned = self._now()
        self._shown = False
        if not self._in_flight():
            self._ended = self._turned

    def look(self) -> None:
        """Look at the clock once: show the stack of a stuck loop, end a process in which nothing ends."""
        now = self._now()
        if now - self._turned > LAG and not self._shown:
            self._shown = True
            self._show(f"pipeline: the event loop has been busy for {now - self._turned:.0f} s at:\n{self._stack()}")
        if now - self._ended > self._deadline + GRACE:
            self._show(f"pipeline: no attempt has ended for {now - self._ended:.0f} s; ending, run again to go on")
            self._end()

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            self.look()

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread_id)  # noqa: SLF001 - the only way to see another thread's stack
        if frame is None:
            return "  (the thread is gone)"
        places = traceback.extract_stack(frame, limit=12)
        return "\n".join(f"  {place.filename}:{place.lineno} {place.name}" for place in places)


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
