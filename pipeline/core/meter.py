"""What happened, measured: how much goes through a minute, and how long each cause held things up."""

from __future__ import annotations

import math

SPAN = 20.0
"""Seconds over which the past is forgotten (time constant of the decay)."""
GRAIN = 0.02
"""Seconds that count as one moment: forgetting anew with every request would make a rate no truer than to 0.1 %."""


class Meter:
    """An exponentially decaying sum; `now` is in seconds of a monotonic clock."""

    __slots__ = ("_at", "_began", "_total")

    def __init__(self, now: float) -> None:
        self._began = self._at = now
        self._total = 0.0

    def add(self, amount: float, now: float) -> None:
        if now >= self._at + GRAIN:
            self._total *= math.exp((self._at - now) / SPAN)
            self._at = now
        self._total += amount

    def per_minute(self, now: float) -> float:
        """Return the rate of the last seconds, as an amount a minute; what came before the start is left out."""
        seen = SPAN * -math.expm1((self._began - max(now, self._began + 1)) / SPAN)
        return self._total * math.exp(min(0.0, self._at - now) / SPAN) * 60 / seen


class Stopwatch:
    """Adds up the seconds of one cause at a time."""

    __slots__ = ("_cause", "_since", "seconds")

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._cause: str | None = None
        self._since = 0.0

    def note(self, cause: str | None, now: float) -> None:
        """From `now` on it is `cause`, or nothing where None."""
        if self._cause is not None:
            self.seconds[self._cause] = self.seconds.get(self._cause, 0.0) + now - self._since
        self._cause, self._since = cause, now

    def read(self, now: float) -> dict[str, float]:
        """Return the seconds of each cause, the present one's until `now` included."""
        self.note(self._cause, now)
        return dict(self.seconds)
