"""Counts, derived from events alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from pipeline.core.histogram import Histogram
from pipeline.events import AttemptEnded, AttemptSent, Event, Notice, Paused, RecordsSettled


class Tally:
    """What this run has done so far.

    Args:
        monotonic: Returns the time in seconds, for pauses that overlap.

    Attributes:
        begun: Attempts that were let through.
        sent, answered, retried, throttled: Those that have ended, and how.
        packed: Records in all attempts.
        waiting, executing: How long attempts waited for quota or a slot, and were with the server.
        ok, failed: Records.
        input_tokens, output_tokens: As reported by the answers.
        notices: What the user should read at the end.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self.begun = self.sent = self.answered = self.retried = self.throttled = 0
        self.ok = self.failed = 0
        self.input_tokens = self.output_tokens = 0
        self.packed = 0
        self.waiting, self.executing = Histogram(), Histogram()
        self._paused = self._paused_until = 0.0
        self.errors: Counter[str] = Counter()
        self.notices: list[Notice] = []

    def see(self, event: Event) -> None:
        match event:
            case AttemptEnded():
                self._ended(event)
            case AttemptSent():
                self.begun += 1
                self.waiting.note(event.waited)
            case RecordsSettled():
                self.ok += event.ok
                self.failed += event.failed
            case Paused():
                self._pause(event.seconds)
            case Notice():
                self.notices.append(event)

    def paused(self) -> float:
        """Seconds for which the endpoint has been paused; pauses that overlap count once."""
        return self._paused - max(0.0, self._paused_until - self._monotonic())

    def _pause(self, seconds: float) -> None:
        now = self._monotonic()
        until = max(self._paused_until, now + seconds)
        self._paused += until - max(self._paused_until, now)
        self._paused_until = until

    def _ended(self, event: AttemptEnded) -> None:
        self.sent += 1
        self.packed += event.items
        self.executing.note(event.seconds)
        if event.error is None:
            self.answered += 1
            self.input_tokens += event.input_tokens
            self.output_tokens += event.output_tokens
            return
        self.errors[event.code or event.error] += 1
        if event.error == "Throttled":
            self.throttled += 1
        if event.error in ("Throttled", "Transient", "Ambiguous", "Malformed", "Unreachable"):
            self.retried += 1
