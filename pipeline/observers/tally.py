"""Counts, derived from events alone."""

from __future__ import annotations

from collections import Counter

from pipeline.events import AttemptEnded, AttemptSent, Event, Notice, Paused, RecordsSettled


class Tally:
    """What this run has done so far.

    Attributes:
        sent, answered, retried, throttled: Attempts.
        ok, failed: Records.
        input_tokens, output_tokens: As reported by the answers.
        notices: What the user should read at the end.
    """

    def __init__(self) -> None:
        self.sent = self.answered = self.retried = self.throttled = 0
        self.ok = self.failed = 0
        self.input_tokens = self.output_tokens = 0
        self.waited = self.executing = self.paused = 0.0
        self.errors: Counter[str] = Counter()
        self.notices: list[Notice] = []

    def see(self, event: Event) -> None:
        match event:
            case AttemptEnded():
                self._ended(event)
            case AttemptSent():
                self.waited += event.waited
            case RecordsSettled():
                self.ok += event.ok
                self.failed += event.failed
            case Paused():
                self.paused += event.seconds
            case Notice():
                self.notices.append(event)

    def _ended(self, event: AttemptEnded) -> None:
        self.sent += 1
        self.executing += event.seconds
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
