"""Records what a report draws, into `history.json`: every few seconds, and at the end.

What is counted anyway is looked at once a second, so that an answered request costs nothing more; what is kept does not
grow with the run.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from pipeline.clock import Clock
from pipeline.core.failures import Failures, most_common
from pipeline.core.history import History
from pipeline.core.timeline import ANSWERED, DEAD, FAILED, INPUT, ITEMS, OK, OUTPUT, PAUSED, REFUSED, SENT, WIDTH
from pipeline.errors import StateMismatch, StorageFailed
from pipeline.events import Event, Notice, Observer, Paused, RecordFailed
from pipeline.observers.recorded import About, Recorded, read_history, sums
from pipeline.observers.tally import Tally
from pipeline.storage.ledger import Ledger
from pipeline.storage.state import replace_durably

_LOOKS = 5
"""Looks between two times that the file is written; it is first written at the first."""


class Recorder:
    """Looks at what is sent. Belongs to the thread that sends. Of events it wants `KINDS`.

    Args:
        path: `history.json`.
        about: What the run is held to.
        ledger: Whose attempts these are. What was recorded of its earlier runs is carried on.
        tally: What has happened so far.
        clock: The time.
    """

    KINDS: tuple[type[Event], ...] = (RecordFailed, Paused)

    def __init__(self, path: Path, about: About, ledger: Ledger, tally: Tally, clock: Clock) -> None:
        self._path = path
        self._about = about
        self._ledger = ledger
        self._tally = tally
        self._clock = clock
        self._began = clock.monotonic()
        self._earlier = _earlier(path, ledger)
        self._failures = _failures(ledger)
        stamp = datetime.fromtimestamp(clock.now(), UTC).isoformat(timespec="seconds")
        self._run = History(waiting=tally.waiting, executing=tally.executing, starts=((0.0, stamp),), runs=1)
        self._pause = (0.0, 0.0)
        self._looked = 0.0
        self._counts = _counts(tally)

    def see(self, event: Event) -> None:
        if isinstance(event, RecordFailed):
            self._failures.note(event.code, event.line, event.custom_id)
        elif isinstance(event, Paused):
            self._paused(event.seconds)

    def look(self) -> None:
        """Book what has been counted since the last look; to be called once a second."""
        now = self._clock.monotonic() - self._began
        counts = _counts(self._tally)
        row = self._run.timeline.row((self._looked + now) / 2)
        for column, total in counts.items():
            row[column] += total - self._counts[column]
        self._looked, self._counts = now, counts

    async def keep(self, observers: Observer) -> None:
        """Look each second and write the file every few, until cancelled; say once where that fails."""
        said = False
        for number in count():
            await self._clock.sleep(WIDTH)
            self.look()
            if number % _LOOKS:
                continue
            try:
                await self._write()
            except StorageFailed as error:
                if not said:
                    observers.see(Notice("warning", error.message))
                said = True

    async def end(self) -> None:
        """Write the file for the last time; everything is committed, and the ledger says what failed and why."""
        self._failures = _failures(self._ledger)
        try:
            await self._write()
        except StorageFailed as error:
            self._tally.see(Notice("warning", error.message))

    def recorded(self) -> Recorded:
        """What is known now."""
        self.look()
        self._credit(self._looked)
        self._run.timeline.reach(self._looked)
        self._run.attempts = most_common(self._tally.errors)
        return Recorded(
            self._ledger.name, self._about, self._earlier, self._run, self._failures, sums(self._ledger.spends)
        )

    async def _write(self) -> None:
        await asyncio.to_thread(replace_durably, self._path, self.recorded().as_json())

    def _paused(self, seconds: float) -> None:
        now = self._clock.monotonic() - self._began
        self._credit(now)
        self._pause = (now, max(self._pause[1], now + seconds))

    def _credit(self, now: float) -> None:
        """Book the pause as far as it has come; pauses that overlap count once."""
        start, end = self._pause
        until = min(now, end)
        if start < until:
            self._run.timeline.spread(PAUSED, start, until)
            self._pause = (until, end)


def _counts(tally: Tally) -> dict[int, int]:
    """What has been counted so far, by column of the timeline."""
    return {
        SENT: tally.begun,
        ANSWERED: tally.answered,
        REFUSED: tally.throttled,
        FAILED: tally.sent - tally.answered - tally.throttled,
        ITEMS: tally.packed,
        INPUT: tally.input_tokens,
        OUTPUT: tally.output_tokens,
        OK: tally.ok,
        DEAD: tally.failed,
    }


def _earlier(path: Path, ledger: Ledger) -> History:
    try:
        recorded = read_history(path)
    except StateMismatch:
        return History()  # a report that shows less must not stop a run
    return recorded.whole if recorded is not None and recorded.ledger == ledger.name else History()


def _failures(ledger: Ledger) -> Failures:
    failures = Failures()
    with suppress(StorageFailed):  # as above
        for code, line, custom_id, message in ledger.failures():
            failures.note(code, line, custom_id, message)
    return failures
