"""Records what a report draws, into `history.json`: every few seconds, and at the end.

An event costs a look at the clock and an addition or two; what is kept does not grow with the run.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pipeline.clock import Clock
from pipeline.core.failures import Failures, most_common
from pipeline.core.history import History
from pipeline.core.timeline import ANSWERED, DEAD, FAILED, INPUT, ITEMS, OK, OUTPUT, PAUSED, REFUSED, SENT
from pipeline.errors import StateMismatch, StorageFailed
from pipeline.events import AttemptEnded, AttemptSent, Event, Notice, Observer, Paused, RecordFailed, RecordsSettled
from pipeline.observers.recorded import About, Recorded, read_history, sums
from pipeline.observers.tally import Tally
from pipeline.storage.ledger import Ledger
from pipeline.storage.state import replace_durably

_FIRST, _PERIOD = 1.0, 5.0
"""Seconds until the file is written for the first time, and from then on."""


class Recorder:
    """Sees what is sent. Belongs to the thread that sends.

    Args:
        path: `history.json`.
        about: What the run is held to.
        ledger: Whose attempts these are. What was recorded of its earlier runs is carried on.
        tally: Has the durations of this run's attempts, and the codes of those that failed.
        clock: The time of each event.
    """

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
        self._row = self._run.timeline.row
        self._pause = (0.0, 0.0)

    def see(self, event: Event) -> None:
        row = self._row(self._clock.monotonic() - self._began)
        # A match of classes would take half as long again.
        if isinstance(event, AttemptSent):
            row[SENT] += 1
        elif isinstance(event, AttemptEnded):
            _, items, tokens_in, tokens_out, error, _, _ = event
            row[ANSWERED if error is None else REFUSED if error == "Throttled" else FAILED] += 1
            row[ITEMS] += items
            row[INPUT] += tokens_in
            row[OUTPUT] += tokens_out
        elif isinstance(event, RecordsSettled):
            row[OK] += event.ok
            row[DEAD] += event.failed
        elif isinstance(event, RecordFailed):
            self._failures.note(event.code, event.line, event.custom_id)
        elif isinstance(event, Paused):
            self._paused(event.seconds)

    async def keep(self, observers: Observer) -> None:
        """Write the file every few seconds, until cancelled; say once where that fails."""
        await self._clock.sleep(_FIRST)
        said = False
        while True:
            try:
                await self._write()
            except StorageFailed as error:
                if not said:
                    observers.see(Notice("warning", error.message))
                said = True
            await self._clock.sleep(_PERIOD)

    async def end(self) -> None:
        """Write the file for the last time; everything is committed, and the ledger says what failed and why."""
        self._failures = _failures(self._ledger)
        try:
            await self._write()
        except StorageFailed as error:
            self._tally.see(Notice("warning", error.message))

    def recorded(self) -> Recorded:
        """What is known now."""
        now = self._clock.monotonic() - self._began
        self._credit(now)
        self._run.timeline.reach(now)
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
